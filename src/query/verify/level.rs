//! Threshold rules by the book: the state table of one level, applied row by row.
//!
//! | state | at event time t | next |
//! |---|---|---|
//! | normal | enter | pending on since t; active at once without an on-delay |
//! | pending on | `since + on_delay <= t`, before the row at t | active |
//! | pending on | exit | normal |
//! | active | exit | pending off since t; normal at once without an off-delay |
//! | pending off | not exit | active |
//! | pending off | `out + off_delay <= t`, before the row at t | normal |
//!
//! An absence is pending on since each point, and the next one ends it.

use super::series::number;
use crate::catalog::Slot;
use crate::catalog::asset_type::{Comparison, Level, Levels, Literal, RuleKind};
use crate::model::Value;
use serde::{Deserialize, Serialize};

/// A stay at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    /// 1 warning, 2 critical.
    pub level: usize,
    pub since: i64,
    pub raised: i64,
    pub condition_end: Option<i64>,
    pub cleared: Option<i64>,
}

/// The levels of a rule in one version of the document. `slot` is the metric's, when the rule
/// watches one.
pub(super) struct Watch<'a> {
    kind: RuleKind,
    levels: [Option<&'a Level>; 2],
    slot: Option<&'a Slot>,
}

/// Where a rule stands. It is carried from one version of the document to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    phases: [Phase; 2],
    /// When it was last at normal; `None` when nothing was evaluated.
    normal_since: Option<i64>,
    transitions: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Phase {
    #[default]
    Normal,
    PendingOn {
        since: i64,
    },
    Active {
        since: i64,
    },
    PendingOff {
        since: i64,
        out: i64,
    },
}

impl<'a> Watch<'a> {
    pub(super) fn new(kind: RuleKind, levels: &'a Levels, slot: Option<&'a Slot>) -> Self {
        Self { kind, levels: [levels.warning.as_ref(), levels.critical.as_ref()], slot }
    }

    /// Follows the rule through rows, and then up to `end` with what falls due without a row. The
    /// values of an absence are the rows' own points.
    /// Returns where it stands then, and the stays that ended.
    ///
    /// A level that the version does not have is at normal, whatever it was before.
    pub(super) fn follow(
        &self,
        mut state: State,
        times: &[i64],
        values: &[Option<Value>],
        end: i64,
    ) -> (State, Vec<Stay>) {
        let mut ended = Vec::new();
        for (phase, level) in state.phases.iter_mut().zip(self.levels) {
            if level.is_none() {
                *phase = Phase::Normal;
            }
        }
        for (t, value) in times.iter().copied().zip(values) {
            self.advance(&mut state, t, &mut ended);
            let is_first = state.normal_since.is_none();
            if value.is_none() && !(is_first && self.kind == RuleKind::Absence) {
                continue;
            }
            state.normal_since.get_or_insert(t);
            let mut after = state.phases;
            for (phase, level) in after.iter_mut().zip(self.levels) {
                *phase = match (self.kind, level, value) {
                    (RuleKind::Absence, Some(_), _) => Phase::PendingOn { since: t },
                    (RuleKind::Value, Some(level), Some(value)) => {
                        look(level, self.slot, *phase, t, value)
                    }
                    _ => *phase,
                };
            }
            self.change(&mut state, after, t, &mut ended);
        }
        self.advance(&mut state, end, &mut ended);
        (state, ended)
    }

    /// The stays that have not ended.
    pub(super) fn open(&self, state: &State) -> Vec<Stay> {
        let mut stays = Vec::new();
        for (i, phase) in state.phases.into_iter().enumerate() {
            let (Some(level), Some(since)) = (self.levels[i], since(phase)) else { continue };
            let condition_end = match phase {
                Phase::PendingOff { out, .. } => Some(out),
                _ => None,
            };
            let raised = since.saturating_add(level.on_delay.0);
            stays.push(Stay { level: i + 1, since, raised, condition_end, cleared: None });
        }
        stays
    }

