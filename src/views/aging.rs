//! Small views of which old rows leave memory: what is over, and how it comes back.

use super::cell::Cell;
use super::filed::{Filed, InFiles};
use super::leaving::{Due, InMemory};
use super::old_rows::OldRows;
use super::returning::OldFiles;
use super::small::{Collection, Row, SmallChange, SmallView};
use super::view::View;
use crate::model::{ArchiveFile, EditRow, Epoch, ErrorRow, EventRow, Occurrence};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

/// A row that grows old.
pub(super) trait Aging: Row + Debug + Send + Sync + 'static {
    /// The view of such rows.
    const VIEW: View;

    /// When it was, in microseconds: the column [`View::time`].
    fn time(&self) -> i64;

    /// When it was over, from where on it grows old; `None` while it is not, and stays in memory.
    fn over(&self) -> Option<i64> {
        Some(self.time())
    }

    /// The asset with which it goes; `None` when no removal and no difference takes it back.
    fn asset(&self) -> Option<&Arc<str>>;

    /// Row `i` of a batch with the columns of the view; `None` when it is no such row.
    fn read(batch: &RecordBatch, i: usize) -> Option<Self>;
}

/// A small view of which old rows are in files.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "R: Serialize", deserialize = "R: Deserialize<'de> + Ord"))]
pub(super) struct Aged<R> {
    here: Collection<R>,
    filed: Arc<Filed<R>>,
    /// When to look for more of them.
    #[serde(skip)]
    due: Due,
}

/// Rows that are taken back and are not in memory: by how many they are too few, and what was known
/// of files then.
pub(super) struct AwayRows<R> {
    rows: BTreeMap<R, i64>,
    filed: Arc<Filed<R>>,
}

/// How many copies of such rows come back.
pub(super) struct BackRows<R>(BTreeMap<R, i64>);

impl<R> Default for Aged<R> {
    fn default() -> Self {
        Self { here: Collection::default(), filed: Arc::default(), due: Due::default() }
    }
}

impl<R: Aging> Aged<R> {
    /// The rows in memory.
    pub fn here(&self) -> &Collection<R> {
        &self.here
    }

    /// What has left memory; `None` when nothing has.
    pub fn in_files(&self) -> Option<Arc<dyn InFiles>> {
        (!self.filed.files().is_empty()).then(|| Arc::clone(&self.filed) as _)
    }

    pub fn update(&mut self, rows: Vec<(R, i64)>) {
        rows.into_iter().for_each(|(row, diff)| self.here.update(row, diff));
    }

    /// Retracts the rows of assets that were removed at an epoch.
    pub fn remove(&mut self, assets: &HashSet<&Arc<str>>, epoch: Epoch) {
        self.here.remove(|row| row.asset().is_some_and(|asset| assets.contains(asset)));
        if self.in_files().is_some() {
            let filed = Arc::make_mut(&mut self.filed);
            assets.iter().for_each(|asset| filed.remove(asset, epoch));
        }
    }

    /// The rows of differences that files must have, because memory has not enough of them.
    pub fn away<'a>(&self, differences: impl Iterator<Item = &'a (R, i64)>) -> Option<AwayRows<R>> {
        let mut sums: BTreeMap<&R, i64> = BTreeMap::new();
        // Most is new.
        for (row, diff) in differences.filter(|(row, _)| self.filed.may_have(row)) {
            *sums.entry(row).or_default() += diff;
        }
        let short = sums.into_iter().map(|(row, sum)| (row, -(self.here.count(row) + sum)));
        let short = short.filter(|(_, short)| *short > 0);
        let rows: BTreeMap<R, i64> = short.map(|(row, short)| (row.clone(), short)).collect();
        (!rows.is_empty()).then(|| AwayRows { rows, filed: Arc::clone(&self.filed) })
    }

    /// Puts rows into memory again, with nobody told.
    pub fn bring_back(&mut self, back: &BackRows<R>, epoch: Epoch) {
        let filed = Arc::make_mut(&mut self.filed);
        for (row, count) in &back.0 {
            if !filed.was_removed(row, epoch) {
                self.here.put_in(row.clone(), *count);
                filed.replace(row.clone(), epoch);
            }
        }
    }

    /// The rows that are to leave, when it is time to look for some.
    pub fn old(&self, (clock, epoch): (i64, Epoch), stay: InMemory) -> Option<OldRows<R>> {
        let len = self.here.len();
        let is_due = clock >= self.due.clock || len >= self.due.rows;
        (is_due && len >= stay.rows.max(1))
            .then(|| OldRows::of(&self.here, &self.filed, (clock, epoch), stay))
    }

    /// Removes the rows that were written, where there are still as many of them. Whoever has seen an
    /// epoch up to this one may have seen them in memory: the file is of a later one.
    pub fn leave(&mut self, leaving: &OldRows<R>, file: ArchiveFile, epoch: Epoch) {
        let file = ArchiveFile { max_epoch: epoch.next().0, ..file };
        self.looked_through(leaving);
        let filed = Arc::make_mut(&mut self.filed);
        for (row, count) in leaving.rows() {
            match self.here.count(row) == *count {
                true => {
                    self.here.take_out(row);
                    filed.add(row);
                }
                false => filed.replace(row.clone(), leaving.epoch().next()),
            }
        }
        filed.name(file);
    }

    /// Says when to look again, once no old rows are left.
    pub fn looked_through(&mut self, leaving: &OldRows<R>) {
        if let Some(next) = leaving.next() {
            self.due = next;
        }
    }
}

