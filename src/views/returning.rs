//! Old rows on their way back from files into memory, because they change.

use super::aging::{Aging, AwayRows, BackRows};
use super::back_windows::{AwayWindows, BackWindows};
use super::state::State;
use crate::model::{ArchiveFile, Change, ErrorRow, EventRow, Occurrence};
use arrow::array::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows by their asset and their time.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The column of the times.
    pub time: &'static str,
    /// The keys of the assets, each with times in microseconds since 1970.
    pub of: BTreeMap<Arc<str>, BTreeSet<i64>>,
}

/// Who reads files of old rows back.
pub trait OldFiles: Send + Sync {
    /// The rows of these files that are wanted; others may be among them. Batches have the columns
    /// of the view, each with its file's place in the list. The error says which file could not be
    /// read. Blocks.
    fn read(
        &self,
        files: &[ArchiveFile],
        wanted: &Wanted,
    ) -> Result<Vec<(usize, RecordBatch)>, String>;
}

/// Rows that are in files only and about to change.
pub(super) struct Away {
    windows: Vec<AwayWindows>,
    events: Option<AwayRows<EventRow>>,
    occurrences: Option<AwayRows<Occurrence>>,
    errors: Option<AwayRows<ErrorRow>>,
}

/// What files say of such rows.
#[derive(Default)]
pub(super) struct Back {
    windows: Vec<BackWindows>,
    events: Option<BackRows<EventRow>>,
    occurrences: Option<BackRows<Occurrence>>,
    errors: Option<BackRows<ErrorRow>>,
}

impl Away {
    /// Reads the files.
    pub fn read(self, files: &dyn OldFiles) -> Back {
        fn rows<R: Aging>(away: Option<AwayRows<R>>, files: &dyn OldFiles) -> Option<BackRows<R>> {
            away.map(|away| away.read(files))
        }
        Back {
            windows: self.windows.into_iter().map(|away| away.read(files)).collect(),
            events: rows(self.events, files),
            occurrences: rows(self.occurrences, files),
            errors: rows(self.errors, files),
        }
    }
}

impl State {
    /// The rows that are in files and that changes are about.
    pub(super) fn away(&self, changes: &[Change]) -> Away {
        let events = changes.iter().filter_map(|change| match change {
            Change::Events(rows) => Some(rows),
            _ => None,
        });
        let occurrences = changes.iter().filter_map(|change| match change {
            Change::Occurrences(rows) => Some(rows),
            _ => None,
        });
        let errors = changes.iter().filter_map(|change| match change {
            Change::Errors(rows) => Some(rows),
            _ => None,
        });
        Away {
            windows: self.away_windows(changes),
            events: self.events.away(events.flatten()),
            occurrences: self.occurrences.away(occurrences.flatten()),
            errors: self.errors.away(errors.flatten()),
        }
    }

    /// Puts rows into memory again, as far as they still count after the documents, removals and
    /// resets of the epoch.
    pub(super) fn bring_back(&mut self, back: &Back) {
        back.windows.iter().for_each(|windows| self.bring_back_windows(windows));
        let epoch = self.epoch;
        back.events.iter().for_each(|rows| self.events.bring_back(rows, epoch));
        back.occurrences.iter().for_each(|rows| self.occurrences.bring_back(rows, epoch));
        back.errors.iter().for_each(|rows| self.errors.bring_back(rows, epoch));
    }
}