    /// Lets the delays that are over at `until` have their effects, each at its own time.
    fn advance(&self, state: &mut State, until: i64, ended: &mut Vec<Stay>) {
        loop {
            let deadlines = [0, 1].map(|i| deadline(self.levels[i]?, state.phases[i]));
            let next = deadlines.into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= until) else { return };
            let mut after = state.phases;
            for (phase, deadline) in after.iter_mut().zip(deadlines) {
                if deadline == Some(at) {
                    *phase = match *phase {
                        Phase::PendingOn { since } => Phase::Active { since },
                        _ => Phase::Normal,
                    };
                }
            }
            self.change(state, after, at, ended);
        }
    }

    /// Books stays that ended, and a change of the rule's level, which counts once a moment.
    fn change(&self, state: &mut State, after: [Phase; 2], now: i64, ended: &mut Vec<Stay>) {
        let before = std::mem::replace(&mut state.phases, after);
        let mut ends = [None; 2];
        for i in 0..2 {
            let Some(level) = self.levels[i] else { continue };
            let (Some(since), None) = (since(before[i]), since(after[i])) else { continue };
            let end = match before[i] {
                Phase::PendingOff { out, .. } => out,
                _ => now,
            };
            ends[i] = Some(end);
            ended.push(Stay {
                level: i + 1,
                since,
                raised: since.saturating_add(level.on_delay.0),
                condition_end: Some(end),
                cleared: Some(end.saturating_add(level.off_delay.0)),
            });
        }
        let (was, is) = (highest(&before), highest(&after));
        if was != is {
            state.transitions += 1;
            if is == 0 {
                state.normal_since = ends[was - 1].or(state.normal_since);
            }
        }
    }
}

impl State {
    /// The highest active level, since when, and the number of changes; `None` when nothing was
    /// evaluated.
    pub(super) fn shown(&self) -> Option<(usize, i64, i64)> {
        let normal = self.normal_since?;
        Some(match highest(&self.phases) {
            0 => (0, normal, self.transitions),
            level => (level, since(self.phases[level - 1]).unwrap_or(normal), self.transitions),
        })
    }
}

fn deadline(level: &Level, phase: Phase) -> Option<i64> {
    match phase {
        Phase::PendingOn { since } => Some(since.saturating_add(level.on_delay.0)),
        Phase::PendingOff { out, .. } => Some(out.saturating_add(level.off_delay.0)),
        Phase::Normal | Phase::Active { .. } => None,
    }
}

fn look(level: &Level, slot: Option<&Slot>, phase: Phase, t: i64, value: &Value) -> Phase {
    let (enter, exit) = test(level, slot, value);
    match phase {
        Phase::Normal if enter && level.on_delay.0 == 0 => Phase::Active { since: t },
        Phase::Normal if enter => Phase::PendingOn { since: t },
        Phase::PendingOn { .. } if exit => Phase::Normal,
        Phase::Active { .. } if exit && level.off_delay.0 == 0 => Phase::Normal,
        Phase::Active { since } if exit => Phase::PendingOff { since, out: t },
        Phase::PendingOff { since, .. } if !exit => Phase::Active { since },
        same => same,
    }
}

/// The level that counts: active or pending off.
fn highest(phases: &[Phase; 2]) -> usize {
    (0..2).rev().find(|i| since(phases[*i]).is_some()).map_or(0, |i| i + 1)
}

fn since(phase: Phase) -> Option<i64> {
    match phase {
        Phase::Active { since } | Phase::PendingOff { since, .. } => Some(since),
        Phase::Normal | Phase::PendingOn { .. } => None,
    }
}

/// Whether a value enters the level, and whether it leaves it.
fn test(level: &Level, slot: Option<&Slot>, value: &Value) -> (bool, bool) {
    let (Some(op), Some(limit)) = (level.op, &level.value) else {
        let holds = !matches!(value, Value::Bool(false));
        return (holds, !holds);
    };
    let enter = match (limit, value) {
        (Literal::Number(limit), Value::Double(_) | Value::Integer(_)) => {
            let x = number(value).unwrap_or(f64::NAN);
            let enter = match op {
                Comparison::Gt => x > *limit,
                Comparison::Ge => x >= *limit,
                Comparison::Lt => x < *limit,
                Comparison::Le => x <= *limit,
                Comparison::Eq => x == *limit,
                Comparison::Ne => x != *limit,
            };
            let width = width(level, slot, *limit);
            return match (width, op) {
                (Some(width), Comparison::Gt | Comparison::Ge) => (enter, x < limit - width),
                (Some(width), Comparison::Lt | Comparison::Le) => (enter, x > limit + width),
                _ => (enter, !enter),
            };
        }
        // Bools and states are the wanted one or not; every comparison but `ne` asks for the same.
        (Literal::Bool(wanted), Value::Bool(x)) => x == wanted,
        (Literal::Number(wanted), Value::Bool(x)) => *x == (*wanted != 0.0),
        (Literal::Text(wanted), Value::String(x)) => **x == **wanted,
        _ => false,
    };
    let enter = enter != (op == Comparison::Ne);
    (enter, !enter)
}

fn width(level: &Level, slot: Option<&Slot>, limit: f64) -> Option<f64> {
    let deadband = level.deadband?;
    let (low, high) = slot.and_then(|slot| slot.range).unwrap_or_default();
    let of_range = deadband.pct_of_range.unwrap_or(0.0) / 100.0 * (high - low);
    let of_value = deadband.pct_of_value.unwrap_or(0.0) / 100.0 * limit.abs();
    Some(deadband.abs.unwrap_or(0.0) + of_range + of_value)
}
