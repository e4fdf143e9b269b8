//! Eras: which version of the document holds where in event time.
//!
//! A version published at `T` takes the place of all versions from `T` on. Rows of an asset that
//! fall into an era before the current one are a segment of their own, in that version's layout.
//! Every era but an asset's first begins with a boundary row at its border: it holds what the
//! segment before ended with, by name, and the rules look at it.

use super::level::RulePlan;
use super::plan::Plan;
use super::row::NEVER;
use super::series::Series;
use super::state::StateLayout;
use super::state_log::StateLog;
use crate::model::DataType;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A version of the document, and the event time from which it holds.
#[derive(Clone, Serialize, Deserialize)]
pub struct Era {
    pub(super) from: i64,
    pub(super) plan: Arc<Plan>,
    pub(super) states: StateLayout,
    /// For each metric, the first version of the unbroken run of versions that have it.
    since: Vec<u32>,
    /// The same for each window.
    windows_since: Vec<u32>,
}

/// The rows of one asset in one era, and what the rules remember of them.
pub struct Segment {
    pub era: Arc<Era>,
    pub series: Series,
    pub log: StateLog,
}

/// The segments of one asset before its current series, oldest first.
#[derive(Clone, Copy)]
pub struct Past<'a> {
    pub segments: &'a [Segment],
    /// The current era.
    pub now: &'a Era,
}

impl Era {
    /// An era that follows the version published before it, if there is one.
    pub fn new(from: i64, plan: Plan, before: Option<&Self>) -> Self {
        let version = plan.version;
        let since = |slot: usize| {
            let metric = &plan.layout.slots[slot];
            let was = before.and_then(|era| era.slot(&metric.name, metric.data_type));
            before.zip(was).map_or(version, |(era, was)| era.since[was])
        };
        let since = (0..plan.layout.slots.len()).map(since).collect();
        let kept = |window| {
            let was = |era: &Self| era.plan.windows.iter().position(|known| known == window);
            before.and_then(|era| was(era).map(|at| era.windows_since[at])).unwrap_or(version)
        };
        let windows_since = plan.windows.iter().map(kept).collect();
        let states = StateLayout::of(&plan.rows);
        Self { from, plan: Arc::new(plan), states, since, windows_since }
    }

    /// The same version, holding from another event time on.
    pub fn starting(&self, from: i64) -> Self {
        Self { from, ..self.clone() }
    }

    /// The slot of a metric of this name and type.
    pub fn slot(&self, name: &str, data_type: DataType) -> Option<usize> {
        let slot = self.plan.layout.position(name)?;
        (self.plan.layout.slots[slot].data_type == data_type).then_some(slot)
    }

    /// The slot of another era's metric, when this one has it under the same name and type.
    pub fn slot_of(&self, other: &Self, slot: usize) -> Option<usize> {
        let here = self.position_of(other, slot)?;
        let (was, is) = (&other.plan.layout.slots[slot], &self.plan.layout.slots[here]);
        (is.data_type == was.data_type).then_some(here)
    }

    /// The slot that has the name of another era's metric: as a rule the same.
    fn position_of(&self, other: &Self, slot: usize) -> Option<usize> {
        let name = &other.plan.layout.slots[slot].name;
        match self.plan.layout.slots.get(slot) {
            Some(here) if here.name == *name => Some(slot),
            _ => self.plan.layout.position(name),
        }
    }

    /// Whether metrics and windows of this era stand where they stood in another one.
    pub fn is_laid_out_as(&self, other: &Self) -> bool {
        let (new, old) = (&self.plan, &other.plan);
        new.layout.slots.len() == old.layout.slots.len()
            && new.numeric == old.numeric
            && new.windows == old.windows
            && (0..new.layout.slots.len()).all(|slot| self.slot_of(other, slot) == Some(slot))
    }

    /// Where a point of another era's measured metric goes, and its word there. Numbers and bools
    /// are read as the type that the metric has here.
    pub fn adopt(&self, other: &Self, slot: usize, word: u64) -> Option<(usize, u64)> {
        let metric = &other.plan.layout.slots[slot];
        let here = self.position_of(other, slot)?;
        let to = self.plan.layout.slots[here].data_type;
        let word = if to == metric.data_type { word } else { to.read(metric.data_type, word)? };
        (here < self.plan.layout.measured).then_some((here, word))
    }

