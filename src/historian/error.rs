//! What can go wrong in the archive.

use crate::model::{Epoch, TypeId};
use std::path::PathBuf;

/// Why the archive could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The manifest cannot be read.
    #[error("read archive manifest {path}: {reason}; restore it from a backup")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There are archive files but no manifest that names them.
    #[error(
        "archive {path} has files but no manifest.json: restore it from a backup, or move the files away to start anew"
    )]
    NoManifest {
        /// The archive's directory.
        path: PathBuf,
    },
    /// A file that the manifest names is not there, or has another size.
    #[error("archive file {path}: {found}, but the manifest says {expected} bytes")]
    File {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What the manifest says.
        expected: u64,
    },
    /// A file that the manifest names has other bytes than were written.
    #[error(
        "archive file {path} is damaged: its checksum is not the manifest's; restore it from a backup"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A Parquet file could not be written.
    #[error("write archive file {path}: {source}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        source: parquet::errors::ParquetError,
    },
    /// A Parquet file could not be read.
    #[error("read archive file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: parquet::errors::ParquetError,
    },
    /// The store behind the archive refused, or is not there.
    #[error("{action} {url}: {reason}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// The file, or the store.
        url: String,
        /// What the store or the connection said.
        reason: String,
    },
    /// The manifest names a store that cannot be one.
    #[error("archive store {url}: {reason}")]
    StoreUrl {
        /// Where it should be.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is on a store, and there is none.
    #[error("archive file {path} is on a store: say on which with --archive-store")]
    NoStore {
        /// The file.
        path: String,
    },
    /// Arrow arrays could not be built, read or written.
    #[error("build archive columns: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Points of an asset type whose document never came.
    #[error("archive points of asset type {}: its document was not applied before them", .0.0)]
    UnknownType(TypeId),
    /// Points of an asset or device whose document never came.
    #[error("archive points of {kind} {id}: its document was not applied before them")]
    UnknownName {
        /// `asset` or `device`.
        kind: &'static str,
        /// The dense id.
        id: u32,
    },
    /// A document's body is not what its kind says.
    #[error("read {kind} document '{key}': {source}")]
    Document {
        /// The kind of the document.
        kind: crate::model::Kind,
        /// Its key.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The snapshot would need points that newer ones have replaced in the archive.
    #[error(
        "read telemetry at epoch {asked}: the archive is at epoch {archived} already; try again"
    )]
    Passed {
        /// The epoch that was asked for.
        asked: Epoch,
        /// The epoch of the archive.
        archived: Epoch,
    },
    /// History was asked for as it was after an epoch that is not closed.
    #[error("read history as of epoch {asked}: the last closed epoch is {closed}")]
    NotClosed {
        /// The epoch that was asked for.
        asked: Epoch,
        /// The last closed epoch.
        closed: Epoch,
    },
    /// What the plant was is asked for an epoch of before that was kept.
    #[error(
        "tell what was at epoch {asked}: that is known from epoch {known_from} on; ask for a later time"
    )]
    NotKnown {
        /// The epoch that was asked for.
        asked: Epoch,
        /// The first epoch of which it is known.
        known_from: Epoch,
    },
    /// The background writer failed; it tries again, and hot points stay readable.
    #[error("archive hot points: {0}")]
    Writer(String),
    /// The archive was closed.
    #[error("archive is closed")]
    Closed,
}

impl Error {
    /// The file that it is about, when it is about one.
    pub(super) fn file(&self) -> Option<&std::path::Path> {
        match self {
            Self::Io { path, .. }
            | Self::File { path, .. }
            | Self::Damaged { path }
            | Self::Parquet { path, .. }
            | Self::Read { path, .. } => Some(path),
            _ => None,
        }
    }

    pub(super) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
