//! Reading a view: quickly under the lock, then slowly without it.

use super::cell::{Batches, Cell};
use super::error::Error;
use super::filter::Filter;
use super::names::{Names, TypeNames};
use super::state::State;
use super::unpivot::{WideRow, part_named, parts};
use super::view::View;
use super::wide::{Chunk, Key};
use crate::model::Table;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use std::ops::Range;
use std::sync::Arc;

/// A view as it was at one moment; [`Frozen::rows`] makes batches of it without any lock.
pub(super) struct Frozen {
    view: View,
    contents: Contents,
}

enum Contents {
    Small(Result<Vec<RecordBatch>, ArrowError>),
    Wide { table: Table, names: Arc<Names>, types: Vec<FrozenType>, asset: Option<String> },
}

struct FrozenType {
    names: Arc<TypeNames>,
    stride: usize,
    chunks: Vec<Arc<Chunk>>,
    parts: Range<usize>,
}

impl Frozen {
    /// Freezes the rows that the filter keeps. At most `limit` rows will be read.
    pub fn of(state: &State, view: View, filter: &Filter, limit: usize) -> Self {
        let contents = match view.table() {
            Some(table) => wide(state, table, filter),
            None => Contents::Small(small(state, view, filter, limit)),
        };
        Self { view, contents }
    }

    /// The rows as batches, at most `limit`.
    pub fn rows(self, limit: usize) -> Result<Vec<RecordBatch>, Error> {
        let view = self.view;
        let rows = match self.contents {
            Contents::Small(rows) => rows,
            Contents::Wide { table, names, types, asset } => {
                unpivot(Batches::new(view.schema(), limit), table, &names, &types, asset)
            }
        };
        rows.map_err(|source| Error::Encode { view, source })
    }

    /// How many rows the view has.
    pub fn count(&self) -> usize {
        match &self.contents {
            Contents::Small(rows) => rows.iter().flatten().map(RecordBatch::num_rows).sum(),
            Contents::Wide { table, names, types, .. } => {
                let mut count = 0;
                for frozen in types {
                    frozen
                        .each(*table, names, &mut |_, row| {
                            count +=
                                frozen.parts.clone().filter(|part| row.is_there(*part)).count();
                            Ok(true)
                        })
                        .unwrap_or_default();
                }
                count
            }
        }
    }
}

/// The parts of a row that a filter keeps.
pub(super) fn wanted_parts(table: Table, names: &TypeNames, filter: &Filter) -> Range<usize> {
    match &filter.metric {
        None => 0..parts(table, names),
        Some(metric) => part_named(table, names, metric).map_or(0..0, |part| part..part + 1),
    }
}

fn small(
    state: &State,
    view: View,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut batches = Batches::new(view.schema(), limit);
    let wanted = filter.columns(view);
    let mut failed = None;
    if let Some(small) = state.small(view) {
        small.each(&mut |cells| {
            if State::is_wanted(&cells, &wanted) {
                failed = batches.push(&cells).err();
            }
            failed.is_none() && !batches.is_full()
        });
    }
    failed.map_or_else(|| batches.finish(), Err)
}

fn wide(state: &State, table: Table, filter: &Filter) -> Contents {
    let mut types = Vec::new();
    for (asset_type, wide) in state.tables(table) {
        let Some(names) = state.names.asset_type(asset_type) else { continue };
        if filter.asset_type.as_deref().is_some_and(|wanted| wanted != &*names.key) {
            continue;
        }
        let chunks = match &filter.asset {
            // One row of a table without windows is found by its key: no need to look at others.
            Some(asset) if !matches!(table, Table::Rollups(_)) => {
                let mut chunk = Chunk::default();
                for id in state.names.ids(asset) {
                    if let Some(words) = wide.get((*id, 0)) {
                        chunk.keys.push((*id, 0));
                        chunk.words.extend_from_slice(words);
                    }
                }
                vec![Arc::new(chunk)]
            }
            _ => wide.chunks().to_vec(),
        };
        types.push(FrozenType {
            parts: wanted_parts(table, names, filter),
            names: Arc::clone(names),
            stride: wide.stride(),
            chunks,
        });
    }
    Contents::Wide { table, names: Arc::clone(&state.names), types, asset: filter.asset.clone() }
}

fn unpivot(
    mut batches: Batches,
    table: Table,
    names: &Names,
    types: &[FrozenType],
    asset: Option<String>,
) -> Result<Vec<RecordBatch>, ArrowError> {
    let ids: Option<&[u32]> = asset.as_deref().map(|asset| names.ids(asset));
    for frozen in types {
        let mut cells: Vec<Cell<'_>> = Vec::new();
        frozen.each(table, names, &mut |(id, _), row| {
            if ids.is_some_and(|ids| !ids.contains(&id)) {
                return Ok(true);
            }
            for part in frozen.parts.clone() {
                if row.fill(part, &mut cells) {
                    batches.push(&cells)?;
                }
            }
            Ok(!batches.is_full())
        })?;
    }
    batches.finish()
}

impl FrozenType {
    fn each<'a>(
        &'a self,
        table: Table,
        names: &'a Names,
        take: &mut dyn FnMut(Key, WideRow<'a>) -> Result<bool, ArrowError>,
    ) -> Result<(), ArrowError> {
        for chunk in &self.chunks {
            for (i, key) in chunk.keys.iter().enumerate() {
                let words = &chunk.words[i * self.stride..(i + 1) * self.stride];
                let asset = names.asset(key.0);
                let row = WideRow { table, names: &self.names, asset, window: key.1, words };
                if !take(*key, row)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
