//! Event rules: an edge of a condition fires, now or after a time; a cooldown marks the rest.

use super::plan::{Compiler, Input, PlanError};
use super::row::NEVER;
use crate::catalog::asset_type::{AssetType, Edge, Severity};
use crate::expr::{Source, Want};
use std::sync::Arc;

/// Words of a rule's state: `condition bit | suppressed bit, pending since, fired at, told at`.
pub const EVENT_WORDS: usize = 4;

const CONDITION: i64 = 1;
const SUPPRESSED: i64 = 2;

/// An event rule.
#[derive(Clone)]
pub struct EventPlan {
    pub id: Arc<str>,
    pub event_type: Arc<str>,
    pub severity: &'static str,
    pub message: String,
    pub input: Input,
    edge: Edge,
    hold_for: i64,
    cooldown: i64,
}

impl EventPlan {
    /// Compiles the rules of a document.
    pub(super) fn compile_all(
        document: &AssetType,
        compiler: &mut Compiler,
    ) -> Result<Vec<Self>, PlanError> {
        let mut rules = Vec::new();
        for rule in &document.event_rules {
            let source = match (&rule.when, &rule.when_sql) {
                (Some(when), _) => Source::Jsonata(when),
                (None, sql) => Source::Sql(sql.as_deref().unwrap_or_default()),
            };
            rules.push(Self {
                id: rule.id.as_str().into(),
                event_type: rule.event_type.as_str().into(),
                severity: match rule.severity {
                    Severity::Info => "info",
                    Severity::Warning => "warning",
                    Severity::Critical => "critical",
                },
                message: rule
                    .message
                    .clone()
                    .unwrap_or_else(|| format!("{{{{asset}}}}: {}", rule.event_type)),
                input: compiler.hidden(&rule.id, source, Want::Condition)?,
                edge: rule.edge,
                hold_for: rule.hold_for.0,
                cooldown: rule.cooldown.0,
            });
        }
        Ok(rules)
    }

    /// The state before the first row.
    pub fn initial(state: &mut [i64]) {
        state.fill(NEVER);
        state[0] = 0;
    }

    /// Takes a row at event time `t`; a condition that is not known counts as not true.
    pub fn step(&self, state: &mut [i64], t: i64, condition: bool) {
        let before = state[0] & CONDITION != 0;
        self.advance(state, t);
        match (self.edge, before, condition) {
            (Edge::Rising, false, true) if self.hold_for > 0 => state[1] = t,
            (Edge::Rising, false, true) | (Edge::Falling, true, false) => self.fire(state, t),
            (_, _, false) => state[1] = NEVER,
            _ => {}
        }
        state[0] = state[0] & !CONDITION | i64::from(condition);
    }

    /// Lets time pass up to `t`: what has held long enough fires at its own time.
    pub fn advance(&self, state: &mut [i64], t: i64) {
        if let Some(at) = self.deadline(state).filter(|at| *at <= t) {
            self.fire(state, at);
            state[1] = NEVER;
        }
    }

    /// When the condition will have held long enough.
    pub fn deadline(&self, state: &[i64]) -> Option<i64> {
        (state[1] != NEVER).then(|| state[1].saturating_add(self.hold_for))
    }

    /// Takes over a state of another version of the rule: the end of a condition waits for nothing.
    pub fn adopt(&self, state: &mut [i64]) {
        if self.edge == Edge::Falling {
            state[1] = NEVER;
        }
    }

    /// Whether the rule fires some time after a row, and not at its time.
    pub fn waits(&self) -> bool {
        self.hold_for > 0 && self.edge == Edge::Rising
    }

    /// Whether the condition held last; `None` while it has to hold for longer.
    pub fn resting(&self, state: &[i64]) -> Option<bool> {
        (state[1] == NEVER).then_some(state[0] & CONDITION != 0)
    }

    /// Whether [`EventPlan::step`] would leave the state as it is.
    pub fn rests(&self, state: &[i64], t: i64, condition: bool) -> bool {
        let pending = state[1] != NEVER;
        condition == (state[0] & CONDITION != 0)
            && !(pending && (!condition || state[1].saturating_add(self.hold_for) <= t))
    }

    /// When the rule fired last, and whether that was suppressed.
    pub fn fired(state: &[i64]) -> Option<(i64, bool)> {
        (state[2] != NEVER).then_some((state[2], state[0] & SUPPRESSED != 0))
    }

    fn fire(&self, state: &mut [i64], at: i64) {
        let suppressed = state[3] != NEVER && at < state[3].saturating_add(self.cooldown);
        state[2] = at;
        state[0] &= !SUPPRESSED;
        if suppressed {
            state[0] |= SUPPRESSED;
        } else {
            state[3] = at;
        }
    }
}
