//! Old rows on their way out of memory into files.
//!
//! Rows leave in three steps, so that nobody waits for a file: what is old is frozen or copied under
//! the lock, then looked through and written without it, then that removed under the lock which is
//! still as it was written.

use super::old_rows::OldRows;
use super::old_windows::{LeavingWindows, OldWindows};
use super::returning::OldFiles;
use super::state::State;
use super::view::View;
use crate::model::{ArchiveFile, Duration, EditRow, Epoch, ErrorRow, EventRow, Occurrence, Window};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// Rows that leave at a time: the views stand still while so many are removed.
pub(super) const ROWS_AT_ONCE: usize = 32 * 1024;

/// How much of the views of which old rows leave stays in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InMemory {
    /// Windows of each size that stay, counted back from the source's clock.
    pub windows: usize,
    /// How long before the source's clock rows of small views are over at most.
    pub age: Duration,
    /// Rows that a small view has in memory at most; the oldest leave first.
    pub most: usize,
    /// Rows that a view has at least before any leave: a file of a few rows costs readers more than
    /// it saves.
    pub rows: usize,
}

impl InMemory {
    /// How long before the source's clock rows of small views are over at most: 30 days.
    pub const AGE: Duration = Duration(30 * Window::Day.size().0);
}

impl Default for InMemory {
    /// Windows of an hour of minutes or 60 days of days, other rows of 30 days, 100,000 of them at
    /// most, and 16,384 rows at least.
    fn default() -> Self {
        Self { windows: 60, age: Self::AGE, most: 100_000, rows: 16 * 1024 }
    }
}

/// What is at one epoch, from which old rows are to leave memory.
pub struct Old(Table<OldWindows>);

/// Rows that leave, as they are at one epoch.
pub struct Leaving(Table<LeavingWindows>);

enum Table<W> {
    Windows(W),
    Events(OldRows<EventRow>),
    Occurrences(OldRows<Occurrence>),
    Errors(OldRows<ErrorRow>),
    Corrections(OldRows<EditRow>),
}

/// When something is looked through next.
#[derive(Clone, Copy, Default)]
pub(super) struct Due {
    pub clock: i64,
    pub rows: usize,
}

impl Old {
    /// Looks for rows that are to leave now. Takes as long as looking at all keys, and reads files
    /// where rows are old that came late. The error says which file could not be read.
    pub fn leaving(self, files: &dyn OldFiles) -> Result<Leaving, String> {
        Ok(Leaving(match self.0 {
            Table::Windows(windows) => Table::Windows(windows.leaving()),
            Table::Events(rows) => Table::Events(rows.leaving(files)?),
            Table::Occurrences(rows) => Table::Occurrences(rows.leaving(files)?),
            Table::Errors(rows) => Table::Errors(rows.leaving(files)?),
            Table::Corrections(rows) => Table::Corrections(rows.leaving(files)?),
        }))
    }
}

impl Leaving {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Table::Windows(windows) => windows.is_empty(),
            Table::Events(rows) => rows.rows().is_empty(),
            Table::Occurrences(rows) => rows.rows().is_empty(),
            Table::Errors(rows) => rows.rows().is_empty(),
            Table::Corrections(rows) => rows.rows().is_empty(),
        }
    }

    /// The view.
    pub fn view(&self) -> View {
        match &self.0 {
            Table::Windows(windows) => windows.view(),
            Table::Events(_) => View::Events,
            Table::Occurrences(_) => View::ThresholdOccurrences,
            Table::Errors(_) => View::Errors,
            Table::Corrections(_) => View::Corrections,
        }
    }

    /// The epoch at which the rows are as they leave.
    pub fn epoch(&self) -> Epoch {
        match &self.0 {
            Table::Windows(windows) => windows.epoch(),
            Table::Events(rows) => rows.epoch(),
            Table::Occurrences(rows) => rows.epoch(),
            Table::Errors(rows) => rows.epoch(),
            Table::Corrections(rows) => rows.epoch(),
        }
    }

    /// A name for the file: no other file of the view has it.
    pub fn name(&self) -> String {
        match &self.0 {
            Table::Windows(windows) => windows.name(),
            _ => self.epoch().to_string(),
        }
    }

    /// The columns of the rows: those of the view.
    pub fn schema(&self) -> SchemaRef {
        self.view().schema()
    }

    /// Gives the rows in the view's [`View::order`], in batches of at most 65,536 rows, until `take`
    /// fails.
    pub fn batches<E: From<ArrowError>>(
        &self,
        take: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let batches = match &self.0 {
            Table::Windows(windows) => return windows.batches(take),
            Table::Events(rows) => rows.batches()?,
            Table::Occurrences(rows) => rows.batches()?,
            Table::Errors(rows) => rows.batches()?,
            Table::Corrections(rows) => rows.batches()?,
        };
        batches.into_iter().try_for_each(take)
    }
}

impl State {
    /// What is to be looked through for old rows, when it is time.
    pub fn old(&self, stay: InMemory) -> Option<Old> {
        let now = (self.clock.0, self.epoch);
        let windows = self.old_windows(stay).map(Table::Windows);
        let old = windows
            .or_else(|| self.events.old(now, stay).map(Table::Events))
            .or_else(|| self.occurrences.old(now, stay).map(Table::Occurrences))
            .or_else(|| self.errors.old(now, stay).map(Table::Errors))
            .or_else(|| self.corrections.old(now, stay).map(Table::Corrections));
        old.map(Old)
    }

    /// Removes the rows that were written, where they are still the same. False when the file must
    /// not count: the table reads differently by now.
    pub fn leave(&mut self, leaving: &Leaving, file: ArchiveFile) -> bool {
        match &leaving.0 {
            Table::Windows(windows) => return self.leave_windows(windows, file),
            Table::Events(rows) => self.events.leave(rows, file, self.epoch),
            Table::Occurrences(rows) => self.occurrences.leave(rows, file, self.epoch),
            Table::Errors(rows) => self.errors.leave(rows, file, self.epoch),
            Table::Corrections(rows) => self.corrections.leave(rows, file, self.epoch),
        }
        true
    }

    /// Says when to look again, once no old rows are left.
    pub fn looked_through(&mut self, leaving: &Leaving) {
        match &leaving.0 {
            Table::Windows(windows) => self.looked_through_windows(windows),
            Table::Events(rows) => self.events.looked_through(rows),
            Table::Occurrences(rows) => self.occurrences.looked_through(rows),
            Table::Errors(rows) => self.errors.looked_through(rows),
            Table::Corrections(rows) => self.corrections.looked_through(rows),
        }
    }
}
