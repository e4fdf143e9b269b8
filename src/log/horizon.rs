//! The acknowledgement horizon: an epoch that was durable once, kept beside the log.
//!
//! When the last frame of a log is damaged it looks like an unfinished write, and a tail that is
//! missing altogether looks like nothing. The horizon tells: the log must reach it. It is written
//! at most once a second and never synced, so it lags behind and may be lost; it never runs ahead.

use super::error::Error;
use super::segment::fill;
use crate::base::fs::Fs;
use crate::model::Epoch;
use std::io;
use std::path::{Path, PathBuf};

/// Epochs are milliseconds of the wall clock, so this is a second.
pub(super) const EVERY: u64 = 1_000;

const MAGIC: [u8; 4] = *b"MSHZ";
const LENGTH: usize = 16;

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("horizon")
}

/// The horizon; `None` when there is none, or none that can be read.
pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<Epoch>, Error> {
    let path = path(dir);
    if !fs.exists(&path) {
        return Ok(None);
    }
    let file = fs.open(&path).map_err(Error::io("open", &path))?;
    let mut bytes = [0; LENGTH];
    let count = fill(&*file, 0, &mut bytes).map_err(Error::io("read", &path))?;
    let (mut epoch, mut crc) = ([0; 8], [0; 4]);
    epoch.copy_from_slice(&bytes[4..12]);
    crc.copy_from_slice(&bytes[12..]);
    let good = count == LENGTH
        && bytes[..4] == MAGIC
        && u32::from_le_bytes(crc) == crc32c::crc32c(&bytes[..12]);
    Ok(good.then(|| Epoch(u64::from_le_bytes(epoch))))
}

/// Replaces the horizon. Not durable.
pub(super) fn write(fs: &dyn Fs, dir: &Path, epoch: Epoch) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&epoch.0.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let temporary = dir.join("horizon.tmp");
    if fs.exists(&temporary) {
        fs.remove(&temporary)?;
    }
    fs.create(&temporary)?.append(&bytes)?;
    fs.rename(&temporary, &path(dir))
}
