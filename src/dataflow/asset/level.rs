//! Threshold levels: the state table of one level, and the rule that joins two of them.
//!
//! ```text
//!            enter, on_delay > 0          t_in + on_delay passed
//!   Normal ------------------> PendingOn ------------------> Active <--------------.
//!     ^ |  <-- exit ----------------'                        | ^                   |
//!     | '----------- enter, on_delay = 0 --------------------' |                   |
//!     |                                              exit      | not exit          |
//!     '---- t_out + off_delay passed ---- PendingOff <---------'-------------------'
//! ```
//! Deadlines fire at their own time, before a row at the same time is looked at. A missing or bad
//! value holds the state. A level counts while it is active or pending off.
//!
//! A rule that watches for absence waits from each point on, in `PendingOn`, until the next one:
//! it keeps a state for each.

use super::plan::{Compiler, Input, PlanError};
use super::row::NEVER;
use crate::catalog::Slot;
use crate::catalog::asset_type::{AssetType, Comparison, Level, Literal, RuleKind};
use crate::expr::{Source, Want};
use crate::model::{DataType, Symbol};
use std::sync::{Arc, LazyLock};

/// Words of a rule's state: `transitions, normal since`, then five for each level.
pub const RULE_WORDS: usize = 2 + 2 * LEVEL_WORDS;
/// Words of a level's state: `phase, since, out, closed since, closed end`.
pub const LEVEL_WORDS: usize = 5;

const NORMAL: i64 = 0;
const PENDING_ON: i64 = 1;
const ACTIVE: i64 = 2;
const PENDING_OFF: i64 = 3;

/// A threshold rule.
#[derive(Clone)]
pub struct RulePlan {
    pub id: Arc<str>,
    pub kind: RuleKind,
    pub input: Input,
    data_type: DataType,
    /// Warning and critical.
    pub levels: [Option<LevelPlan>; 2],
    /// By the bits of [`RulePlan::resting`]: numbers from the first to the second leave the levels
    /// as they are. Others may do so too.
    kept: [(f64, f64); 4],
}

/// A level.
#[derive(Clone, Copy)]
pub struct LevelPlan {
    condition: Condition,
    pub on_delay: i64,
    pub off_delay: i64,
}

#[derive(Clone, Copy)]
enum Condition {
    /// The expression itself, a bool.
    True,
    /// Above or below a limit; `exit` is where a deadband ends.
    Order { op: Comparison, limit: f64, exit: Option<f64> },
    /// The same word: bools and states.
    Same { word: u64, negated: bool },
}

/// Names of the levels, in the order of their slots.
pub static LEVELS: LazyLock<[Arc<str>; 2]> =
    LazyLock::new(|| ["warning", "critical"].map(Arc::from));

impl RulePlan {
    /// Compiles the rules of a document.
    pub(super) fn compile_all(
        document: &AssetType,
        compiler: &mut Compiler,
    ) -> Result<Vec<Self>, PlanError> {
        let mut rules = Vec::new();
        for rule in &document.threshold_rules {
            let levels = [&rule.levels.warning, &rule.levels.critical];
            let compared = levels.iter().copied().flatten().any(|level| level.op.is_some());
            let want = if compared { Want::Number(DataType::Double) } else { Want::Condition };
            let input = match (&rule.metric, &rule.expr, &rule.sql) {
                (Some(metric), _, _) => Input::Metric(compiler.metric(&rule.id, metric)?),
                (_, Some(expr), _) => compiler.hidden(&rule.id, Source::Jsonata(expr), want)?,
                (_, _, sql) => {
                    let sql = sql.as_deref().unwrap_or_default();
                    compiler.hidden(&rule.id, Source::Sql(sql), want)?
                }
            };
            let slot = match input {
                Input::Metric(slot) => Some(compiler.slot(slot).clone()),
                Input::Number(_) | Input::Condition(_) => None,
            };
            let unslotted = if compared { DataType::Double } else { DataType::Bool };
            let data_type = slot.as_ref().map_or(unslotted, |slot| slot.data_type);
            let levels =
                levels.map(|level| level.as_ref().map(|l| LevelPlan::of(l, slot.as_ref())));
            let (id, kind) = (rule.id.as_str().into(), rule.kind);
            let compares = kind == RuleKind::Value && data_type == DataType::Double;
            let kept = [0, 1, 2, 3].map(|bits| match compares {
                true => kept(&levels, bits),
                false => NO_NUMBER,
            });
            rules.push(Self { id, kind, input, data_type, levels, kept });
        }
        Ok(rules)
    }

