//! Old windows on their way out of memory into a file, and back when they change.
//!
//! Rows leave in three steps, so that nobody waits for a file: they are frozen under the lock, then
//! written without it, then removed under the lock where they are still as they were written.

use super::cell::Batches;
use super::kept::Row;
use super::names::{Names, TypeNames};
use super::state::State;
use super::unpivot::{WideRow, part_named};
use super::view::View;
use super::wide::{Chunk, Key, WideTable};
use crate::model::{ArchiveFile, Change, Epoch, Table, TypeId, Upserts, Window};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A table is looked through for old windows at the latest when it has so many rows more than there
/// were after the last time, whatever the clock says.
const MORE_ROWS: usize = 256 * 1024;

/// Rows that leave at a time, all old ones of some assets: the views stand still while so many are
/// removed.
const ROWS_AT_ONCE: usize = 32 * 1024;

/// How much of the roll-ups stays in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InMemory {
    /// Windows of each size that stay, counted back from the source's clock.
    pub windows: usize,
    /// Rows of assets and windows that a table has at least before any leave: a file of a few rows
    /// costs readers more than it saves.
    pub rows: usize,
}

impl Default for InMemory {
    /// An hour of minutes, 60 days of days, and 16,384 rows.
    fn default() -> Self {
        Self { windows: 60, rows: 16 * 1024 }
    }
}

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

/// Rows of one asset type whose windows are old enough to leave memory, as they are at one epoch.
pub struct Leaving {
    window: Window,
    asset_type: TypeId,
    names: Arc<Names>,
    type_names: Arc<TypeNames>,
    stride: usize,
    chunks: Vec<Arc<Chunk>>,
    /// Chunk and row of those that leave.
    places: Vec<(usize, usize)>,
    epoch: Epoch,
}

/// When a table is looked through next.
#[derive(Clone, Copy, Default)]
pub(super) struct Due {
    clock: i64,
    rows: usize,
}

impl Leaving {
    /// The name of the view.
    pub fn view(&self) -> &'static str {
        View::Rollups(self.window).name()
    }

    /// The epoch at which the rows are as they leave.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// A name for the file: no other file of the view has it.
    pub fn name(&self) -> String {
        format!("{}-{}", self.epoch, self.asset_type.0)
    }

    /// The columns of the rows: those of the view.
    pub fn schema(&self) -> SchemaRef {
        View::Rollups(self.window).schema()
    }

    /// Gives the rows by asset, metric and start of the window, ascending, in batches of at most
    /// 65,536 rows, until `take` fails.
    pub fn batches<E: From<ArrowError>>(
        &self,
        mut take: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let named = self.rows().map(|(key, words)| (self.names.asset(key.0), key.1, words));
        let mut rows: Vec<(&str, i64, &[u64])> = named.collect();
        rows.sort_unstable_by_key(|(asset, window, _)| (*asset, *window));
        let table = Table::Rollups(self.window);
        let (mut batches, mut cells) = (Batches::new(self.schema(), usize::MAX), Vec::new());
        for rows in rows.chunk_by(|(left, ..), (right, ..)| left == right) {
            for part in self.type_names.by_name() {
                for (asset, window, words) in rows {
                    let names = &*self.type_names;
                    let row = WideRow { table, names, asset, window: *window, words };
                    if row.fill(part, &mut cells) {
                        batches.push(&cells)?;
                    }
                }
            }
            batches.full().into_iter().try_for_each(&mut take)?;
        }
        batches.finish()?.into_iter().try_for_each(take)
    }

    fn rows(&self) -> impl Iterator<Item = (Key, &[u64])> {
        self.places.iter().map(|(chunk, row)| {
            let chunk = &self.chunks[*chunk];
            (chunk.keys[*row], &chunk.words[row * self.stride..(row + 1) * self.stride])
        })
    }
}

