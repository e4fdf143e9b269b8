//! What the stateful rules of one asset remember: how it lies in memory, and how it changes.
//!
//! A state belongs to a row: it is what the rules remember after looking at it.

use super::event::{EVENT_WORDS, EventPlan};
use super::level::{RULE_WORDS, RulePlan};
use super::plan::{Input, Plan};
use super::row::RowLayout;
use super::score::HealthPlan;
use crate::catalog::asset_type::RuleKind;
use serde::{Deserialize, Serialize};

/// Where the parts of a state are.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct StateLayout {
    events: usize,
    holds: usize,
    pub(super) width: usize,
}

impl StateLayout {
    /// The layout of the states of a plan.
    pub fn of(rows: &RowLayout) -> Self {
        let events = rows.rules * RULE_WORDS;
        let holds = events + rows.events * EVENT_WORDS;
        Self { events, holds, width: holds + rows.holds }
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.width == 0
    }

    /// The words of a threshold rule.
    pub fn rule(&self, i: usize) -> std::ops::Range<usize> {
        i * RULE_WORDS..(i + 1) * RULE_WORDS
    }

    /// The words of an event rule.
    pub fn event(&self, i: usize) -> std::ops::Range<usize> {
        self.events + i * EVENT_WORDS..self.events + (i + 1) * EVENT_WORDS
    }

    /// The word of a held health part: when its condition was true last.
    pub fn hold(&self, i: usize) -> usize {
        self.holds + i
    }

    /// The state before the first row.
    pub fn initial(&self, rows: &RowLayout, state: &mut Vec<i64>) {
        state.clear();
        state.resize(self.width, super::row::NEVER);
        (0..rows.rules).for_each(|i| RulePlan::initial(&mut state[self.rule(i)]));
        (0..rows.events).for_each(|i| EventPlan::initial(&mut state[self.event(i)]));
    }

    /// Lets all rules look at a row.
    pub fn step(&self, plan: &Plan, state: &mut [i64], row: &[u64]) {
        let time = plan.rows.time(row);
        for (i, rule) in plan.rules.iter().enumerate() {
            rule.step(&mut state[self.rule(i)], time, plan.seen(row, rule));
        }
        for (i, rule) in plan.events.iter().enumerate() {
            let condition = plan.input(row, rule.input).is_some_and(|word| word != 0);
            rule.step(&mut state[self.event(i)], time, condition);
        }
        if let Some(health) = &plan.health {
            for (i, input) in health.held() {
                if plan.input(row, input).is_some_and(|word| word != 0) {
                    state[self.hold(i)] = time;
                }
            }
        }
    }

    /// When something happens to the state by itself next.
    pub fn deadline(&self, plan: &Plan, state: &[i64]) -> Option<i64> {
        let rules = plan.rules.iter().enumerate();
        let levels = rules.filter_map(|(i, rule)| rule.next_deadline(&state[self.rule(i)]));
        let events = plan.events.iter().enumerate();
        let held = events.filter_map(|(i, rule)| rule.deadline(&state[self.event(i)]));
        levels.chain(held).min()
    }

    /// Whether an event will be told of that waits for its time.
    pub fn waits(&self, plan: &Plan, state: &[i64]) -> bool {
        let mut events = plan.events.iter().enumerate();
        events.any(|(i, rule)| rule.deadline(&state[self.event(i)]).is_some())
    }

    /// Lets time pass up to `t` without a row.
    pub fn advance(&self, plan: &Plan, state: &mut [i64], t: i64) {
        for (i, rule) in plan.rules.iter().enumerate() {
            rule.step(&mut state[self.rule(i)], t, None);
        }
        for (i, rule) in plan.events.iter().enumerate() {
            rule.advance(&mut state[self.event(i)], t);
        }
    }

