//! What can go wrong with a checkpoint.

use crate::model::Epoch;
use std::io;
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused an operation.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// The operation: `read`, `create`, ...
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("read {}: {what}; the checkpoint of epoch {epoch} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The checkpoint it belongs to.
        epoch: Epoch,
        /// What is wrong.
        what: String,
    },
    /// There is no checkpoint of this epoch, or no such part in it.
    #[error("there is no {what} of epoch {epoch}")]
    Missing {
        /// What was asked for.
        what: String,
        /// The epoch.
        epoch: Epoch,
    },
}

impl Error {
    /// For `map_err`: names the operation and the path of an I/O error.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