impl<R: Aging> AwayRows<R> {
    /// Reads the files. A row of which they cannot be read was there as often as it is taken back.
    pub fn read(self, files: &dyn OldFiles) -> BackRows<R> {
        let found = self.filed.find(files, self.rows.keys());
        BackRows(match found {
            Ok(mut found) => {
                found.retain(|row, _| self.rows.contains_key(row));
                found
            }
            Err(error) => {
                let view = R::VIEW.name();
                tracing::error!(error, view, "old rows not read: they are taken back unseen");
                self.rows
            }
        })
    }
}

impl<R: Aging> SmallView for Aged<R> {
    fn begin(&mut self, watched: bool) {
        self.here.begin(watched);
    }

    fn each<'a>(&'a self, take: &mut dyn FnMut(Vec<Cell<'a>>) -> bool) {
        self.here.each(take);
    }

    fn changes(&self) -> Vec<SmallChange<'_>> {
        self.here.changes()
    }

    fn len(&self) -> usize {
        self.here.len()
    }

    fn bytes(&self) -> usize {
        self.here.bytes() + self.filed.bytes()
    }
}

/// The texts and times of row `i`, by the places of their columns.
struct Cells<'a>(&'a RecordBatch, usize);

impl Cells<'_> {
    fn text(&self, column: usize) -> Option<Arc<str>> {
        let column = self.0.columns().get(column)?.as_string_opt::<i32>()?;
        Some(column.value(self.1).into())
    }

    fn time(&self, column: usize) -> Option<i64> {
        let column = self.0.columns().get(column)?;
        let column = column.as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(self.1).then(|| column.value(self.1))
    }
}

impl Aging for EventRow {
    const VIEW: View = View::Events;

    fn time(&self) -> i64 {
        self.event_time
    }

    fn asset(&self) -> Option<&Arc<str>> {
        Some(&self.asset)
    }

    fn read(batch: &RecordBatch, i: usize) -> Option<Self> {
        let cells = Cells(batch, i);
        Some(Self {
            asset: cells.text(0)?,
            rule: cells.text(1)?,
            event_type: cells.text(2)?,
            severity: cells.text(3)?,
            event_time: cells.time(4)?,
            message: cells.text(5)?,
            suppressed: batch.columns().get(6)?.as_boolean_opt()?.value(i),
        })
    }
}

impl Aging for Occurrence {
    const VIEW: View = View::ThresholdOccurrences;

    fn time(&self) -> i64 {
        self.since
    }

    fn over(&self) -> Option<i64> {
        self.cleared
    }

    fn asset(&self) -> Option<&Arc<str>> {
        Some(&self.asset)
    }

    fn read(batch: &RecordBatch, i: usize) -> Option<Self> {
        let cells = Cells(batch, i);
        Some(Self {
            asset: cells.text(0)?,
            rule: cells.text(1)?,
            level: cells.text(2)?,
            since: cells.time(3)?,
            raised: cells.time(4)?,
            condition_end: cells.time(5),
            cleared: cells.time(6),
        })
    }
}

impl Aging for ErrorRow {
    const VIEW: View = View::Errors;

    fn time(&self) -> i64 {
        self.event_time
    }

    /// What is wrong with a document is so until there is another one.
    fn over(&self) -> Option<i64> {
        (!self.asset.is_empty()).then_some(self.event_time)
    }

    fn asset(&self) -> Option<&Arc<str>> {
        Some(&self.asset)
    }

    fn read(batch: &RecordBatch, i: usize) -> Option<Self> {
        let cells = Cells(batch, i);
        Some(Self {
            asset: cells.text(0)?,
            source: cells.text(1)?,
            event_time: cells.time(2)?,
            message: cells.text(3)?,
        })
    }
}

impl Aging for EditRow {
    const VIEW: View = View::Corrections;

    fn time(&self) -> i64 {
        self.received_at
    }

    fn asset(&self) -> Option<&Arc<str>> {
        None
    }

    fn read(_: &RecordBatch, _: usize) -> Option<Self> {
        None
    }
}