    /// The state before the first row.
    pub fn initial(state: &mut [i64]) {
        state.fill(NEVER);
        state[0] = 0;
        state[2] = NORMAL;
        state[2 + LEVEL_WORDS] = NORMAL;
    }

    /// Takes over a state of another version of the rule: a level that is not here any more is
    /// normal.
    pub fn adopt(&self, state: &mut [i64]) {
        for i in (0..2).filter(|i| self.levels[*i].is_none()) {
            level_mut(state, i).copy_from_slice(&[NORMAL, NEVER, NEVER, NEVER, NEVER]);
        }
    }

    /// Takes a row at event time `t`, with the rule's value as a word, `None` when missing or bad.
    /// An absence takes only points of the row itself.
    pub fn step(&self, state: &mut [i64], t: i64, value: Option<u64>) {
        loop {
            let deadlines = [0, 1].map(|i| self.deadline(state, i));
            let next = deadlines.iter().copied().flatten().min();
            let Some(at) = next.filter(|at| *at <= t) else { break };
            self.change(state, |rule, state| {
                for (i, deadline) in deadlines.iter().enumerate() {
                    if *deadline == Some(at) {
                        rule.fire(level_mut(state, i));
                    }
                }
            });
        }
        let is_first = state[1] == NEVER;
        let word = match (self.kind, value) {
            (RuleKind::Absence, None) if is_first => 0,
            (_, None) => return,
            (_, Some(word)) => word,
        };
        if is_first {
            state[1] = t;
        }
        self.change(state, |rule, state| {
            for i in 0..2 {
                match (&rule.levels[i], rule.kind) {
                    (Some(_), RuleKind::Absence) => wait(level_mut(state, i), t),
                    (Some(plan), RuleKind::Value) => {
                        plan.observe(level_mut(state, i), t, rule.data_type, word);
                    }
                    (None, _) => {}
                }
            }
        });
    }

    /// Whether [`RulePlan::step`] would leave the state as it is.
    pub fn rests(&self, state: &[i64], t: i64, value: Option<u64>) -> bool {
        if (0..2).any(|i| self.deadline(state, i).is_some_and(|at| at <= t)) {
            return false;
        }
        if self.kind == RuleKind::Absence {
            return value.is_none() && state[1] != NEVER;
        }
        let Some(word) = value else { return true };
        let rests = |i: usize| {
            let phase = state[2 + i * LEVEL_WORDS];
            self.levels[i].as_ref().is_none_or(|level| level.rests(phase, self.data_type, word))
        };
        state[1] != NEVER && rests(0) && rests(1)
    }

    /// Which levels are active, as bits; `None` while one is pending or no value was seen.
    pub fn resting(&self, state: &[i64]) -> Option<u64> {
        let mut bits = 0;
        for i in 0..2 {
            match state[2 + i * LEVEL_WORDS] {
                NORMAL => {}
                ACTIVE => bits |= 1 << i,
                _ => return None,
            }
        }
        (state[1] != NEVER).then_some(bits)
    }

    /// Whether a value leaves the levels as they are, of which those with a bit are active.
    #[inline]
    pub fn keeps(&self, bits: u64, word: u64) -> bool {
        let ((from, to), x) = (self.kept[bits as usize], f64::from_bits(word));
        (from <= x && x <= to) || self.looks_kept(bits, word)
    }

    /// As [`RulePlan::keeps`], without what is known beforehand.
    fn looks_kept(&self, bits: u64, word: u64) -> bool {
        self.kind == RuleKind::Value
            && self.levels.iter().enumerate().all(|(i, level)| {
                let phase = if bits >> i & 1 == 1 { ACTIVE } else { NORMAL };
                level.as_ref().is_none_or(|level| level.rests(phase, self.data_type, word))
            })
    }

