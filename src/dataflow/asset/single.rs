//! One asset: what was said of it last, and what must be said now that its series changed.

use super::changes::Changes;
use super::era::{Era, Past, Segment};
use super::evaluate::Span;
use super::level::{self, LEVELS, RulePlan};
use super::message::render;
use super::plan::Plan;
use super::rollup::Windows;
use super::row::NEVER;
use super::series::Series;
use super::state::StateLayout;
use super::state_log::{Closed, Fired, StateLog, Steps};
use super::tables::{Said, Tables, push};
use crate::base::serial::words;
use crate::dataflow::score::OrderedScore;
use crate::model::{ErrorRow, EventRow, Occurrence};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The fewest rows that come before old ones are forgotten again.
const FORGET_AFTER: usize = 16;

/// All that is kept of an asset beside its series.
#[derive(Serialize, Deserialize)]
pub struct Asset {
    pub id: u32,
    /// Rows of eras before the current one, as long as late points may reach them.
    #[serde(skip)]
    pub past: Vec<Segment>,
    pub log: StateLog,
    pub windows: Vec<Windows>,
    /// The row of the table `Latest`, and the same as of the base row of the series.
    #[serde(with = "words")]
    pub latest: Vec<u64>,
    #[serde(with = "words")]
    pub base_latest: Vec<u64>,
    /// The rows of the tables `Health` and `Thresholds` as they were handed out last.
    #[serde(with = "words")]
    pub health: Vec<u64>,
    #[serde(with = "words")]
    pub levels: Vec<u64>,
    levels_changed: bool,
    /// Raised levels: rule, level, since, condition end.
    open: Vec<(usize, usize, i64, Option<i64>)>,
    /// Events that late rows may still take back, with the time of the row that fired them.
    pub events: Vec<(i64, EventRow)>,
    pub errors: Vec<ErrorRow>,
    /// Points before this time come too late; settled before the first row of an epoch.
    pub limit: i64,
    /// When something happens to the rules' state by itself, as the alarm clock has it.
    pub deadline: i64,
    /// What the rules remember in short, and since when; see [`StateLayout::resting`].
    pub resting: Option<(i64, u64)>,
    /// Index into the spans of this epoch, when the asset has rows in it.
    pub span: Option<u32>,
    /// Whether all rows of this epoch went to the end of the series.
    pub appended: bool,
    /// Whether `limit` is settled for this epoch.
    pub opened: bool,
    settle_at: i64,
    forget_at: usize,
}

