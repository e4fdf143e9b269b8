//! Old windows on their way back from files into memory, because they change.

use super::kept::Row;
use super::state::State;
use super::unpivot::part_named;
use super::wide::Key;
use crate::model::{ArchiveFile, Change, Epoch, Table, Upserts, Window};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who reads files of windows back.
pub trait WindowFiles: Send + Sync {
    /// The rows of these files that are of the assets, by key, and of windows that begin at those
    /// times; others may be among them. Batches have the columns of the view, each with its file's
    /// place in the list. The error says which file could not be read. Blocks.
    fn read(
        &self,
        files: &[ArchiveFile],
        wanted: &BTreeMap<Arc<str>, BTreeSet<i64>>,
    ) -> Result<Vec<(usize, RecordBatch)>, String>;
}

impl State {
    /// Brings the rows back that are in files and about to change.
    pub(super) fn bring_back(&mut self, changes: &[Change], files: &dyn WindowFiles) {
        for change in changes {
            let Change::Upserts(upserts) = change else { continue };
            let Table::Rollups(window) = upserts.table else { continue };
            if self.kept.contains_key(&window) {
                self.bring_back_windows(upserts, window, files);
            }
        }
    }

    fn bring_back_windows(&mut self, upserts: &Upserts, window: Window, files: &dyn WindowFiles) {
        let asset_type = upserts.asset_type;
        let Some(names) = self.names.asset_type(asset_type).map(Arc::clone) else { return };
        let (Some(kept), Some(wide)) =
            (self.kept.get_mut(&window), self.wide.get_mut(&(upserts.table, asset_type)))
        else {
            return;
        };
        let keys = upserts.assets.iter().zip(&upserts.windows);
        let is_away = |asset: u32, start: i64| {
            kept.has(asset_type, asset, start) && wide.get((asset, start)).is_none()
        };
        let keys: BTreeSet<Key> = keys
            .map(|(asset, start)| (*asset, *start))
            .filter(|key| is_away(key.0, key.1))
            .collect();
        if keys.is_empty() {
            return;
        }
        let mut wanted: BTreeMap<Arc<str>, BTreeSet<i64>> = BTreeMap::new();
        let mut ids: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        for (asset, start) in &keys {
            let key = self.names.key(*asset);
            ids.insert(Arc::clone(&key), *asset);
            wanted.entry(key).or_default().insert(*start);
        }
        let archived = Arc::clone(&kept.archived);
        let mut rows: BTreeMap<Key, Vec<u64>> = BTreeMap::new();
        let read = files.read(&archived.files, &wanted).inspect_err(|error| {
            tracing::error!(error, "rows of old windows not read: they begin anew");
        });
        for (file, batch) in read.unwrap_or_default() {
            let epoch = Epoch(archived.files[file].min_epoch);
            let of_batch = Columns::of(&batch);
            for i in 0..batch.num_rows() {
                let (asset, start) = (of_batch.asset(i), of_batch.start(i));
                let is_wanted = wanted.get(asset).is_some_and(|starts| starts.contains(&start));
                let metric = of_batch.metric(i);
                let part = part_named(upserts.table, &names, metric);
                let (Some(part), true) = (part, is_wanted) else { continue };
                if !archived.counts(asset, &names.key, metric, (start, epoch)) {
                    continue;
                }
                let Some(id) = ids.get(asset) else { continue };
                let row = rows.entry((*id, start));
                let row = row.or_insert_with(|| vec![0; names.stride(upserts.table)]);
                of_batch.fill(i, part, row);
            }
        }
        let (size, epoch) = (window.size().0, self.epoch);
        for key in keys {
            let name = self.names.key(key.0);
            kept.take((asset_type, key.0), &name, Row { window: key.1, size, epoch });
            if let Some(words) = rows.get(&key) {
                wide.bring_back(key, words);
            }
        }
    }
}

/// The columns of a batch of a roll-up view, by which words are made again.
struct Columns<'a>(&'a RecordBatch);

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        Self(batch)
    }

    fn asset(&self, i: usize) -> &'a str {
        self.0.column(0).as_string::<i32>().value(i)
    }

    fn metric(&self, i: usize) -> &'a str {
        self.0.column(2).as_string::<i32>().value(i)
    }

    fn start(&self, i: usize) -> i64 {
        self.0.column(3).as_primitive::<TimestampMicrosecondType>().value(i)
    }

    /// `count, sum, min, max, first, last` of a metric, and the row's status and revision.
    fn fill(&self, i: usize, part: usize, words: &mut [u64]) {
        let int = |column: usize| self.0.column(column).as_primitive::<Int64Type>().value(i);
        let float = |column: usize| {
            let column = self.0.column(column).as_primitive::<Float64Type>();
            if column.is_null(i) { f64::NAN } else { column.value(i) }.to_bits()
        };
        let at = 1 + 6 * part;
        words[at] = int(4) as u64;
        for (place, column) in [5, 6, 7, 9, 10].into_iter().enumerate() {
            words[at + 1 + place] = float(column);
        }
        let is_provisional = self.0.column(11).as_string::<i32>().value(i) == "provisional";
        words[0] = if is_provisional { 0 } else { int(12) as u64 + 1 };
    }
}