    /// Level (0 normal, 1 warning, 2 critical), since, transitions.
    pub fn summary(state: &[i64]) -> [u64; 3] {
        let level = current(state);
        let since = match level {
            0 => state[1],
            level => state[2 + (level - 1) * LEVEL_WORDS + 1],
        };
        [level as u64, since as u64, state[0] as u64]
    }

    /// When a pending phase ends by itself next.
    pub fn next_deadline(&self, state: &[i64]) -> Option<i64> {
        [0, 1].into_iter().filter_map(|i| self.deadline(state, i)).min()
    }

    /// When the level's pending phase ends by itself.
    fn deadline(&self, state: &[i64], i: usize) -> Option<i64> {
        let (plan, level) = (self.levels[i].as_ref()?, &state[2 + i * LEVEL_WORDS..]);
        match level[0] {
            PENDING_ON => Some(level[1].saturating_add(plan.on_delay)),
            PENDING_OFF => Some(level[2].saturating_add(plan.off_delay)),
            _ => None,
        }
    }

    fn fire(&self, level: &mut [i64]) {
        match level[0] {
            PENDING_ON => level[0] = ACTIVE,
            _ => close(level, level[2]),
        }
    }

    /// Runs a change and books what it did to the rule's level.
    fn change(&self, state: &mut [i64], change: impl FnOnce(&Self, &mut [i64])) {
        let before = current(state);
        change(self, state);
        let after = current(state);
        if before != after {
            state[0] += 1;
            if after == 0 {
                // The end of the condition that went last: the level that was just left.
                state[1] = state[2 + (before - 1) * LEVEL_WORDS + 4];
            }
        }
    }
}

impl LevelPlan {
    fn of(level: &Level, slot: Option<&Slot>) -> Self {
        let condition = match (&level.op, &level.value) {
            (Some(op), Some(Literal::Number(limit)))
                if slot.is_none_or(|slot| slot.data_type.is_number()) =>
            {
                Condition::Order { op: *op, limit: *limit, exit: exit(level, *op, *limit, slot) }
            }
            (Some(op), Some(literal)) => {
                Condition::Same { word: word(literal), negated: *op == Comparison::Ne }
            }
            _ => Condition::True,
        };
        Self { condition, on_delay: level.on_delay.0, off_delay: level.off_delay.0 }
    }

    /// Whether [`LevelPlan::observe`] would leave the level as it is.
    fn rests(&self, phase: i64, data_type: DataType, word: u64) -> bool {
        let (enter, exit) = self.condition.test(data_type, word);
        match phase {
            NORMAL => !enter,
            PENDING_ON | ACTIVE => !exit,
            _ => exit,
        }
    }

    /// The numbers that leave the level as it is, from the first to the second.
    fn kept(&self, is_active: bool) -> (f64, f64) {
        use Comparison::{Ge, Gt, Le, Lt};
        let Condition::Order { op, limit, exit } = self.condition else { return NO_NUMBER };
        let (up_to, from) = (|x| (f64::NEG_INFINITY, x), |x| (x, f64::INFINITY));
        match (op, is_active, exit) {
            (Gt, false, _) => up_to(limit),
            (Ge, false, _) => up_to(limit.next_down()),
            (Lt, false, _) => from(limit),
            (Le, false, _) => from(limit.next_up()),
            (Gt | Ge, true, Some(exit)) => from(exit),
            (Lt | Le, true, Some(exit)) => up_to(exit),
            (Gt, true, None) => from(limit.next_up()),
            (Ge, true, None) => from(limit),
            (Lt, true, None) => up_to(limit.next_down()),
            (Le, true, None) => up_to(limit),
            _ => NO_NUMBER,
        }
    }