impl State {
    /// The rows of a table that are not to stay in memory, when it is time to look for some. One
    /// table at a time.
    pub fn leaving(&mut self, stay: InMemory) -> Option<Leaving> {
        let clock = self.clock.0;
        for ((table, asset_type), wide) in &self.wide {
            let Table::Rollups(window) = *table else { continue };
            let due = self.due.entry((*table, *asset_type)).or_default();
            if wide.len() < stay.rows || (clock < due.clock && wide.len() < due.rows) {
                continue;
            }
            let size = window.size().0;
            let reach =
                |count: usize| size.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX));
            let cut = clock.saturating_sub(reach(stay.windows));
            let Some(type_names) = self.names.asset_type(*asset_type) else { continue };
            let (places, all) = old(wide, cut);
            if all {
                *due = Due {
                    clock: clock.saturating_add(reach((stay.windows / 2).max(1))),
                    rows: wide.len() + MORE_ROWS,
                };
            }
            if places.is_empty() {
                continue;
            }
            return Some(Leaving {
                window,
                asset_type: *asset_type,
                names: Arc::clone(&self.names),
                type_names: Arc::clone(type_names),
                stride: wide.stride(),
                chunks: wide.chunks().to_vec(),
                places,
                epoch: self.epoch,
            });
        }
        None
    }

    /// Removes the rows that were written, where they are still the same. False when the file must
    /// not count: the table reads differently by now.
    pub fn leave(&mut self, leaving: &Leaving, file: ArchiveFile) -> bool {
        let (window, asset_type) = (leaving.window, leaving.asset_type);
        let names = self.names.asset_type(asset_type);
        let Some(wide) = self.wide.get_mut(&(Table::Rollups(window), asset_type)) else {
            return false;
        };
        if names.is_none_or(|names| !Arc::ptr_eq(names, &leaving.type_names)) {
            return false;
        }
        let kept = self.kept.entry(window).or_default();
        let size = window.size().0;
        let mut gone = Vec::new();
        for (key, words) in leaving.rows() {
            if wide.get(key) == Some(words) {
                gone.push(key);
                kept.add(asset_type, key.0, key.1, size);
            } else {
                kept.replace(&leaving.names.key(key.0), key.1, leaving.epoch.next());
            }
        }
        wide.leave(gone);
        kept.name(file);
        if let Some(due) = self.due.get_mut(&(Table::Rollups(window), asset_type)) {
            due.rows = due.rows.min(wide.len() + MORE_ROWS);
        }
        true
    }

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

/// Chunk and row of windows that begin before a time: all of some assets, or of all assets, which is
/// said too.
fn old(wide: &WideTable, cut: i64) -> (Vec<(usize, usize)>, bool) {
    let keys = || wide.chunks().iter().map(|chunk| &chunk.keys).enumerate();
    let mut of_asset: HashMap<u32, usize> = HashMap::new();
    for (asset, start) in keys().flat_map(|(_, keys)| keys) {
        if *start < cut {
            *of_asset.entry(*asset).or_default() += 1;
        }
    }
    let mut assets: Vec<(u32, usize)> = of_asset.into_iter().collect();
    assets.sort_unstable();
    let mut rows = 0;
    let fit = assets.iter().take_while(|(_, count)| {
        let fits = rows < ROWS_AT_ONCE;
        rows += count;
        fits
    });
    let end = fit.last().map_or(0, |(asset, _)| asset.saturating_add(1));
    let all = assets.last().is_none_or(|(asset, _)| *asset < end);
    let mut places = Vec::new();
    for (chunk, keys) in keys() {
        let leave = |(_, (asset, start)): &(usize, &Key)| *start < cut && *asset < end;
        places.extend(keys.iter().enumerate().filter(leave).map(|(row, _)| (chunk, row)));
    }
    // Years of one asset are taken part by part.
    let most = 2 * ROWS_AT_ONCE;
    let all = all && places.len() <= most;
    places.truncate(most);
    (places, all)
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
