//! Where the log begins: segments before that are not needed any more and go.
//!
//! The place is durable before the first of them is removed, so that after a crash in between the
//! rest is removed when the log is opened, whichever of them are still there.

use super::error::Error;
use super::mark::{self, Mark};
use super::segment::Segment;
use crate::base::fs::Fs;
use crate::model::Epoch;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::info;

const MAGIC: [u8; 4] = *b"MSBG";

fn path(dir: &Path) -> PathBuf {
    dir.join("begin")
}

/// The epoch from which on every frame must be there; 0 when the log was never cut.
pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Result<Epoch, Error> {
    match mark::read(fs, &path(dir), MAGIC)? {
        Mark::Missing => Ok(Epoch(0)),
        Mark::At(epoch) => Ok(epoch),
        Mark::Damaged => {
            let what = "it does not say where the log begins".into();
            Err(Error::Corrupt { path: path(dir), offset: 0, what })
        }
    }
}

/// The epoch from which on every frame of a log must be there; 0 when it was never cut.
pub fn begin(fs: &Arc<dyn Fs>, dir: &Path) -> Result<Epoch, Error> {
    read(&**fs, dir)
}

/// Says durably that the log begins at an epoch.
pub(super) fn write(fs: &dyn Fs, dir: &Path, begin: Epoch) -> Result<(), Error> {
    let path = path(dir);
    mark::write(fs, &path, MAGIC, begin, true).map_err(Error::io("write", &path))?;
    fs.sync_dir(dir).map_err(Error::io("sync", dir))
}

/// How many of the segments, from the first on, hold nothing but frames before an epoch.
pub(super) fn over(segments: &[Segment], begin: Epoch) -> usize {
    segments.iter().skip(1).take_while(|next| next.base <= begin).count()
}

/// Removes segments, oldest first, and makes that durable. Returns the bytes that are free now.
pub(super) fn remove(fs: &dyn Fs, dir: &Path, segments: &[Segment]) -> Result<u64, Error> {
    let mut bytes = 0;
    for segment in segments {
        let path = &segment.path;
        bytes += fs.open(path).and_then(|file| file.len()).map_err(Error::io("open", path))?;
        fs.remove(path).map_err(Error::io("remove", path))?;
        info!(segment = %path.display(), "log segment removed");
    }
    if !segments.is_empty() {
        fs.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    Ok(bytes)
}