    /// What the rules remember in short, when time alone changes nothing: two bits for each rule,
    /// then one for each event rule. `None` when there is more to it.
    pub fn resting(&self, plan: &Plan, state: &[i64]) -> Option<u64> {
        if 2 * plan.rules.len() + plan.events.len() > 64 {
            return None;
        }
        let mut bits = 0;
        for (i, rule) in plan.rules.iter().enumerate() {
            bits |= rule.resting(&state[self.rule(i)])? << (2 * i);
        }
        for (i, rule) in plan.events.iter().enumerate() {
            let condition = rule.resting(&state[self.event(i)])?;
            bits |= u64::from(condition) << (2 * plan.rules.len() + i);
        }
        Some(bits)
    }

    /// Whether no rule would change the state if it looked at a row.
    pub fn rests(&self, plan: &Plan, state: &[i64], row: &[u64]) -> bool {
        let time = plan.rows.time(row);
        let holds = |input| plan.input(row, input).is_some_and(|word| word != 0);
        let rests = (plan.rules.iter().enumerate())
            .all(|(i, rule)| rule.rests(&state[self.rule(i)], time, plan.seen(row, rule)))
            && (plan.events.iter().enumerate())
                .all(|(i, rule)| rule.rests(&state[self.event(i)], time, holds(rule.input)))
            && !plan.health.iter().flat_map(HealthPlan::held).any(|(_, input)| holds(input));
        debug_assert_eq!(rests, {
            let mut stepped = state.to_vec();
            self.step(plan, &mut stepped, row);
            stepped == state
        });
        rests
    }

    /// Whether two states mean the same, the transition counters left out.
    pub fn meets(&self, rows: &RowLayout, a: &[i64], b: &[i64]) -> bool {
        let rules = (0..rows.rules).map(|i| self.rule(i));
        rules.into_iter().all(|rule| a[rule.start + 1..rule.end] == b[rule.start + 1..rule.end])
            && a[self.events..] == b[self.events..]
    }
}

impl Plan {
    /// The value of a rule's input in a row, `None` when missing or bad.
    #[inline]
    pub(super) fn input(&self, row: &[u64], input: Input) -> Option<u64> {
        match input {
            Input::Metric(slot) => self.rows.usable(row, slot),
            Input::Number(index) => self.rows.number(row, index),
            Input::Condition(index) => self.rows.condition(row, index),
        }
    }

    /// What a threshold rule looks at: a value as of the row, or for an absence only one of the
    /// row's own points.
    #[inline]
    fn seen(&self, row: &[u64], rule: &RulePlan) -> Option<u64> {
        let seen = self.input(row, rule.input);
        match (rule.kind, rule.input) {
            (RuleKind::Absence, Input::Metric(slot)) => {
                seen.filter(|_| self.rows.is_fresh(row, slot))
            }
            _ => seen,
        }
    }

    /// Whether the rules stay as they are when they look at a row; see [`StateLayout::resting`].
    /// `is_plain`: the row has good points of all metrics.
    pub(super) fn keeps(&self, resting: u64, row: &[u64], is_plain: bool) -> bool {
        if let (true, Some(watched)) = (is_plain, &self.watched) {
            let values = self.rows.values(row);
            return (self.rules.iter().enumerate())
                .all(|(i, rule)| rule.keeps(resting >> (2 * i) & 3, values[watched[i]]));
        }
        let holds = |input| self.input(row, input).is_some_and(|word| word != 0);
        let rules = self.rules.iter().enumerate().all(|(i, rule)| {
            let bits = resting >> (2 * i) & 3;
            self.seen(row, rule).is_none_or(|word| rule.keeps(bits, word))
        });
        let events = || {
            let bits = resting.checked_shr(2 * self.rules.len() as u32).unwrap_or(0);
            let mut events = self.events.iter().enumerate();
            events.all(|(i, event)| (bits >> i & 1 == 1) == holds(event.input))
        };
        let held = || self.health.iter().flat_map(HealthPlan::held).any(|(_, input)| holds(input));
        rules && events() && !held()
    }
}
