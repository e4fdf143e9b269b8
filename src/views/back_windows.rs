//! Old windows on their way back from files into memory, because they change.

use super::kept::{Archived, Row};
use super::returning::{OldFiles, Wanted};
use super::state::State;
use super::unpivot::part_named;
use super::view::View;
use super::wide::Key;
use crate::model::{Change, Epoch, Table, TypeId, Window};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows of one table that are in files only and about to change.
pub(super) struct AwayWindows {
    window: Window,
    asset_type: TypeId,
    keys: BTreeSet<Key>,
    /// The same by the assets' keys.
    wanted: Wanted,
    archived: Arc<Archived>,
}

/// What files say of such rows.
pub(super) struct BackWindows {
    away: AwayWindows,
    /// Batches with the columns of the view, each with its file's epoch.
    batches: Vec<(Epoch, RecordBatch)>,
}

impl AwayWindows {
    /// Reads the files.
    pub fn read(self, files: &dyn OldFiles) -> BackWindows {
        let named = &self.archived.files;
        let read = files.read(named, &self.wanted).inspect_err(|error| {
            tracing::error!(error, "rows of old windows not read: they begin anew");
        });
        let epoch = |file: usize| Epoch(named[file].min_epoch);
        let batches = read.unwrap_or_default().into_iter();
        let batches = batches.map(|(file, batch)| (epoch(file), batch)).collect();
        BackWindows { away: self, batches }
    }
}

impl State {
    /// The rows that are in files and that changes are about.
    pub(super) fn away_windows(&self, changes: &[Change]) -> Vec<AwayWindows> {
        let mut tables: BTreeMap<(Window, TypeId), BTreeSet<Key>> = BTreeMap::new();
        for change in changes {
            let Change::Upserts(upserts) = change else { continue };
            let Table::Rollups(window) = upserts.table else { continue };
            let keys = upserts.assets.iter().copied().zip(upserts.windows.iter().copied());
            let mut keys =
                keys.filter(|key| self.is_away(window, upserts.asset_type, *key)).peekable();
            if keys.peek().is_some() {
                tables.entry((window, upserts.asset_type)).or_default().extend(keys);
            }
        }
        let away = tables.into_iter().filter_map(|((window, asset_type), keys)| {
            let archived = Arc::clone(&self.kept.get(&window)?.archived);
            let time = View::Rollups(window).time();
            let mut wanted = Wanted { time, of: BTreeMap::new() };
            for (asset, start) in &keys {
                wanted.of.entry(self.names.key(*asset)).or_default().insert(*start);
            }
            Some(AwayWindows { window, asset_type, keys, wanted, archived })
        });
        away.collect()
    }

    fn is_away(&self, window: Window, asset_type: TypeId, (asset, start): Key) -> bool {
        let is_kept = self.kept.get(&window).is_some_and(|kept| kept.has(asset_type, asset, start));
        let wide = self.wide.get(&(Table::Rollups(window), asset_type));
        is_kept && wide.is_some_and(|wide| wide.get((asset, start)).is_none())
    }

    /// Puts rows into memory again, as far as they still count after the documents, removals and
    /// resets of the epoch.
    pub(super) fn bring_back_windows(&mut self, back: &BackWindows) {
        let AwayWindows { window, asset_type, ref keys, ref wanted, ref archived } = back.away;
        let table = Table::Rollups(window);
        let still = |key: &&Key| self.is_away(window, asset_type, **key);
        let keys: Vec<Key> = keys.iter().filter(still).copied().collect();
        let Some(names) = self.names.asset_type(asset_type).map(Arc::clone) else { return };
        let (Some(kept), Some(wide)) =
            (self.kept.get_mut(&window), self.wide.get_mut(&(table, asset_type)))
        else {
            return;
        };
        let mut rows: BTreeMap<(&str, i64), Vec<u64>> = BTreeMap::new();
        for (epoch, batch) in &back.batches {
            let of_batch = Columns::of(batch);
            for i in 0..batch.num_rows() {
                let (asset, start) = (of_batch.asset(i), of_batch.start(i));
                let is_wanted = wanted.of.get(asset).is_some_and(|starts| starts.contains(&start));
                let metric = of_batch.metric(i);
                let part = part_named(table, &names, metric);
                let (Some(part), true) = (part, is_wanted) else { continue };
                if archived.counts(asset, &names.key, metric, (start, *epoch)) {
                    let row = rows.entry((asset, start));
                    let row = row.or_insert_with(|| vec![0; names.stride(table)]);
                    of_batch.fill(i, part, row);
                }
            }
        }
        let (size, epoch) = (window.size().0, self.epoch);
        for key in keys {
            let name = self.names.key(key.0);
            kept.take((asset_type, key.0), &name, Row { window: key.1, size, epoch });
            if let Some(words) = rows.get(&(&*name, key.1)) {
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
