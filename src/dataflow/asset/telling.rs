//! What is said of one asset in the small views and in the fleet, and what is taken back.

use super::changes::Changes;
use super::era::Era;
use super::level::{self, LEVELS, RulePlan};
use super::message::render;
use super::plan::Plan;
use super::row::NEVER;
use super::series::Series;
use super::single::Asset;
use super::state::StateLayout;
use super::state_log::{Closed, Fired, Steps};
use super::tables::Said;
use crate::dataflow::score::OrderedScore;
use crate::model::{EventRow, Occurrence};
use std::sync::Arc;

impl Asset {
    /// Takes back what was said at the row times of a range.
    pub fn take_back(&mut self, (from, to): (i64, i64), said: &mut Said) {
        self.events.retain(|(row_time, event)| {
            let stays = *row_time < from || *row_time >= to;
            if !stays {
                said.events.push((event.clone(), -1));
            }
            stays
        });
    }

    /// Tells the events of a run of the rules.
    pub fn tell_events(
        &mut self,
        plan: &Plan,
        series: &Series,
        (steps, name): (&Steps, &Arc<str>),
        said: &mut Said,
    ) {
        for Fired { rule, at, suppressed, row_time } in &steps.fired {
            let rule = &plan.events[*rule];
            let position = series.position(&plan.rows, *at);
            // What had to hold for a while is told from the last row before its time was up.
            let told_from = if rule.waits() { position.saturating_sub(1) } else { position };
            let row = series.row(&plan.rows, told_from);
            let event = EventRow {
                asset: Arc::clone(name),
                rule: Arc::clone(&rule.id),
                event_type: Arc::clone(&rule.event_type),
                severity: rule.severity.into(),
                event_time: *at,
                message: render(&rule.message, plan, name, row).into(),
                suppressed: *suppressed,
            };
            said.events.push((event.clone(), 1));
            self.events.push((*row_time, event));
        }
    }

    /// Tells the levels that were cleared, and those that had been in the same rows before.
    pub fn tell_closed(plan: &Plan, (steps, name): (&Steps, &Arc<str>), said: &mut Said) {
        let (was, is) = (&steps.was_closed, &steps.closed);
        let gone = was.iter().filter(|stay| !is.contains(stay));
        tell_stays(plan, name, (gone, -1), said);
        let new = is.iter().filter(|stay| !was.contains(stay));
        tell_stays(plan, name, (new, 1), said);
    }

    /// Tells the raised levels and the levels that differ, after the state changed.
    pub fn tell_levels(&mut self, era: &Era, name: &Arc<str>, said: &mut Said, out: &mut Changes) {
        let (plan, states) = (&era.plan, &era.states);
        let mut nothing = Vec::new();
        let mut state = self.log.last(states);
        if state.is_none() && !self.levels.is_empty() {
            // A correction took away all that had been evaluated, and the row says so.
            states.initial(&plan.rows, &mut nothing);
            state = Some(&nothing);
        }
        let (mut open, mut levels) = (Vec::new(), Vec::new());
        if let Some(state) = state {
            open = raised(plan, states, state);
            let rules = 0..plan.rules.len();
            levels = rules.flat_map(|i| RulePlan::summary(&state[states.rule(i)])).collect();
        }
        // What stays raised is not told again: most of it does.
        for gone in self.open.iter().filter(|stay| !open.contains(stay)) {
            said.occurrences.push((occurrence(plan, name, *gone, false), -1));
        }
        for new in open.iter().filter(|stay| !self.open.contains(stay)) {
            said.occurrences.push((occurrence(plan, name, *new, false), 1));
        }
        self.open = open;
        for (i, rule) in plan.rules.iter().enumerate() {
            let (was, is) = (place(&self.levels, i), place(&levels, i));
            if was != is {
                let at = |level: u8| (Arc::clone(&rule.id), level, self.id);
                out.thresholds.extend(was.map(|level| (at(level), -1)));
                out.thresholds.extend(is.map(|level| (at(level), 1)));
            }
        }
        self.levels_changed |= levels != self.levels;
        self.levels = levels;
    }

    /// Takes back all that is said of raised levels and of places in the fleet: the rules that
    /// said it are about to be replaced.
    pub fn retire(&mut self, plan: &Plan, name: &Arc<str>, said: &mut Said, out: &mut Changes) {
        for open in self.open.drain(..) {
            said.occurrences.push((occurrence(plan, name, open, false), -1));
        }
        for (i, rule) in plan.rules.iter().enumerate() {
            let level = place(&self.levels, i);
            out.thresholds.extend(level.map(|level| ((Arc::clone(&rule.id), level, self.id), -1)));
        }
        self.place_in_fleet(plan, -1, out);
        self.levels.clear();
        self.health.clear();
        self.scored.clear();
    }

    /// Tells the asset's places in the fleet: its levels, and its band and score.
    pub fn announce(&self, plan: &Plan, out: &mut Changes) {
        for (i, rule) in plan.rules.iter().enumerate() {
            let level = place(&self.levels, i);
            out.thresholds.extend(level.map(|level| ((Arc::clone(&rule.id), level, self.id), 1)));
        }
        self.place_in_fleet(plan, 1, out);
    }

    pub fn place_in_fleet(&self, plan: &Plan, diff: i64, out: &mut Changes) {
        let (Some(health), Some(score)) = (&plan.health, self.health.get(1)) else { return };
        let score = f64::from_bits(*score);
        let place = (Arc::clone(&plan.key), health.band(score), self.id, OrderedScore::new(score));
        out.health.push((place, diff));
    }
}

/// Tells levels that were cleared.
pub fn tell_stays<'a>(
    plan: &Plan,
    name: &Arc<str>,
    (closed, diff): (impl IntoIterator<Item = &'a Closed>, i64),
    said: &mut Said,
) {
    for Closed { rule, level, since, end } in closed {
        let row = occurrence(plan, name, (*rule, *level, *since, Some(*end)), true);
        said.occurrences.push((row, diff));
    }
}

/// The level that a row of the table `Thresholds` says, once the rule was evaluated.
fn place(levels: &[u64], rule: usize) -> Option<u8> {
    let words = levels.get(3 * rule..3 * rule + 3)?;
    (words[1] as i64 != NEVER).then_some(words[0] as u8)
}

fn raised(
    plan: &Plan,
    states: &StateLayout,
    state: &[i64],
) -> Vec<(usize, usize, i64, Option<i64>)> {
    let mut raised = Vec::new();
    for rule in 0..plan.rules.len() {
        let words = &state[states.rule(rule)];
        for level in 0..2 {
            let at = &words[2 + level * level::LEVEL_WORDS..][..level::LEVEL_WORDS];
            if level::is_active(at) {
                raised.push((rule, level, at[1], level::condition_end(at)));
            }
        }
    }
    raised
}

fn occurrence(
    plan: &Plan,
    name: &Arc<str>,
    (rule, level, since, end): (usize, usize, i64, Option<i64>),
    over: bool,
) -> Occurrence {
    let delays = plan.rules[rule].levels[level].as_ref();
    let (on, off) = delays.map_or((0, 0), |level| (level.on_delay, level.off_delay));
    Occurrence {
        asset: Arc::clone(name),
        rule: Arc::clone(&plan.rules[rule].id),
        level: Arc::clone(&LEVELS[level]),
        since,
        raised: since.saturating_add(on),
        condition_end: end,
        cleared: end.filter(|_| over).map(|end| end.saturating_add(off)),
    }
}
