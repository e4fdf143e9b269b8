//! Event rules: edges of a condition along the rows.

use crate::catalog::asset_type::{Edge, EventRule};
use crate::model::Value;
use serde::{Deserialize, Serialize};

/// An event that a rule fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fired {
    pub at: i64,
    /// The message is made of the last row at or before this time: the row that made it fire, or
    /// what was known just before a `for` was over.
    pub as_of: i64,
    pub suppressed: bool,
}

/// Where a rule stands. It is carried from one version of the document to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Whether the condition was true in the last row.
    was: bool,
    /// Since when it is true without having fired yet.
    pending: Option<i64>,
    /// The last event that was not suppressed.
    told: Option<i64>,
}

/// Follows one rule through rows, and then up to `end` with what falls due without a row. A
/// condition that is unknown counts as not true. Returns where the rule stands then, and what it
/// fired.
pub(super) fn follow(
    rule: &EventRule,
    mut state: State,
    times: &[i64],
    conditions: &[Option<Value>],
    end: i64,
) -> (State, Vec<Fired>) {
    let mut fired = Vec::new();
    if rule.edge == Edge::Falling {
        // What an earlier version waited for cannot be an edge of this one.
        state.pending = None;
    }
    // What is carried over its own time is told from what was known when this version began.
    let begin = times.first().map_or(i64::MIN, |t| t - 1);
    for (t, condition) in times.iter().copied().zip(conditions) {
        let is = matches!(condition, Some(Value::Bool(true)));
        // What has held long enough fires at its own time, before this row is looked at.
        state.advance(rule, t, begin, &mut fired);
        match (rule.edge, state.was, is) {
            (Edge::Rising, false, true) if rule.hold_for.0 > 0 => state.pending = Some(t),
            (Edge::Rising, false, true) | (Edge::Falling, true, false) => {
                fired.push(state.fire(rule, t, t));
            }
            _ => {}
        }
        if !is {
            state.pending = None;
        }
        state.was = is;
    }
    state.advance(rule, end, begin, &mut fired);
    (state, fired)
}

impl State {
    fn advance(&mut self, rule: &EventRule, until: i64, begin: i64, fired: &mut Vec<Fired>) {
        let Some(since) = self.pending else { return };
        let at = since.saturating_add(rule.hold_for.0);
        if at <= until {
            self.pending = None;
            fired.push(self.fire(rule, at, since.max(at - 1).max(begin)));
        }
    }

    fn fire(&mut self, rule: &EventRule, at: i64, as_of: i64) -> Fired {
        let cooldown = rule.cooldown.0;
        let suppressed = self.told.is_some_and(|told| at < told.saturating_add(cooldown));
        if !suppressed {
            self.told = Some(at);
        }
        Fired { at, as_of, suppressed }
    }
}
