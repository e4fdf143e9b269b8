//! The states of one asset's rules as a log of changes along event time.
//!
//! Most rows change nothing, so only the changes are kept. A late row cuts the log at its event
//! time; the rules run from there until they meet the states that were stored before.

use super::event::EventPlan;
use super::level::LEVEL_WORDS;
use super::plan::Plan;
use super::series::Series;
use super::state::StateLayout;
use crate::base::serial::words;
use serde::{Deserialize, Serialize};

/// Changes of state, ascending by event time: `time` and then the state's words.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StateLog {
    #[serde(with = "words")]
    words: Vec<i64>,
}

/// An event that a rule fired while it looked at the row at `row_time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fired {
    pub rule: usize,
    pub at: i64,
    pub suppressed: bool,
    pub row_time: i64,
}

/// A threshold level that was cleared: its condition held from `since` to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    pub rule: usize,
    pub level: usize,
    pub since: i64,
    pub end: i64,
}

/// Work space of [`StateLog::restep`], and what it found.
#[derive(Default)]
pub struct Steps {
    state: Vec<i64>,
    before: Vec<i64>,
    old: Vec<i64>,
    tail: Vec<i64>,
    /// Events of the rows that were looked at.
    pub fired: Vec<Fired>,
    /// Levels cleared in these rows.
    pub closed: Vec<Closed>,
    /// Levels that had been cleared in these rows before.
    pub was_closed: Vec<Closed>,
    /// The first row that was not looked at.
    pub end: usize,
    /// Whether the state after the newest row changed.
    changed: bool,
    /// Whether a state was put into the log, so that deadlines may be others than before.
    pub moved: bool,
}