    /// The slot of an earlier era's metric, when there is one history of both.
    pub fn continues(&self, earlier: &Self, slot: usize) -> Option<usize> {
        let here = self.slot_of(earlier, slot)?;
        (earlier.plan.version >= self.since[here]).then_some(here)
    }

    /// The slot of another era's measured metric, when it is measured here too, as the same type.
    pub fn measured_of(&self, other: &Self, slot: usize) -> Option<usize> {
        self.slot_of(other, slot).filter(|slot| *slot < self.plan.layout.measured)
    }
}

impl<'a> Past<'a> {
    /// The segments that know of a current metric, each with the metric's slot there, oldest
    /// first; `window`: only those that count in that window.
    pub fn with(
        self,
        slot: usize,
        window: Option<usize>,
    ) -> impl DoubleEndedIterator<Item = (&'a Segment, usize)> {
        let since = self.now.since[slot].max(window.map_or(0, |at| self.now.windows_since[at]));
        self.segments.iter().filter_map(move |segment| {
            let known = segment.era.slot_of(self.now, slot)?;
            (segment.era.plan.version >= since).then_some((segment, known))
        })
    }

    /// The event time of the first row at or after a time, here or in the current series.
    pub fn next_time(self, series: &Series, time: i64) -> Option<i64> {
        let of = |era: &Era, series: &Series| {
            let layout = &era.plan.rows;
            let at = series.position(layout, time).max(series.first());
            (at < series.len()).then(|| series.time(layout, at))
        };
        let earlier = self.segments.iter().find_map(|segment| of(&segment.era, &segment.series));
        earlier.or_else(|| of(self.now, series))
    }
}

impl Segment {
    /// The first segment of an asset.
    pub fn new(era: Arc<Era>) -> Self {
        Self { era, series: Series::default(), log: StateLog::default() }
    }

    /// The segment after this one, whose rules were advanced to the border: its boundary row
    /// holds what this one ended with.
    pub fn next(&self, era: Arc<Era>) -> Self {
        let (old, new) = (&self.era, &era);
        let layout = &new.plan.rows;
        let last = self.series.row(&old.plan.rows, self.series.len() - 1);
        let mut series = Series::default();
        let (base, _) = series.row_at(layout, old.plan.rows.time(last));
        for slot in 0..new.plan.layout.slots.len() {
            let held = old.slot_of(new, slot).and_then(|was| old.plan.rows.as_of(last, was));
            layout.set_held(series.row_mut(layout, base), slot, held);
        }
        series.base = true;
        series.row_at(layout, new.from);
        let mut log = StateLog::default();
        if let Some(state) = self.log.last(&old.states) {
            log.push(new.from - 1, &carried(state, old, new));
        }
        Self { era, series, log }
    }

    /// Whether there are no rows at all, not even one to be held from.
    pub fn is_gone(&self) -> bool {
        self.series.len() == 0
    }

    /// The event time before which nothing is known row by row.
    pub fn floor(&self) -> i64 {
        match self.series.base {
            true => self.series.time(&self.era.plan.rows, 0).saturating_add(1),
            false => NEVER,
        }
    }
}

/// A state in another era: rules keep theirs by id, unless they watch for something else now; held
/// health parts begin anew.
fn carried(state: &[i64], old: &Era, new: &Era) -> Vec<i64> {
    let mut carried = Vec::new();
    new.states.initial(&new.plan.rows, &mut carried);
    for (i, rule) in new.plan.rules.iter().enumerate() {
        let is = |was: &RulePlan| was.id == rule.id && was.kind == rule.kind;
        if let Some(was) = old.plan.rules.iter().position(is) {
            let words = &mut carried[new.states.rule(i)];
            words.copy_from_slice(&state[old.states.rule(was)]);
            rule.adopt(words);
        }
    }
    for (i, rule) in new.plan.events.iter().enumerate() {
        if let Some(was) = old.plan.events.iter().position(|was| was.id == rule.id) {
            let words = &mut carried[new.states.event(i)];
            words.copy_from_slice(&state[old.states.event(was)]);
            rule.adopt(words);
        }
    }
    carried
}
