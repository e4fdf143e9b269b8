//! What changed in a view at one epoch, as a subscriber with a filter sees it.

use super::cell::{Batches, Cell, Tail, schema};
use super::filter::{Envelope, Filter};
use super::names::TypeNames;
use super::read::wanted_parts;
use super::small::SmallChange;
use super::state::State;
use super::unpivot::{WideRow, part_name, part_named};
use super::view::View;
use super::wide::WideTable;
use crate::model::Table;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use indexmap::IndexMap;

/// The rows that really changed, in the form of the envelope; `None` when there are none.
pub(super) fn delta(
    state: &State,
    view: View,
    filter: &Filter,
    envelope: Envelope,
) -> Result<Option<RecordBatch>, ArrowError> {
    let schema = delta_schema(view, envelope);
    let mut out = Out { batches: Batches::new(SchemaRef::clone(&schema), usize::MAX), envelope };
    match view.table() {
        Some(table) => wide(state, table, filter, &mut out)?,
        None => small(state, view, filter, &mut out)?,
    }
    let batches = out.batches.finish()?;
    match batches.len() {
        0 => Ok(None),
        1 => Ok(batches.into_iter().next()),
        _ => concat_batches(&schema, &batches).map(Some),
    }
}

/// The columns of the view, then `diff` or `op`.
pub(super) fn delta_schema(view: View, envelope: Envelope) -> SchemaRef {
    schema(
        view.columns(),
        match envelope {
            Envelope::Diff => Tail::Diff,
            Envelope::Upsert => Tail::Op,
        },
    )
}

struct Out {
    batches: Batches,
    envelope: Envelope,
}

impl Out {
    /// The row of a key changed from `old` to `new`, of which at least one is given.
    fn change<'a>(
        &mut self,
        old: Option<&mut Vec<Cell<'a>>>,
        new: Option<&mut Vec<Cell<'a>>>,
    ) -> Result<(), ArrowError> {
        match (self.envelope, old, new) {
            (Envelope::Diff, old, new) => {
                if let Some(old) = old {
                    self.row(old, Cell::Diff(-1))?;
                }
                if let Some(new) = new {
                    self.row(new, Cell::Diff(1))?;
                }
                Ok(())
            }
            (Envelope::Upsert, _, Some(new)) => self.row(new, Cell::text("upsert")),
            (Envelope::Upsert, Some(old), None) => self.row(old, Cell::text("delete")),
            (Envelope::Upsert, None, None) => Ok(()),
        }
    }

    fn row<'a>(&mut self, row: &mut Vec<Cell<'a>>, tail: Cell<'a>) -> Result<(), ArrowError> {
        row.push(tail);
        self.batches.push(row)
    }
}

fn wide(state: &State, table: Table, filter: &Filter, out: &mut Out) -> Result<(), ArrowError> {
    let ids = filter.asset.as_deref().map(|asset| state.names.ids(asset));
    for (asset_type, wide) in state.tables(table) {
        let Some(names) = state.names.asset_type(asset_type) else { continue };
        if filter.asset_type.as_deref().is_some_and(|wanted| wanted != &*names.key) {
            continue;
        }
        wide_table(state, (table, names, wide), (ids, filter), out)?;
    }
    Ok(())
}

fn wide_table(
    state: &State,
    (table, names, wide): (Table, &TypeNames, &WideTable),
    (ids, filter): (Option<&[u32]>, &Filter),
    out: &mut Out,
) -> Result<(), ArrowError> {
    let Some(touched) = wide.touched() else { return Ok(()) };
    let same_layout = std::ptr::eq(&*touched.names, names);
    let new_parts = wanted_parts(table, names, filter);
    let old_parts = wanted_parts(table, &touched.names, filter);
    // The place of each new part in old rows, and the old parts that have no place in new ones.
    let before: Vec<Option<usize>> = new_parts
        .clone()
        .map(|part| match same_layout {
            true => Some(part),
            false => part_named(table, &touched.names, part_name(table, names, part)),
        })
        .collect();
    let gone: Vec<usize> = old_parts
        .filter(|part| {
            !same_layout
                && part_named(table, names, part_name(table, &touched.names, *part)).is_none()
        })
        .collect();
    let (mut old_cells, mut new_cells) = (Vec::new(), Vec::new());
    for (key, old_words) in touched.rows() {
        if ids.is_some_and(|ids| !ids.contains(&key.0)) {
            continue;
        }
        let asset = state.names.asset(key.0);
        let read = |names, words| WideRow { table, names, asset, window: key.1, words };
        let old = old_words.map(|words| read(&*touched.names, words));
        let new = wide.get(key).map(|words| read(names, words));
        for (part, old_part) in new_parts.clone().zip(&before) {
            if let (Some(old), Some(new), true) = (&old, &new, same_layout)
                && old.is_same(new, part)
            {
                continue;
            }
            let was = match (&old, old_part) {
                (Some(old), Some(part)) => old.fill(*part, &mut old_cells),
                _ => false,
            };
            let is = new.as_ref().is_some_and(|new| new.fill(part, &mut new_cells));
            if (was || is) && !(was && is && old_cells == new_cells) {
                out.change(was.then_some(&mut old_cells), is.then_some(&mut new_cells))?;
            }
        }
        for part in &gone {
            if old.as_ref().is_some_and(|old| old.fill(*part, &mut old_cells)) {
                out.change(Some(&mut old_cells), None)?;
            }
        }
    }
    Ok(())
}

fn small(state: &State, view: View, filter: &Filter, out: &mut Out) -> Result<(), ArrowError> {
    let Some(small) = state.small(view) else { return Ok(()) };
    let wanted = filter.columns(view);
    let key_columns = view.key_columns();
    // Puts what went and what came under the same key beside each other.
    let mut by_key: IndexMap<Vec<Cell<'_>>, Vec<SmallChange<'_>>> = IndexMap::new();
    for change in small.changes() {
        if State::is_wanted(&change.cells, &wanted) {
            let key = key_columns.iter().map(|column| change.cells[*column].clone()).collect();
            by_key.entry(key).or_default().push(change);
        }
    }
    for (_, mut changes) in by_key {
        changes.sort_by_key(|change| change.after > change.before);
        match out.envelope {
            Envelope::Diff => {
                for change in &changes {
                    for _ in change.after..change.before {
                        out.change(Some(&mut change.cells.clone()), None)?;
                    }
                    for _ in change.before..change.after {
                        out.change(None, Some(&mut change.cells.clone()))?;
                    }
                }
            }
            Envelope::Upsert => {
                let Some(mut last) = changes.pop() else { continue };
                if last.after > 0 {
                    out.change(None, Some(&mut last.cells))?;
                } else {
                    out.change(Some(&mut last.cells), None)?;
                }
            }
        }
    }
    Ok(())
}
