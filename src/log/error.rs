//! What can go wrong with the log.

use crate::model::Epoch;
use std::io;
use std::path::PathBuf;

/// Why the log could not do what it was asked.
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
    /// The disk is full. Nothing was kept of the frame; the same call works again when there is
    /// space.
    #[error("append to {}: no space left on the disk ({source}); free some and try again", path.display())]
    NoSpace {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A write or sync failed before, so it is not known what is on the disk.
    #[error(
        "the log is closed since a write failed: {reason}; restart the process to recover what is on the disk"
    )]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// What was once durable is damaged.
    #[error(
        "read {} at byte {offset}: {what}; frames that were acknowledged are damaged: restore the file, or open the log in salvage mode to go on without them", path.display()
    )]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where the bad bytes begin.
        offset: u64,
        /// What is wrong with them.
        what: String,
    },
    /// A segment does not continue the one before it.
    #[error(
        "read {}: it does not continue the segment before it; a segment or its end is missing: restore it, or open the log in salvage mode to go on without it", path.display()
    )]
    Gap {
        /// The segment after the gap.
        path: PathBuf,
    },
    /// The log ends before an epoch that was acknowledged.
    #[error(
        "open {}: the log ends at epoch {} but epoch {acknowledged} was acknowledged; its end is lost or damaged: restore it, or open the log in salvage mode to go on without it", dir.display(), last.unwrap_or_default()
    )]
    LostTail {
        /// The log's directory.
        dir: PathBuf,
        /// The last good epoch; `None` when there is none.
        last: Option<Epoch>,
        /// An epoch that was durable.
        acknowledged: Epoch,
    },
    /// A file was written by a newer version.
    #[error("read {}: format version {version} is not known to this version; upgrade", path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// The version in the file.
        version: u32,
    },
    /// A frame is larger than the limit.
    #[error("append frame: {bytes} bytes are more than the limit of {limit}; send less at once")]
    TooLarge {
        /// The encoded size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Epochs must strictly increase.
    #[error("append frame: epoch {epoch} is too small, the next one is at least {least}")]
    Order {
        /// The frame's epoch.
        epoch: Epoch,
        /// The least epoch that may follow what is in the log.
        least: Epoch,
    },
    /// A batch cannot be written as an Arrow stream.
    #[error("encode batch: {0}")]
    Encode(arrow::error::ArrowError),
}

impl Error {
    /// For `map_err`: names the operation and the path of an I/O error.
    pub(super) fn io<P: Into<PathBuf>>(
        doing: &'static str,
        path: P,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

/// Whether an error of the disk means that it, or what we may use of it, is full.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
