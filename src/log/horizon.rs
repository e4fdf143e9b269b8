//! The acknowledgement horizon: an epoch that was durable once, kept beside the log.
//!
//! When the last frame of a log is damaged it looks like an unfinished write, and a tail that is
//! missing altogether looks like nothing. The horizon tells: the log must reach it. It is written
//! at most once a second and never synced, so it lags behind and may be lost; it never runs ahead.

use super::error::Error;
use super::mark::{self, Mark};
use crate::base::fs::Fs;
use crate::model::Epoch;
use std::io;
use std::path::{Path, PathBuf};

/// Epochs are milliseconds of the wall clock, so this is a second.
pub(super) const EVERY: u64 = 1_000;

const MAGIC: [u8; 4] = *b"MSHZ";

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("horizon")
}

/// The horizon; `None` when there is none, or none that can be read.
pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<Epoch>, Error> {
    Ok(match mark::read(fs, &path(dir), MAGIC)? {
        Mark::At(epoch) => Some(epoch),
        Mark::Missing | Mark::Damaged => None,
    })
}

/// Replaces the horizon. Not durable.
pub(super) fn write(fs: &dyn Fs, dir: &Path, epoch: Epoch) -> io::Result<()> {
    mark::write(fs, &path(dir), MAGIC, epoch, false)
}
