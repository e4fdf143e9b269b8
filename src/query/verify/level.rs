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

use super::series::number;
use crate::catalog::Slot;
use crate::catalog::asset_type::{Comparison, Level, Levels, Literal};
use crate::model::Value;

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

/// What a rule says after the last row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The highest active level, since when, and the number of changes; `None` when nothing was
    /// evaluated.
    pub state: Option<(usize, i64, i64)>,
    pub stays: Vec<Stay>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Normal,
    PendingOn { since: i64 },
    Active { since: i64 },
    PendingOff { since: i64, out: i64 },
}

/// Follows one rule through the rows. `slot` is the metric's, when the rule watches one.
pub(super) fn follow(
    levels: &Levels,
    slot: Option<&Slot>,
    times: &[i64],
    values: &[Option<Value>],
) -> Outcome {
    let levels = [levels.warning.as_ref(), levels.critical.as_ref()];
    let mut phases = [Phase::Normal; 2];
    let mut stays = Vec::new();
    let (mut normal_since, mut transitions) = (None, 0);
    for (t, value) in times.iter().copied().zip(values) {
        while let Some(at) = next_deadline(&levels, &phases).filter(|at| *at <= t) {
            let before = phases;
            for (i, level) in levels.iter().enumerate() {
                if level.and_then(|level| deadline(level, phases[i])) == Some(at) {
                    phases[i] = match phases[i] {
                        Phase::PendingOn { since } => Phase::Active { since },
                        _ => Phase::Normal,
                    };
                }
            }
            book(&levels, &before, &phases, at, (&mut stays, &mut normal_since, &mut transitions));
        }
        let Some(value) = value else { continue };
        normal_since.get_or_insert(t);
        let before = phases;
        for (i, level) in levels.iter().enumerate() {
            if let Some(level) = level {
                phases[i] = look(level, slot, phases[i], t, value);
            }
        }
        book(&levels, &before, &phases, t, (&mut stays, &mut normal_since, &mut transitions));
    }
    for (i, phase) in phases.iter().enumerate() {
        let Some(level) = levels[i] else { continue };
        if let Some(since) = since(*phase) {
            let condition_end = match phase {
                Phase::PendingOff { out, .. } => Some(*out),
                _ => None,
            };
            let raised = since.saturating_add(level.on_delay.0);
            stays.push(Stay { level: i + 1, since, raised, condition_end, cleared: None });
        }
    }
    let state = normal_since.map(|normal| match highest(&phases) {
        0 => (0, normal, transitions),
        level => (level, since(phases[level - 1]).unwrap_or(normal), transitions),
    });
    Outcome { state, stays }
}

fn deadline(level: &Level, phase: Phase) -> Option<i64> {
    match phase {
        Phase::PendingOn { since } => Some(since.saturating_add(level.on_delay.0)),
        Phase::PendingOff { out, .. } => Some(out.saturating_add(level.off_delay.0)),
        Phase::Normal | Phase::Active { .. } => None,
    }
}

fn next_deadline(levels: &[Option<&Level>; 2], phases: &[Phase; 2]) -> Option<i64> {
    let of = |i: usize| levels[i].and_then(|level| deadline(level, phases[i]));
    [of(0), of(1)].into_iter().flatten().min()
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

/// Books stays that ended, and a change of the rule's level, which counts once a moment.
fn book(
    levels: &[Option<&Level>; 2],
    before: &[Phase; 2],
    after: &[Phase; 2],
    now: i64,
    (stays, normal_since, transitions): (&mut Vec<Stay>, &mut Option<i64>, &mut i64),
) {
    let mut ends = [None; 2];
    for i in 0..2 {
        let Some(level) = levels[i] else { continue };
        let (Some(since), None) = (since(before[i]), since(after[i])) else { continue };
        let end = match before[i] {
            Phase::PendingOff { out, .. } => out,
            _ => now,
        };
        ends[i] = Some(end);
        stays.push(Stay {
            level: i + 1,
            since,
            raised: since.saturating_add(level.on_delay.0),
            condition_end: Some(end),
            cleared: Some(end.saturating_add(level.off_delay.0)),
        });
    }
    let (was, is) = (highest(before), highest(after));
    if was != is {
        *transitions += 1;
        if is == 0 {
            *normal_since = ends[was - 1].or(*normal_since);
        }
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
