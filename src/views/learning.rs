//! What changes how rows are read, or takes many of them away: documents, resets, removals.

use super::names::{Names, TypeNames};
use super::state::State;
use crate::model::{Document, Table, TypeId};
use std::collections::HashSet;
use std::sync::Arc;

impl State {
    pub(super) fn learn(&mut self, documents: &[(Document, i64)]) {
        let mut ordered: Vec<&(Document, i64)> = documents.iter().collect();
        ordered.sort_by_key(|(document, diff)| (*diff > 0, document.id, document.version));
        for (document, diff) in ordered {
            if let Some(rows) = self.catalog.get_mut(&document.kind) {
                rows.update(document, *diff);
                self.documented.insert(document.kind, self.epoch);
            }
            if *diff < 0 || !Names::learns_from(document) {
                continue;
            }
            let old = self.names.asset_type(TypeId(document.id)).cloned();
            if Arc::make_mut(&mut self.names).learn(document) {
                self.relay(TypeId(document.id), old.as_deref());
            }
        }
    }

    /// The rows of a type read differently from now on, or cannot be read any more. Rows that are
    /// kept by metric move to the new columns by name.
    fn relay(&mut self, asset_type: TypeId, old: Option<&TypeNames>) {
        let Some(names) = self.names.asset_type(asset_type) else { return };
        for ((table, owner), wide) in &mut self.wide {
            if *owner != asset_type {
                continue;
            }
            wide.touch_all();
            let moved = old.and_then(|old| names.moved(*table, old));
            if let (Table::Rollups(window), Some(old)) = (table, old) {
                let kept = self.kept.entry(*window).or_default();
                // What has left memory is read by name, as far as it goes on.
                let goes_on = |part: usize| {
                    moved.as_ref().is_some_and(|moved| moved.from.contains(&Some(part)))
                };
                for (part, slot) in old.numeric.iter().enumerate() {
                    if !goes_on(part) {
                        let metric = old.layout.slots[*slot].name.as_str().into();
                        kept.begin(asset_type, &names.key, Some(metric), self.epoch);
                    }
                }
                if moved.is_none() {
                    kept.begin(asset_type, &names.key, None, self.epoch);
                }
            }
            match moved {
                Some(moved) => wide.relay(&moved),
                None if wide.stride() != names.stride(*table) => wide.reset(names.stride(*table)),
                None if matches!(table, Table::Rollups(_)) => wide.reset(wide.stride()),
                None => {}
            }
        }
    }

    pub(super) fn reset(&mut self, asset_type: TypeId, table: Table) {
        let stride = self.names.asset_type(asset_type).map(|names| names.stride(table));
        if let (Table::Rollups(window), Some(names)) = (table, self.names.asset_type(asset_type)) {
            let kept = self.kept.entry(window).or_default();
            kept.begin(asset_type, &names.key, None, self.epoch);
        }
        if let Some(wide) = self.wide.get_mut(&(table, asset_type)) {
            wide.reset(stride.unwrap_or(wide.stride()));
        }
    }

    /// Forgets the rows of assets.
    pub(super) fn remove(&mut self, assets: &[(u32, Arc<str>)]) {
        let removed = Arc::make_mut(&mut self.removed);
        removed.extend(assets.iter().map(|(id, key)| (*id, (Arc::clone(key), self.epoch))));
        for kept in self.kept.values_mut() {
            assets.iter().for_each(|(id, key)| kept.remove(*id, key, self.epoch));
        }
        for wide in self.wide.values_mut() {
            wide.remove(|(asset, _)| assets.iter().any(|(gone, _)| gone == asset));
        }
        let gone: HashSet<&Arc<str>> = assets.iter().map(|(_, key)| key).collect();
        self.events.remove(&gone, self.epoch);
        self.occurrences.remove(&gone, self.epoch);
        self.errors.remove(&gone, self.epoch);
    }
}