    fn observe(&self, level: &mut [i64], t: i64, data_type: DataType, word: u64) {
        let (enter, exit) = self.condition.test(data_type, word);
        match level[0] {
            NORMAL if enter => {
                level[0] = if self.on_delay == 0 { ACTIVE } else { PENDING_ON };
                level[1] = t;
            }
            PENDING_ON if exit => level[0] = NORMAL,
            ACTIVE if exit && self.off_delay == 0 => close(level, t),
            ACTIVE if exit => {
                level[0] = PENDING_OFF;
                level[2] = t;
            }
            PENDING_OFF if !exit => level[0] = ACTIVE,
            _ => {}
        }
    }
}

impl Condition {
    /// Whether the value enters the level, and whether it leaves it.
    fn test(&self, data_type: DataType, word: u64) -> (bool, bool) {
        let enter = match self {
            Self::True => word != 0,
            Self::Same { word: wanted, negated } => (word == *wanted) != *negated,
            Self::Order { op, limit, exit } => {
                let Some(x) = data_type.number(word) else { return (false, true) };
                let enter = match op {
                    Comparison::Gt => x > *limit,
                    Comparison::Ge => x >= *limit,
                    Comparison::Lt => x < *limit,
                    Comparison::Le => x <= *limit,
                    Comparison::Eq => x == *limit,
                    Comparison::Ne => x != *limit,
                };
                let leaves = match (exit, op) {
                    (Some(exit), Comparison::Gt | Comparison::Ge) => x < *exit,
                    (Some(exit), _) => x > *exit,
                    (None, _) => !enter,
                };
                return (enter, leaves);
            }
        };
        (enter, !enter)
    }
}

/// Whether the level counts.
pub fn is_active(level: &[i64]) -> bool {
    level[0] == ACTIVE || level[0] == PENDING_OFF
}

/// When the condition of a pending-off level ended.
pub fn condition_end(level: &[i64]) -> Option<i64> {
    (level[0] == PENDING_OFF).then_some(level[2])
}

/// From the first to the second there is no number.
const NO_NUMBER: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

/// The numbers that leave all levels as they are, of which those with a bit are active.
fn kept(levels: &[Option<LevelPlan>; 2], bits: usize) -> (f64, f64) {
    let each = levels.iter().enumerate();
    let each = each.filter_map(|(i, level)| Some(level.as_ref()?.kept(bits >> i & 1 == 1)));
    each.fold((f64::NEG_INFINITY, f64::INFINITY), |all, one| (all.0.max(one.0), all.1.min(one.1)))
}

/// A point came: the absence is over, and the next one may begin.
fn wait(level: &mut [i64], t: i64) {
    if is_active(level) {
        close(level, t);
    }
    level[0] = PENDING_ON;
    level[1] = t;
}

fn close(level: &mut [i64], end: i64) {
    level[0] = NORMAL;
    level[3] = level[1];
    level[4] = end;
}

fn current(state: &[i64]) -> usize {
    (0..2).rev().find(|i| is_active(&state[2 + i * LEVEL_WORDS..])).map_or(0, |i| i + 1)
}

fn level_mut(state: &mut [i64], i: usize) -> &mut [i64] {
    &mut state[2 + i * LEVEL_WORDS..2 + (i + 1) * LEVEL_WORDS]
}

fn exit(level: &Level, op: Comparison, limit: f64, slot: Option<&Slot>) -> Option<f64> {
    let deadband = level.deadband?;
    let range = slot.and_then(|slot| slot.range).map_or(0.0, |(low, high)| high - low);
    let width = deadband.abs.unwrap_or(0.0)
        + deadband.pct_of_range.unwrap_or(0.0) / 100.0 * range
        + deadband.pct_of_value.unwrap_or(0.0) / 100.0 * limit.abs();
    match op {
        Comparison::Gt | Comparison::Ge => Some(limit - width),
        Comparison::Lt | Comparison::Le => Some(limit + width),
        Comparison::Eq | Comparison::Ne => None,
    }
}

fn word(literal: &Literal) -> u64 {
    match literal {
        Literal::Bool(value) => u64::from(*value),
        // A number beside a bool metric: 1 and 0.
        Literal::Number(value) => u64::from(*value != 0.0),
        Literal::Text(text) => u64::from(Symbol::of(text).0),
    }
}