impl StateLog {
    /// The bytes that it takes beside itself.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * 8
    }

    /// The state after the newest row; `None` before the first change.
    pub fn last(&self, layout: &StateLayout) -> Option<&[i64]> {
        let start = self.words.len().checked_sub(layout.width)?;
        (layout.width > 0).then(|| &self.words[start..])
    }

    /// When the state changed last.
    pub fn last_time(&self, layout: &StateLayout) -> Option<i64> {
        self.words.len().checked_sub(layout.width + 1).map(|at| self.words[at])
    }

    /// Whether a row behind the newest one leaves the state as it is.
    pub fn rests(&self, plan: &Plan, layout: &StateLayout, row: &[u64]) -> bool {
        if layout.width == 0 {
            return true;
        }
        let last = self.last_before(layout, plan.rows.time(row));
        last.is_some_and(|last| layout.rests(plan, last, row))
    }

    /// The last state, when no change is at or after the time.
    fn last_before(&self, layout: &StateLayout, time: i64) -> Option<&[i64]> {
        let last = self.words.len().checked_sub(layout.width + 1)?;
        (self.words[last] < time).then(|| &self.words[last + 1..])
    }

    /// The last change before a time: when, and the state.
    pub fn entry_before(&self, layout: &StateLayout, time: i64) -> Option<(i64, &[i64])> {
        let last = self.first_at(layout, time).checked_sub(1).filter(|_| layout.width > 0)?;
        let at = last * (layout.width + 1);
        Some((self.words[at], &self.words[at + 1..at + 1 + layout.width]))
    }

    /// Puts a state at a time that is not before the last one.
    pub fn push(&mut self, time: i64, state: &[i64]) {
        self.words.push(time);
        self.words.extend_from_slice(state);
    }

    /// Forgets the changes before a time, but for the last of them.
    pub fn forget(&mut self, layout: &StateLayout, time: i64) {
        let keep = self.first_after(layout, time).saturating_sub(1);
        self.words.drain(..keep * (layout.width + 1));
    }

    /// Lets the rules look at the rows from `start` on. Rows from `must` on may be left out as
    /// soon as the state is what it was before them and no event waits, whose message is made of
    /// the last row before it. After the last row time passes up to `clock`.
    pub fn restep(
        &mut self,
        plan: &Plan,
        layout: &StateLayout,
        series: &Series,
        (mut start, must, clock): (usize, usize, i64),
        steps: &mut Steps,
    ) {
        steps.clear();
        let rows = series.len();
        steps.end = rows;
        if layout.width == 0 {
            return;
        }
        let last = self.last_before(layout, series.time(&plan.rows, start));
        if let Some(last) = last.filter(|last| !layout.waits(plan, last)) {
            // Most rows change nothing.
            while start < must && layout.rests(plan, last, series.row(&plan.rows, start)) {
                start += 1;
            }
            if start == must {
                steps.end = start;
                return;
            }
        }
        let entry = layout.width + 1;
        let split = self.first_at(layout, series.time(&plan.rows, start)) * entry;
        steps.tail.extend(self.words.drain(split..));
        match self.last(layout) {
            Some(last) => steps.state.extend_from_slice(last),
            None => layout.initial(&plan.rows, &mut steps.state),
        }
        steps.old.extend_from_slice(&steps.state);
        let mut next = 0;
        for i in start..rows {
            if i >= must
                && layout.meets(&plan.rows, &steps.state, &steps.old)
                && !layout.waits(plan, &steps.state)
            {
                steps.end = i;
                break;
            }
            let row = series.row(&plan.rows, i);
            let time = plan.rows.time(row);
            steps.before.clear();
            steps.before.extend_from_slice(&steps.state);
            layout.step(plan, &mut steps.state, row);
            if steps.state != steps.before {
                found(plan, layout, &steps.before, &steps.state, &mut steps.closed);
                fired(plan, layout, &steps.before, &steps.state, time, &mut steps.fired);
                self.push(time, &steps.state);
                steps.moved = true;
            }
            while next < steps.tail.len() && steps.tail[next] <= time {
                let was = &steps.tail[next + 1..next + entry];
                found(plan, layout, &steps.old, was, &mut steps.was_closed);
                steps.old.copy_from_slice(was);
                next += entry;
            }
        }
        if steps.end < rows {
            self.rejoin(plan, layout, steps, next);
        } else if steps.moved || !steps.tail.is_empty() {
            self.pass(plan, layout, clock, steps);
            for was in steps.tail[next..].chunks_exact(entry) {
                found(plan, layout, &steps.old, &was[1..], &mut steps.was_closed);
                steps.old.copy_from_slice(&was[1..]);
            }
        }
        let old_last = steps.tail.len().checked_sub(layout.width).map(|at| &steps.tail[at..]);
        let unchanged = match old_last {
            Some(old) => self.last(layout) == Some(old),
            None => steps.state == steps.old,
        };
        steps.changed = !unchanged;
    }

    /// Lets time pass up to `clock` after the newest row.
    pub fn advance(&mut self, plan: &Plan, layout: &StateLayout, clock: i64, steps: &mut Steps) {
        steps.clear();
        let Some(last) = self.last(layout) else { return };
        steps.state.extend_from_slice(last);
        self.pass(plan, layout, clock, steps);
        steps.changed = steps.moved;
    }

    /// Lets what is pending happen at its own time, up to `clock`.
    fn pass(&mut self, plan: &Plan, layout: &StateLayout, clock: i64, steps: &mut Steps) {
        while let Some(at) = layout.deadline(plan, &steps.state).filter(|at| *at <= clock) {
            steps.before.clear();
            steps.before.extend_from_slice(&steps.state);
            layout.advance(plan, &mut steps.state, at);
            found(plan, layout, &steps.before, &steps.state, &mut steps.closed);
            fired(plan, layout, &steps.before, &steps.state, at, &mut steps.fired);
            self.push(at, &steps.state);
            steps.moved = true;
        }
    }

    /// Cuts off the changes at and after a time, and says which levels they had cleared. A state
    /// that was carried into an era that begins at `from` is where its changes begin.
    pub fn cut(
        &mut self,
        plan: &Plan,
        layout: &StateLayout,
        (time, from): (i64, i64),
        closed: &mut Vec<Closed>,
    ) {
        if layout.width == 0 {
            return;
        }
        let entry = layout.width + 1;
        let split = self.first_at(layout, time) * entry;
        let tail: Vec<i64> = self.words.drain(split..).collect();
        let mut changes = tail.chunks_exact(entry).peekable();
        let mut before = Vec::new();
        match (self.last(layout), changes.peek()) {
            (Some(last), _) => before.extend_from_slice(last),
            (None, Some(first)) if first[0] < from => before.extend_from_slice(&first[1..]),
            (None, _) => layout.initial(&plan.rows, &mut before),
        }
        for change in changes {
            found(plan, layout, &before, &change[1..], closed);
            before.copy_from_slice(&change[1..]);
        }
    }

    /// Appends the stored changes from `next` on, with the transition counters moved by what the
    /// recomputed part added or took away.
    fn rejoin(&mut self, plan: &Plan, layout: &StateLayout, steps: &Steps, next: usize) {
        let entry = layout.width + 1;
        let from = self.words.len();
        self.words.extend_from_slice(&steps.tail[next..]);
        for i in 0..plan.rows.rules {
            let counter = layout.rule(i).start;
            let moved = steps.state[counter] - steps.old[counter];
            if moved != 0 {
                for at in (from..self.words.len()).step_by(entry) {
                    self.words[at + 1 + counter] += moved;
                }
            }
        }
        if from == self.words.len() && steps.state != steps.old {
            // Met, but for the counters, and nothing follows: the last state is the new one,
            // which is in the log already.
            debug_assert!(self.last(layout) == Some(&steps.state[..]));
        }
    }

    fn first_at(&self, layout: &StateLayout, time: i64) -> usize {
        self.search(layout, |at| at < time)
    }

    fn first_after(&self, layout: &StateLayout, time: i64) -> usize {
        self.search(layout, |at| at <= time)
    }

    fn search(&self, layout: &StateLayout, before: impl Fn(i64) -> bool) -> usize {
        let entry = layout.width + 1;
        let (mut low, mut high) = (0, self.words.len() / entry);
        while low < high {
            let middle = (low + high) / 2;
            if before(self.words[middle * entry]) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

impl Steps {
    /// Whether levels, counters or past occurrences may be others than before.
    pub fn levels_differ(&self) -> bool {
        self.changed || self.closed != self.was_closed
    }

    fn clear(&mut self) {
        self.state.clear();
        self.old.clear();
        self.tail.clear();
        self.fired.clear();
        self.closed.clear();
        self.was_closed.clear();
        self.changed = false;
        self.moved = false;
    }
}

/// The levels that one change of state cleared.
fn found(plan: &Plan, layout: &StateLayout, a: &[i64], b: &[i64], closed: &mut Vec<Closed>) {
    for rule in 0..plan.rules.len() {
        let at = layout.rule(rule).start + 2;
        for level in 0..2 {
            let at = at + level * LEVEL_WORDS;
            if a[at + 3..at + 5] != b[at + 3..at + 5] {
                closed.push(Closed { rule, level, since: b[at + 3], end: b[at + 4] });
            }
        }
    }
}

/// The events that one change of state fired.
fn fired(
    plan: &Plan,
    layout: &StateLayout,
    a: &[i64],
    b: &[i64],
    row_time: i64,
    fired: &mut Vec<Fired>,
) {
    for rule in 0..plan.events.len() {
        let (was, is) = (&a[layout.event(rule)], &b[layout.event(rule)]);
        if let Some((at, suppressed)) = EventPlan::fired(is)
            && was[2] != is[2]
        {
            fired.push(Fired { rule, at, suppressed, row_time });
        }
    }
}
