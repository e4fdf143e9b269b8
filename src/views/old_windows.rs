//! Old windows of a roll-up on their way out of memory into a file.

use super::cell::Batches;
use super::leaving::{Due, InMemory, ROWS_AT_ONCE};
use super::names::{Names, TypeNames};
use super::state::State;
use super::unpivot::WideRow;
use super::view::View;
use super::wide::{Chunk, Key};
use crate::model::{ArchiveFile, Epoch, Table, TypeId, Window};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use hashbrown::HashMap;
use std::sync::Arc;

/// A table is looked through for old windows at the latest when it has so many rows more than there
/// were after the last time, whatever the clock says.
const MORE_ROWS: usize = 256 * 1024;

/// A roll-up of one asset type as it is at one epoch, from which old rows are to leave memory.
pub(super) struct OldWindows {
    window: Window,
    asset_type: TypeId,
    names: Arc<Names>,
    type_names: Arc<TypeNames>,
    stride: usize,
    chunks: Vec<Arc<Chunk>>,
    epoch: Epoch,
    /// Rows of windows that begin before it are old.
    before: i64,
    /// When to look again, when no old rows are left.
    next: Due,
}

/// Rows that leave, as they are at one epoch.
pub(super) struct LeavingWindows {
    table: OldWindows,
    /// Chunk and row of those that leave.
    places: Vec<(usize, usize)>,
    /// Whether they are all that are old.
    all: bool,
}

impl OldWindows {
    /// Looks for rows that are to leave now. Takes as long as looking at all keys.
    pub fn leaving(self) -> LeavingWindows {
        let (places, all) = old(&self.chunks, self.stride, self.before);
        LeavingWindows { table: self, places, all }
    }
}

impl LeavingWindows {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The view.
    pub fn view(&self) -> View {
        View::Rollups(self.table.window)
    }

    /// The epoch at which the rows are as they leave.
    pub fn epoch(&self) -> Epoch {
        self.table.epoch
    }

    /// A name for the file: no other file of the view has it.
    pub fn name(&self) -> String {
        format!("{}-{}", self.table.epoch, self.table.asset_type.0)
    }

    /// Gives the rows by asset, metric and start of the window, ascending, in batches of at most
    /// 65,536 rows, until `take` fails.
    pub fn batches<E: From<ArrowError>>(
        &self,
        mut take: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let named = self.rows().map(|(key, words)| (self.table.names.asset(key.0), key.1, words));
        let mut rows: Vec<(&str, i64, &[u64])> = named.collect();
        rows.sort_unstable_by_key(|(asset, window, _)| (*asset, *window));
        let table = Table::Rollups(self.table.window);
        let (mut batches, mut cells) = (Batches::new(self.view().schema(), usize::MAX), Vec::new());
        for rows in rows.chunk_by(|(left, ..), (right, ..)| left == right) {
            for part in self.table.type_names.by_name() {
                for (asset, window, words) in rows {
                    let names = &*self.table.type_names;
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
        let stride = self.table.stride;
        self.places.iter().map(move |(chunk, row)| {
            let chunk = &self.table.chunks[*chunk];
            (chunk.keys[*row], &chunk.words[row * stride..(row + 1) * stride])
        })
    }
}

impl State {
    /// A table from which rows are to leave, when it is time to look through one.
    pub(super) fn old_windows(&self, stay: InMemory) -> Option<OldWindows> {
        let clock = self.clock.0;
        self.wide.iter().find_map(|((table, asset_type), wide)| {
            let Table::Rollups(window) = *table else { return None };
            let due = self.due.get(&(*table, *asset_type)).copied().unwrap_or_default();
            let is_due = clock >= due.clock || wide.len() >= due.rows;
            if wide.len() < stay.rows || !is_due || wide.stride() == 0 {
                return None;
            }
            let size = window.size().0;
            let reach =
                |count: usize| size.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX));
            Some(OldWindows {
                window,
                asset_type: *asset_type,
                names: Arc::clone(&self.names),
                type_names: Arc::clone(self.names.asset_type(*asset_type)?),
                stride: wide.stride(),
                chunks: wide.chunks().to_vec(),
                epoch: self.epoch,
                before: clock.saturating_sub(reach(stay.windows)),
                next: Due {
                    clock: clock.saturating_add(reach((stay.windows / 2).max(1))),
                    rows: wide.len() + MORE_ROWS,
                },
            })
        })
    }

    /// Removes the rows that were written, where they are still the same. False when the file must
    /// not count: the table reads differently by now.
    pub(super) fn leave_windows(&mut self, leaving: &LeavingWindows, file: ArchiveFile) -> bool {
        let OldWindows { window, asset_type, .. } = leaving.table;
        self.looked_through_windows(leaving);
        let names = self.names.asset_type(asset_type);
        let Some(wide) = self.wide.get_mut(&(Table::Rollups(window), asset_type)) else {
            return false;
        };
        if names.is_none_or(|names| !Arc::ptr_eq(names, &leaving.table.type_names)) {
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
                kept.replace(&leaving.table.names.key(key.0), key.1, leaving.epoch().next());
            }
        }
        wide.leave(gone);
        kept.name(file);
        if let Some(due) = self.due.get_mut(&(Table::Rollups(window), asset_type)) {
            due.rows = due.rows.min(wide.len() + MORE_ROWS);
        }
        true
    }

    /// Says when the table is looked through again, once no old rows are left.
    pub(super) fn looked_through_windows(&mut self, leaving: &LeavingWindows) {
        let OldWindows { window, asset_type, next, .. } = leaving.table;
        if leaving.all {
            self.due.insert((Table::Rollups(window), asset_type), next);
        }
    }
}

/// Chunk and row of windows that begin before a time: all of some assets, or of all assets, which is
/// said too.
fn old(chunks: &[Arc<Chunk>], stride: usize, before: i64) -> (Vec<(usize, usize)>, bool) {
    let mut of_asset: HashMap<u32, usize> = HashMap::new();
    for (asset, start) in chunks.iter().flat_map(|chunk| &chunk.keys) {
        if *start < before {
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
    for (at, chunk) in chunks.iter().enumerate() {
        let rows = chunk.keys.iter().zip(chunk.words.chunks_exact(stride)).enumerate();
        // A file has no place for a row of which every point was deleted.
        let leaves = |(_, ((asset, start), words)): &(usize, (&Key, &[u64]))| {
            *start < before
                && *asset < end
                && words[1..].chunks_exact(6).any(|metric| metric[0] != 0)
        };
        places.extend(rows.filter(leaves).map(|(row, _)| (at, row)));
    }
    // Years of one asset are taken part by part.
    let most = 2 * ROWS_AT_ONCE;
    let all = all && places.len() <= most;
    places.truncate(most);
    (places, all)
}
