//! Old rows of a small view on their way out of memory into a file.

use super::aging::Aging;
use super::cell::Batches;
use super::filed::Filed;
use super::leaving::{Due, InMemory, ROWS_AT_ONCE};
use super::returning::OldFiles;
use super::small::{Collection, SmallView};
use crate::model::Epoch;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use std::sync::Arc;

/// Rows that leave, as they are at one epoch.
pub(super) struct OldRows<R> {
    /// Each with how often it is there, in the order in which they are kept.
    rows: Vec<(R, i64)>,
    epoch: Epoch,
    filed: Arc<Filed<R>>,
    /// When to look again; `None` when more are old.
    next: Option<Due>,
}

impl<R: Aging> OldRows<R> {
    /// The oldest rows of a view: those that were over long enough before the source's clock, or
    /// more when there are too many rows.
    pub fn of(
        here: &Collection<R>,
        filed: &Arc<Filed<R>>,
        (clock, epoch): (i64, Epoch),
        stay: InMemory,
    ) -> Self {
        let before = clock.saturating_sub(stay.age.0);
        let mut over: Vec<i64> = here.entries().filter_map(|(row, _)| row.over()).collect();
        let old = over.iter().filter(|over| **over < before).count();
        // A quarter at a time: files are not to be small.
        let too_many = match here.len() > stay.most {
            true => here.len() - stay.most / 4 * 3,
            false => 0,
        };
        let wanted = old.max(too_many).min(over.len());
        let count = wanted.min(ROWS_AT_ONCE);
        let last = count.checked_sub(1).map(|last| *over.select_nth_unstable(last).1);
        let leaves = |row: &R| last.is_some_and(|last| row.over().is_some_and(|over| over <= last));
        let rows = here.entries().filter(|(row, _)| leaves(row));
        let rows: Vec<(R, i64)> = rows.map(|(row, count)| (row.clone(), count)).collect();
        let left = here.len() - rows.len();
        let next = Due {
            clock: clock.saturating_add((stay.age.0 / 8).max(1)),
            rows: stay.most.max(left.saturating_add(stay.most / 8)).saturating_add(1),
        };
        let next = (count == wanted).then_some(next);
        Self { rows, epoch, filed: Arc::clone(filed), next }
    }

    /// Puts the rows into the view's order, without those of which files have copies, so that of a row either all copies are in files
    /// from before an epoch or none. Blocks while files are read.
    pub fn leaving(mut self, files: &dyn OldFiles) -> Result<Self, String> {
        let twice = self.filed.find(files, self.rows.iter().map(|(row, _)| row))?;
        self.rows.retain(|(row, _)| !twice.contains_key(row));
        self.rows.sort_by(|(a, _), (b, _)| (a.asset(), a.time()).cmp(&(b.asset(), b.time())));
        Ok(self)
    }

    pub fn rows(&self) -> &[(R, i64)] {
        &self.rows
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn next(&self) -> Option<Due> {
        self.next
    }

    /// The rows in batches, each as often as it is there.
    pub fn batches(&self) -> Result<Vec<RecordBatch>, ArrowError> {
        let mut batches = Batches::new(R::VIEW.schema(), usize::MAX);
        for (row, count) in &self.rows {
            for _ in 0..*count {
                batches.push(&row.cells())?;
            }
        }
        batches.finish()
    }
}
