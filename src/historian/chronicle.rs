//! What the plant was when: documents, assets that were removed, and the source's clock, by epochs.
//!
//! Points alone do not say what was known then. The chronicle is written with the points of the same
//! epochs, a file for each segment that has news, and read by whoever asks what was.

use super::durable::{self, Sum};
use super::error::Error;
use super::manifest::ListFile;
use crate::base::fs::Fs;
use crate::model::{Document, Epoch, Kind, Timestamp};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// So many files become one.
const FILES: usize = 32;

/// Something that was new at an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// What follows of this epoch is all that is known of before.
    Begins,
    /// The source's clock. Until the next one it has gone on as epochs do, to within
    /// [`super::Options::clock_error`].
    Clock(Timestamp),
    /// A version of a document that became the current one.
    Published(Document),
    /// A document of this key is not there any more.
    Withdrawn(Kind, Arc<str>),
    /// Points of epochs before this one are not of the asset that has this key afterwards.
    Removed(Arc<str>),
}

/// News and their epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The epoch.
    pub epoch: Epoch,
    /// What was new.
    pub news: News,
}

/// Where the clock was last noted: an epoch and the clock in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    epoch: Epoch,
    clock: i64,
}

impl Line {
    pub fn new(epoch: Epoch, clock: Timestamp) -> Self {
        Self { epoch, clock: clock.0 }
    }

    /// Where the clock is at a later epoch, if it has gone on as epochs do.
    pub fn at(self, epoch: Epoch) -> i64 {
        let millis = i64::try_from(epoch.0.saturating_sub(self.epoch.0)).unwrap_or(i64::MAX);
        self.clock.saturating_add(millis.saturating_mul(1_000))
    }

    /// Whether it tells where the clock is, to within so many microseconds.
    pub fn tells(self, epoch: Epoch, clock: Timestamp, error: i64) -> bool {
        self.at(epoch).abs_diff(clock.0) <= error.unsigned_abs()
    }
}

/// What the plant was at an epoch.
#[derive(Clone, Debug, Default)]
pub struct Chronicle {
    /// All entries up to the epoch, oldest first.
    pub entries: Vec<Entry>,
}

impl Chronicle {
    /// The clock of the source at an epoch: `Timestamp::MIN` when there was none.
    pub fn clock(&self, epoch: Epoch) -> Timestamp {
        let clocks = self.entries.iter().rev().filter(|entry| entry.epoch <= epoch);
        let mut lines = clocks.filter_map(|entry| match entry.news {
            News::Clock(clock) => Some(Line::new(entry.epoch, clock)),
            _ => None,
        });
        lines.next().map_or(Timestamp::MIN, |line| Timestamp(line.at(epoch)))
    }
}

/// Writes entries as lines of JSON.
pub(super) fn write(
    fs: &Arc<dyn Fs>,
    directory: &Path,
    path: String,
    entries: &[Entry],
) -> Result<ListFile, Error> {
    let full = directory.join(&path);
    let mut bytes = Vec::new();
    for entry in entries {
        let written = serde_json::to_writer(&mut bytes, entry);
        written.map_err(|error| unreadable(&full, &error))?;
        bytes.push(b'\n');
    }
    let Sum { bytes, crc32c } = durable::replace(fs, &full, &bytes)?;
    Ok(ListFile { path, bytes, crc32c })
}

/// Reads the entries of files, in their order.
pub(super) fn read(fs: &dyn Fs, directory: &Path, files: &[ListFile]) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for file in files {
        let path = directory.join(&file.path);
        let bytes = durable::read(fs, &path)?;
        let found = Sum { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
        if found != file.sum() {
            return Err(Error::Damaged { path });
        }
        for entry in serde_json::Deserializer::from_slice(&bytes).into_iter() {
            entries.push(entry.map_err(|error| unreadable(&path, &error))?);
        }
    }
    Ok(entries)
}

/// The files of a chronicle with one more for these entries, and those that are in it now.
pub(super) fn extended(
    fs: &Arc<dyn Fs>,
    directory: &Path,
    mut files: Vec<ListFile>,
    entries: &[Entry],
) -> Result<(Vec<ListFile>, Vec<ListFile>), Error> {
    let Some(last) = entries.last() else { return Ok((files, Vec::new())) };
    let path = format!("chronicle-{}.jsonl", last.epoch);
    if files.len() + 1 < FILES {
        files.push(write(fs, directory, path, entries)?);
        return Ok((files, Vec::new()));
    }
    let mut all = read(&**fs, directory, &files)?;
    all.extend_from_slice(entries);
    Ok((vec![write(fs, directory, path, &all)?], files))
}

fn unreadable(path: &Path, error: &serde_json::Error) -> Error {
    Error::Manifest { path: path.into(), reason: error.to_string() }
}
