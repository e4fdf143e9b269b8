//! What has changed in a view since an epoch, for whoever asks from time to time instead of being
//! told at once.
//!
//! Rows of wide tables know the epoch of their last change. They are looked through part by part,
//! from the end: a row only ever moves towards the beginning, so none is missed, and what changes
//! meanwhile is of a later epoch and comes with the next look.

use super::cell::{Batches, Cell, Tail, schema};
use super::error::Error;
use super::filter::Filter;
use super::handle::Views;
use super::kept::{Archived, TypeMetric};
use super::names::{Names, TypeNames};
use super::read::Frozen;
use super::state::State;
use super::unpivot::{WideRow, parts};
use super::view::View;
use super::wide::Chunk;
use crate::model::{Epoch, Table, TypeId};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Chunks of a wide table that are looked through at a time: some megabytes, which whoever writes to
/// them meanwhile copies.
const CHUNKS_AT_ONCE: usize = 8;

/// Rows of a view that have changed after an epoch.
pub struct Changed {
    views: Views,
    view: View,
    after: Epoch,
    epoch: Epoch,
    ended: Ended,
    /// Types whose tables are to be looked through, the next one last.
    types: Vec<TypeId>,
    /// Chunks from the beginning of the table at hand that are left.
    left: usize,
    ready: Vec<RecordBatch>,
}

/// Rows that are not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All that do not come: every row of the view does.
    Others,
    /// These at most; those of them that are there come.
    These(Vec<EndedRows>),
}

/// Rows of which some may have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndedRows {
    /// All of an asset.
    Asset(Arc<str>),
    /// All of a metric of an asset type, or of all its metrics.
    Metric(Arc<str>, Option<Arc<str>>),
    /// An asset's window that begins at a time, in microseconds since 1970.
    Window(Arc<str>, i64),
}

impl Views {
    /// Begins to look for what has changed in a view after an epoch; `None` when nothing has.
    /// After epoch 0 that is all of it. What has left memory is not among it: see
    /// [`Changed::archived`].
    pub fn changed(&self, view: &str, after: Epoch) -> Result<Option<Changed>, Error> {
        let view = View::parse(view)?;
        let state = self.read();
        let (epoch, mut ended) = (state.epoch, Ended::Others);
        let (mut types, mut ready, mut since) = (Vec::new(), Vec::new(), after);
        match view.table() {
            Some(table) => {
                let tables = || state.tables(table);
                let is_new = tables().any(|(_, wide)| {
                    wide.ended() > after || wide.chunks().iter().any(|chunk| chunk.newest > after.0)
                });
                let these = state.ended(view, after);
                if !is_new && these.is_none() && after > Epoch(0) {
                    return Ok(None);
                }
                let uncertain = tables().any(|(_, wide)| wide.ended() > after);
                match table {
                    Table::Rollups(_) if after > Epoch(0) => {
                        ended = Ended::These(these.unwrap_or_default());
                    }
                    _ if uncertain || after == Epoch(0) => since = Epoch(0),
                    _ => ended = Ended::These(Vec::new()),
                }
                types = tables().map(|(asset_type, _)| asset_type).collect();
            }
            None => {
                let changed = match view {
                    View::Catalog(kind) => state.documented.get(&kind).copied(),
                    _ => Some(epoch),
                };
                if after > Epoch(0) && changed.is_none_or(|changed| changed <= after) {
                    return Ok(None);
                }
                let frozen = Frozen::of(&state, view, &Filter::default(), usize::MAX);
                let rows = frozen.rows(usize::MAX)?;
                let rows = rows.into_iter().map(|rows| at_epoch(view, &rows, epoch));
                ready = rows.collect::<Result<_, _>>().map_err(|e| failed(view, e))?;
            }
        }
        drop(state);
        let (views, left) = (self.clone(), usize::MAX);
        Ok(Some(Changed { views, view, after: since, epoch, ended, types, left, ready }))
    }

    /// The metrics of which there may be roll-ups.
    pub fn numeric_metrics(&self) -> Vec<String> {
        self.read().names.numeric()
    }
}

