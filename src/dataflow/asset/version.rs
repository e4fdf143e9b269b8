//! A new version of the document, or the end of an asset, takes effect while there is state.

use super::assess::TypeState;
use super::changes::{Changes, Names};
use super::era::Era;
use super::parked::Parked;
use super::plan::Plan;
use super::row::NEVER;
use super::series::Series;
use super::single::Asset;
use super::tables::{Said, Tables};
use crate::model::{Change, Table};
use std::sync::Arc;

impl TypeState {
    /// Lets a new version of the document take effect, before the rows of its epoch.
    ///
    /// It holds from the event time `from` on, in the place of all versions that hold there now.
    /// Rows before it stay as they are. Assets with rows after it are asked for: each looks at those
    /// rows again when its page comes, and goes on with the version behind its newest row until
    /// then. Metrics, rules and windows keep their state by name. `Health`
    /// and `Thresholds` are handed out anew after a `Reset`; rows of `Latest` and `Rollups` are
    /// rewritten by name by whoever keeps them.
    pub fn publish(&mut self, plan: Plan, from: i64, names: &Names, out: &mut Changes) {
        for table in [Table::Health, Table::Thresholds] {
            out.list.push(Change::Reset(plan.id, table));
        }
        let old = Arc::clone(&self.era);
        self.era = Arc::new(Era::new(from, plan, Some(&old)));
        let is_laid_out_as_before = self.era.is_laid_out_as(&old);
        let before = self.eras.clone();
        self.eras.retain(|era| era.from < from);
        self.eras.push(Arc::clone(&self.era));
        let (mut tables, mut said) =
            (Tables::new(&self.era.plan, self.assets.len()), Said::default());
        for index in 0..self.assets.len() {
            let asset = &mut self.assets[index];
            if !asset.is_here() {
                continue;
            }
            asset.retire(&old.plan, names.get(asset.id), &mut said, out);
            if !is_laid_out_as_before {
                asset.relayout(&old, &self.era);
            }
            let last = asset.current(&old);
            asset.regard(&old, &self.era, names.get(asset.id), out);
            asset.put_off(&self.era, &before, self.series[index].newest());
            asset.anchors.retain(|anchor| anchor.day <= from);
            if asset.parked.is_some() {
                self.asking.push(index as u32);
            }
            let begin = asset.opens_at().max(from);
            self.rebuild(index, (begin, &last), names, (&mut tables, &mut said, out));
        }
        tables.finish(out);
        said.finish(out);
        self.ask(names, out);
    }

    /// Forgets an asset: it is not in the catalog any more. Whoever keeps its rows drops them.
    pub fn remove(&mut self, id: u32, names: &Names, out: &mut Changes) {
        let Some(index) = self.find(id) else { return };
        // What was said of it is dropped by its name; only the fleet has to be told.
        let mut unsaid = Said::default();
        self.assets[index].said = None;
        self.release(index, names, out);
        self.assets[index].retire(&self.era.plan, names.get(id), &mut unsaid, out);
        // The place stays, for the next asset that is new.
        self.assets[index] = Asset::vacant();
        self.series[index] = Series::default();
        self.index[id as usize] = u32::MAX;
        self.vacant.push(index as u32);
    }
}

impl Asset {
    /// The era of the current series, when this one is in force.
    pub fn current(&self, era: &Arc<Era>) -> Arc<Era> {
        Arc::clone(self.said.as_ref().and_then(|said| said.last()).unwrap_or(era))
    }

    /// Notes by which eras the rows have been looked at when a version reaches back to some of them:
    /// it holds behind the newest until all are looked at again.
    fn put_off(&mut self, era: &Arc<Era>, before: &[Arc<Era>], newest: Option<i64>) {
        let behind = newest.map_or(NEVER, |newest| newest.saturating_add(1));
        let reaches_back = era.from < behind;
        if !reaches_back && self.said.is_none() {
            return;
        }
        let from = era.from.max(behind);
        let said = self.said.get_or_insert_with(|| before.to_vec());
        said.retain(|known| known.from < from);
        if !reaches_back {
            return said.push(Arc::clone(era));
        }
        said.push(Arc::new(era.starting(from)));
        let parked = self.parked.get_or_insert_with(|| Box::new(Parked::new(&era.plan)));
        let again = parked.again.get_or_insert(era.from);
        *again = era.from.min(*again);
    }

    /// Moves what is kept beside the rows to another version of the document, by name.
    fn relayout(&mut self, old: &Era, new: &Era) {
        for windows in &mut self.windows {
            windows.relayout(old, new);
        }
        let kept = |window| old.plan.windows.iter().position(|w| w == window);
        let windows = new.plan.windows.iter();
        self.windows = windows
            .map(|window| kept(window).map_or_else(Default::default, |i| self.windows[i].clone()))
            .collect();
        let fresh = Self::new(self.id, &new.plan);
        let anchors = self.anchors.iter_mut().map(|anchor| &mut anchor.latest);
        let both = [&mut self.latest, &mut self.base_latest];
        for latest in both.into_iter().chain(anchors) {
            let was = std::mem::replace(latest, fresh.latest.clone());
            for slot in 0..new.plan.layout.slots.len() {
                if let Some(from) = old.slot_of(new, slot) {
                    latest[3 * slot..3 * slot + 3].copy_from_slice(&was[3 * from..3 * from + 3]);
                }
            }
        }
    }
}
