//! What can go wrong with a recording; every error names the file.

use crate::ingest::format::columns;
use std::io;
use std::path::{Path, PathBuf};

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system says no.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Neither its first bytes nor its name tell what it is.
    #[error(
        "{} is none of Parquet, Arrow IPC file, Arrow IPC stream (told by their first bytes) and CSV (told by the ending .csv or .tsv)",
        path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// The contents are not what the format says.
    #[error("{} is truncated or damaged, or no {format}: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The format that it should have.
        format: &'static str,
        /// What the reader says.
        message: String,
    },
    /// The columns are not telemetry.
    #[error("{}: {source}", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: columns::Error,
    },
    /// Sorting needs room on disk that is not there.
    #[error("sort {} by time: write runs to {}: {message}", path.display(), directory.display())]
    Spill {
        /// The file that is sorted.
        path: PathBuf,
        /// Where the runs go.
        directory: PathBuf,
        /// What the system says.
        message: String,
    },
}

impl Error {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { path: path.into(), source }
    }

    pub(super) fn damaged(path: &Path, format: &'static str, message: impl ToString) -> Self {
        Self::Damaged { path: path.into(), format, message: message.to_string() }
    }

    pub(super) fn columns(path: &Path) -> impl FnOnce(columns::Error) -> Self {
        move |source| Self::Columns { path: path.into(), source }
    }
}
