//! A file of the archive, as those know it who write, name and read it.

use serde::{Deserialize, Serialize};

/// One file of the archive. Never changed once a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveFile {
    /// Path from the archive's directory, with `/`.
    pub path: String,
    /// Number of rows: points, or aggregates of windows.
    pub rows: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32C of the bytes.
    pub crc32c: u32,
    /// The earliest event time, or start of a window, in microseconds.
    pub min_event_time: i64,
    /// The latest event time, or start of a window, in microseconds.
    pub max_event_time: i64,
    /// The first epoch of the rows.
    pub min_epoch: u64,
    /// The last epoch of the rows.
    pub max_epoch: u64,
}

impl ArchiveFile {
    /// A file without rows yet.
    pub fn new(path: String) -> Self {
        Self {
            path,
            rows: 0,
            bytes: 0,
            crc32c: 0,
            min_event_time: i64::MAX,
            max_event_time: i64::MIN,
            min_epoch: u64::MAX,
            max_epoch: 0,
        }
    }
}
