//! A new version of the document takes effect while assets have state.

use super::assess::TypeState;
use super::changes::{Changes, Names};
use super::evaluate::Span;
use super::event::EventPlan;
use super::level::RulePlan;
use super::plan::Plan;
use super::row::NEVER;
use super::series::Series;
use super::single::Asset;
use super::state::{StateLayout, StateLog};
use super::tables::Said;
use crate::model::{Change, Table, mask_words};

impl TypeState {
    /// Lets a new version of the document take effect, before the rows of its epoch.
    ///
    /// It holds from each asset's newest event time on: that row is looked at again, rows before
    /// it are history, and points at or before it come too late. Metrics, rules and health parts keep
    /// their state by name. `Health` and `Thresholds` are handed out anew after a `Reset`; rows
    /// of `Latest` and `Rollups` are rewritten by name by whoever keeps them.
    pub fn replace_plan(&mut self, plan: Plan, names: &Names, out: &mut Changes) {
        let states = StateLayout::of(&plan.rows);
        for table in [Table::Health, Table::Thresholds] {
            out.list.push(Change::Reset(plan.id, table));
        }
        let mut said = Said::default();
        for (asset, series) in self.assets.iter_mut().zip(&mut self.series) {
            asset.retire(&self.plan, names.get(asset.id), &mut said, out);
            asset.relayout((&self.plan, &self.states), (&plan, &states), series);
        }
        said.finish(out);
        (self.plan, self.states) = (plan, states);
        for asset in 0..self.assets.len() {
            if self.series[asset].len(&self.plan.rows) == 0 {
                continue;
            }
            let touched = vec![0; mask_words(self.plan.layout.slots.len())];
            self.spans.push(Span { asset, start: 0, end: 1, touched });
            self.assets[asset].appended = false;
            self.assets[asset].tell_anew = true;
        }
        self.reassess(names, out);
    }
}

impl Asset {
    fn relayout(
        &mut self,
        (old, old_states): (&Plan, &StateLayout),
        (new, states): (&Plan, &StateLayout),
        series: &mut Series,
    ) {
        let newest = series.newest(&old.rows);
        self.since_version = newest.map_or(NEVER, |newest| newest.saturating_add(1));
        self.events.clear();
        self.errors.clear();
        for windows in &mut self.windows {
            windows.relayout(old, new);
        }
        let kept = |window| old.windows.iter().position(|w| w == window);
        self.windows = new
            .windows
            .iter()
            .map(|window| kept(window).map_or_else(Default::default, |i| self.windows[i].clone()))
            .collect();
        let was = std::mem::replace(self, Self::new(self.id, new));
        (self.windows, self.since_version) = (was.windows, was.since_version);
        for (slot, metric) in new.layout.slots.iter().enumerate() {
            if let Some(from) = old.layout.position(&metric.name) {
                let words = &was.latest[3 * from..3 * from + 3];
                self.latest[3 * slot..3 * slot + 3].copy_from_slice(words);
            }
        }
        self.base_latest.clone_from(&self.latest);
        let Some(newest) = newest else { return };
        *series = base_row(old, new, series);
        self.log = carried(&was.log, (old, old_states), (new, states), newest);
    }
}

/// The newest row in the new layout: all metrics held by name, none fresh.
fn base_row(old: &Plan, new: &Plan, series: &Series) -> Series {
    let row = series.row(&old.rows, series.len(&old.rows) - 1);
    let mut base = Series::default();
    let (at, _) = base.row_at(&new.rows, old.rows.time(row));
    for (slot, metric) in new.layout.slots.iter().enumerate() {
        let from = old.layout.position(&metric.name);
        let held = from.and_then(|from| old.rows.as_of(row, from));
        new.rows.set_held(base.row_mut(&new.rows, at), slot, held);
    }
    base.base = true;
    base
}

/// The last state, moved rule by rule. It stands just before the newest row, which is looked at
/// again.
fn carried(
    log: &StateLog,
    (old, old_states): (&Plan, &StateLayout),
    (new, states): (&Plan, &StateLayout),
    newest: i64,
) -> StateLog {
    let mut state = Vec::new();
    states.initial(&new.rows, &mut state);
    if let Some(last) = log.last(old_states) {
        for (i, rule) in new.rules.iter().enumerate() {
            match old.rules.iter().position(|was| was.id == rule.id) {
                Some(was) => state[states.rule(i)].copy_from_slice(&last[old_states.rule(was)]),
                None => RulePlan::initial(&mut state[states.rule(i)]),
            }
        }
        for (i, rule) in new.events.iter().enumerate() {
            match old.events.iter().position(|was| was.id == rule.id) {
                Some(was) => state[states.event(i)].copy_from_slice(&last[old_states.event(was)]),
                None => EventPlan::initial(&mut state[states.event(i)]),
            }
        }
    }
    let mut log = StateLog::default();
    log.push(newest - 1, &state);
    log
}