impl Asset {
    /// An asset without points.
    pub fn new(id: u32, plan: &Plan) -> Self {
        let nothing = [0, NEVER as u64, 0];
        let latest: Vec<u64> = plan.layout.slots.iter().flat_map(|_| nothing).collect();
        Self {
            id,
            past: Vec::new(),
            log: StateLog::default(),
            windows: vec![Windows::default(); plan.windows.len()],
            base_latest: latest.clone(),
            latest,
            health: Vec::new(),
            levels: Vec::new(),
            levels_changed: false,
            open: Vec::new(),
            events: Vec::new(),
            errors: Vec::new(),
            limit: NEVER,
            deadline: i64::MAX,
            resting: None,
            span: None,
            appended: true,
            opened: false,
            settle_at: NEVER,
            // Not all assets in the same tick.
            forget_at: FORGET_AFTER + id as usize % FORGET_AFTER,
        }
    }

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
        for (closed, diff) in [(&steps.was_closed, -1), (&steps.closed, 1)] {
            tell_stays(plan, name, (closed, diff), said);
        }
    }

    /// Tells the raised levels and the levels that differ, after the state changed.
    pub fn tell_levels(&mut self, era: &Era, name: &Arc<str>, said: &mut Said, out: &mut Changes) {
        let (plan, states) = (&era.plan, &era.states);
        let (mut open, mut levels) = (Vec::new(), Vec::new());
        if let Some(state) = self.log.last(states) {
            open = raised(plan, states, state);
            let rules = 0..plan.rules.len();
            levels = rules.flat_map(|i| RulePlan::summary(&state[states.rule(i)])).collect();
        }
        for (open, diff) in [(&self.open, -1), (&open, 1)] {
            for open in open {
                said.occurrences.push((occurrence(plan, name, *open, false), diff));
            }
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
    }

    /// Takes a row behind the newest one that leaves the rules as they are.
    pub fn append(&mut self, era: &Era, row: &[u64], tables: &mut Tables, out: &mut Changes) {
        let plan = &era.plan;
        for (windows, window) in self.windows.iter_mut().zip(&plan.windows) {
            windows.append(plan, *window, row);
        }
        self.settle_behind(plan, plan.rows.time(row));
        slots(plan.rows.fresh(row), |slot| take(&mut self.latest, slot, (plan, row, slot)));
        self.hand_out(era, row, tables, out);
    }

    /// Tells the asset's places in the fleet: its levels, and its band and score.
    pub fn announce(&self, plan: &Plan, out: &mut Changes) {
        for (i, rule) in plan.rules.iter().enumerate() {
            let level = place(&self.levels, i);
            out.thresholds.extend(level.map(|level| ((Arc::clone(&rule.id), level, self.id), 1)));
        }
        self.place_in_fleet(plan, 1, out);
    }

    /// Brings the windows up to date.
    pub fn roll_up(&mut self, era: &Era, series: &Series, span: &Span) {
        let plan = &era.plan;
        let count = series.len();
        if self.appended {
            for i in span.start..count {
                for (windows, window) in self.windows.iter_mut().zip(&plan.windows) {
                    windows.append(plan, *window, series.row(&plan.rows, i));
                }
            }
        } else {
            let times = (
                series.time(&plan.rows, span.start),
                series.time(&plan.rows, span.end.max(span.start + 1) - 1),
            );
            self.fold(era, series, times, &span.touched);
        }
        self.settle(plan, series);
    }

    /// Folds the touched metrics anew in all windows that overlap a range of times.
    pub fn fold(&mut self, era: &Era, series: &Series, times: (i64, i64), touched: &[u64]) {
        let past = Past { segments: &self.past, now: era };
        for (at, windows) in self.windows.iter_mut().enumerate() {
            windows.refold(past, at, series, times, touched);
        }
    }

    /// The event time of the first row, or the start of the first open window, that lies at or
    /// after a time.
    pub fn first_time(&self, era: &Era, series: &Series, time: i64) -> Option<i64> {
        let past = Past { segments: &self.past, now: era };
        let sizes = self.windows.iter().zip(&era.plan.windows);
        let open = sizes.filter_map(|(windows, window)| windows.first_after(*window, time));
        past.next_time(series, time).into_iter().chain(open).min()
    }

    /// Settles the windows that are complete. The border of an era is no news from the asset.
    pub fn settle(&mut self, plan: &Plan, series: &Series) {
        let heard = |plan: &Plan, series: &Series| {
            let rows = (series.first()..series.len()).rev();
            let mut rows = rows.map(|i| series.row(&plan.rows, i));
            let row = rows.find(|row| plan.rows.fresh(row).iter().any(|word| *word != 0));
            row.map(|row| plan.rows.time(row))
        };
        let earlier = self.past.iter().rev();
        let earlier = earlier.map(|segment| heard(&segment.era.plan, &segment.series));
        let Some(newest) = std::iter::once(heard(plan, series)).chain(earlier).flatten().next()
        else {
            return;
        };
        self.settle_behind(plan, newest);
    }

    /// Settles the windows that are complete after news of this event time.
    fn settle_behind(&mut self, plan: &Plan, newest: i64) {
        let watermark = newest.saturating_sub(plan.out_of_order);
        if watermark >= self.settle_at || !self.appended {
            let sizes = self.windows.iter_mut().zip(&plan.windows);
            let next = sizes.filter_map(|(windows, window)| windows.settle(*window, watermark));
            self.settle_at = next.min().unwrap_or(NEVER);
        }
    }

    /// Brings the row of `Latest` up to date.
    pub fn newest_points(&mut self, era: &Era, series: &Series, span: &Span) {
        let (plan, layout) = (&era.plan, &era.plan.rows);
        if self.appended {
            for i in span.start..series.len() {
                let row = series.row(layout, i);
                slots(layout.fresh(row), |slot| take(&mut self.latest, slot, (plan, row, slot)));
            }
            return;
        }
        let past = Past { segments: &self.past, now: era };
        slots(&span.touched, |slot| {
            if let Some(row) = newest(plan, series, slot) {
                return take(&mut self.latest, slot, (plan, row, slot));
            }
            for (segment, was) in past.with(slot, None).rev() {
                if let Some(row) = newest(&segment.era.plan, &segment.series, was) {
                    return take(&mut self.latest, slot, (&segment.era.plan, row, was));
                }
            }
            let base = 3 * slot..3 * slot + 3;
            self.latest[base.clone()].copy_from_slice(&self.base_latest[base]);
        });
    }

    /// Puts the asset's new rows into the tables, after its newest row in the series.
    pub fn hand_out(&mut self, era: &Era, row: &[u64], tables: &mut Tables, out: &mut Changes) {
        let (plan, states) = (&era.plan, &era.states);
        push(&mut tables.latest, self.id, &self.latest);
        if let Some(health) = &plan.health {
            let before = tables.health.words.len();
            health.score(plan, states, row, self.log.last(states), tables);
            let words = &tables.health.words[before..];
            if words == self.health {
                tables.health.words.truncate(before);
            } else {
                let moved = self.health.get(1) != Some(&words[1]);
                if moved {
                    self.place_in_fleet(plan, -1, out);
                }
                self.health.clear();
                self.health.extend_from_slice(words);
                tables.health.assets.push(self.id);
                if moved {
                    self.place_in_fleet(plan, 1, out);
                }
            }
        }
        self.hand_out_levels(tables);
        for (windows, upserts) in self.windows.iter_mut().zip(&mut tables.rollups) {
            windows.take_dirty(|start, words| {
                upserts.windows.push(start);
                push(upserts, self.id, words);
            });
        }
    }

    /// Puts the asset's levels into the table when they changed.
    pub fn hand_out_levels(&mut self, tables: &mut Tables) {
        if std::mem::take(&mut self.levels_changed) {
            push(&mut tables.levels, self.id, &self.levels);
        }
    }

    /// Lets rows go that no late point can reach any more.
    pub fn forget(&mut self, era: &Era, series: &mut Series) {
        let (plan, states, layout) = (&era.plan, &era.states, &era.plan.rows);
        let count = series.len();
        if count < self.forget_at {
            return;
        }
        let newest = series.time(layout, count - 1);
        let limit = newest.saturating_sub(plan.hot_horizon);
        let base = series.position(layout, limit).saturating_sub(1);
        if base > 0 {
            self.absorb(era, series, base, limit);
            let time = series.time(layout, base);
            series.forget(layout, base);
            self.log.forget(states, time);
            self.events.retain(|(row_time, _)| *row_time >= time);
            self.errors.retain(|error| error.event_time >= time);
            for (windows, window) in self.windows.iter_mut().zip(&plan.windows) {
                windows.forget(*window, limit);
            }
        }
        let rows = series.len();
        self.forget_at = rows + (rows / 8).max(FORGET_AFTER);
    }

    /// Folds the rows up to `base`, and all past ones, into what outlives them.
    fn absorb(&mut self, era: &Era, series: &Series, base: usize, limit: i64) {
        let past = std::mem::take(&mut self.past);
        let earlier = Past { segments: &past, now: era };
        for slot in 0..era.plan.layout.slots.len() {
            for (segment, was) in earlier.with(slot, None) {
                if let Some(row) = newest(&segment.era.plan, &segment.series, was) {
                    take(&mut self.base_latest, slot, (&segment.era.plan, row, was));
                }
            }
        }
        for (at, windows) in self.windows.iter_mut().enumerate() {
            windows.absorb_past(earlier, at, limit);
        }
        for i in series.first()..=base {
            let row = series.row(&era.plan.rows, i);
            for (windows, window) in self.windows.iter_mut().zip(&era.plan.windows) {
                windows.absorb(&era.plan, *window, row, limit);
            }
            let fresh = era.plan.rows.fresh(row);
            slots(fresh, |slot| take(&mut self.base_latest, slot, (&era.plan, row, slot)));
        }
    }

    fn place_in_fleet(&self, plan: &Plan, diff: i64, out: &mut Changes) {
        let (Some(health), Some(score)) = (&plan.health, self.health.get(1)) else { return };
        let score = f64::from_bits(*score);
        let place = (Arc::clone(&plan.key), health.band(score), self.id, OrderedScore::new(score));
        out.health.push((place, diff));
    }
}

