//! Files that are there as a whole or not at all, also after a power cut.

use super::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Writes a file beside its place, syncs it, renames it into place and syncs the directory.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = path.with_extension("tmp");
    let mut file = File::create(&beside).map_err(Error::io("create", &beside))?;
    file.write_all(bytes).map_err(Error::io("write", &beside))?;
    file.sync_all().map_err(Error::io("sync", &beside))?;
    publish(&beside, path)
}

/// Renames a synced file into place and syncs the directory.
pub(super) fn publish(beside: &Path, path: &Path) -> Result<(), Error> {
    fs::rename(beside, path).map_err(Error::io("rename", path))?;
    match path.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), Error> {
    let directory = File::open(path).map_err(Error::io("open", path))?;
    directory.sync_all().map_err(Error::io("sync", path))
}

/// Creates a directory and makes its entry durable; nothing happens when it exists.
pub(super) fn create_dir(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(Error::io("create", path))?;
    match path.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}