impl State {
    /// What has ended after an epoch, of what has left memory or may have; `None` when nothing has.
    fn ended(&self, view: View, after: Epoch) -> Option<Vec<EndedRows>> {
        let View::Rollups(window) = view else { return None };
        let removed = self.removed.values().filter(|(_, epoch)| *epoch > after);
        let mut ended: Vec<EndedRows> =
            removed.map(|(key, _)| EndedRows::Asset(Arc::clone(key))).collect();
        let kept = self.kept.get(&window);
        if let Some(kept) = kept.filter(|kept| kept.ended > after) {
            let (windows, metrics) = kept.archived.ended_after(after);
            ended.extend(windows.into_iter().map(|(key, start)| EndedRows::Window(key, start)));
            let metric = |(of, metric): TypeMetric| EndedRows::Metric(of, metric);
            ended.extend(metrics.into_iter().map(metric));
        }
        let files = kept.is_some_and(|kept| kept.archived.is_newer(after));
        (files || !ended.is_empty()).then_some(ended)
    }
}

impl Changed {
    /// Whoever has taken in all of it, and had the view as it was at the epoch before, has it as it
    /// was at this one; of some rows he may have what comes later.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Rows that are not there any more. They end before the others come.
    pub fn ended(&self) -> &Ended {
        &self.ended
    }

    /// The next rows in memory, some thousands; `None` after the last. Columns are those of the view
    /// and `epoch`, that of the last change or a later one. A row may come twice: then the later one
    /// holds.
    pub fn rows(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            if let Some(batch) = self.ready.pop() {
                return Ok(Some(batch));
            }
            let (Some(asset_type), Some(table)) = (self.types.last().copied(), self.view.table())
            else {
                return Ok(None);
            };
            let (names, type_names, stride, chunks) = {
                let state = self.views.read();
                let (Some(wide), Some(type_names)) =
                    (state.wide.get(&(table, asset_type)), state.names.asset_type(asset_type))
                else {
                    self.types.pop();
                    continue;
                };
                let mut chunks: Vec<Arc<Chunk>> = Vec::new();
                self.left = self.left.min(wide.chunks().len());
                while self.left > 0 && chunks.len() < CHUNKS_AT_ONCE {
                    self.left -= 1;
                    let chunk = &wide.chunks()[self.left];
                    if chunk.newest > self.after.0 {
                        chunks.push(Arc::clone(chunk));
                    }
                }
                (Arc::clone(&state.names), Arc::clone(type_names), wide.stride(), chunks)
            };
            if self.left == 0 {
                self.types.pop();
                self.left = usize::MAX;
            }
            let rows = read(self.view, table, (&names, &type_names), (stride, &chunks), self.after);
            self.ready = rows.map_err(|error| failed(self.view, error))?;
        }
    }

    /// What has left memory, once there are no more rows in memory: rows of files of later epochs
    /// than `after` belong to what has changed, too. `None` for views of which nothing leaves.
    pub fn archived(&self) -> Option<Arc<Archived>> {
        let View::Rollups(window) = self.view else { return None };
        self.views.read().kept.get(&window).map(|kept| Arc::clone(&kept.archived))
    }
}

fn read(
    view: View,
    table: Table,
    (names, type_names): (&Names, &TypeNames),
    (stride, chunks): (usize, &[Arc<Chunk>]),
    after: Epoch,
) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut batches = Batches::new(schema(view.columns(), Tail::Epoch), usize::MAX);
    let mut cells = Vec::new();
    for chunk in chunks {
        let changed = chunk.epochs.iter().enumerate().filter(|(_, epoch)| **epoch > after.0);
        for (i, epoch) in changed {
            let (asset, window) = chunk.keys[i];
            let words = &chunk.words[i * stride..(i + 1) * stride];
            let row =
                WideRow { table, names: type_names, asset: names.asset(asset), window, words };
            for part in 0..parts(table, type_names) {
                if row.fill(part, &mut cells) {
                    cells.push(Cell::Int(*epoch as i64));
                    batches.push(&cells)?;
                }
            }
        }
    }
    batches.finish()
}

/// The rows with a last column that says an epoch.
fn at_epoch(view: View, rows: &RecordBatch, epoch: Epoch) -> Result<RecordBatch, ArrowError> {
    let epochs: ArrayRef = Arc::new(Int64Array::from_value(epoch.0 as i64, rows.num_rows()));
    let columns = rows.columns().iter().cloned().chain([epochs]).collect();
    RecordBatch::try_new(schema(view.columns(), Tail::Epoch), columns)
}

fn failed(view: View, source: ArrowError) -> Error {
    Error::Encode { view, source }
}