/// Calls with each set bit of a mask.
pub fn slots(mask: &[u64], mut each: impl FnMut(usize)) {
    for (i, word) in mask.iter().enumerate() {
        let mut word = *word;
        while word != 0 {
            each(i * 64 + word.trailing_zeros() as usize);
            word &= word - 1;
        }
    }
}

/// The newest row in which a metric has a point.
fn newest<'a>(plan: &Plan, series: &'a Series, slot: usize) -> Option<&'a [u64]> {
    let layout = &plan.rows;
    let mut rows = (series.first()..series.len()).rev().map(|i| series.row(layout, i));
    rows.find(|row| layout.is_fresh(row, slot))
}

/// Copies the point of slot `from` of a row into the row of the table `Latest`.
fn take(latest: &mut [u64], slot: usize, (plan, row, from): (&Plan, &[u64], usize)) {
    latest[3 * slot] = plan.rows.value(row, from);
    latest[3 * slot + 1] = plan.rows.time(row) as u64;
    latest[3 * slot + 2] = u64::from(plan.rows.quality(row, from).0);
}

/// Tells levels that were cleared.
pub fn tell_stays(plan: &Plan, name: &Arc<str>, (closed, diff): (&[Closed], i64), said: &mut Said) {
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
        level: LEVELS[level].into(),
        since,
        raised: since.saturating_add(on),
        condition_end: end,
        cleared: end.filter(|_| over).map(|end| end.saturating_add(off)),
    }
}
