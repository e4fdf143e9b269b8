//! One asset: what was said of it last, and what must be said now that its series changed.

use super::anchor::Anchor;
use super::changes::Changes;
use super::era::{Era, Past, Segment};
use super::evaluate::Span;
use super::expiry::Terms;
use super::parked::Parked;
use super::plan::Plan;
use super::rollup::Windows;
use super::row::NEVER;
use super::score::HealthPlan;
use super::series::Series;
use super::state::StateLayout;
use super::state_log::StateLog;
use super::tables::{Tables, push};
use crate::base::serial::words;
use crate::model::{ErrorRow, EventRow};
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
    /// What it was like when days began of which the rows are not here any more.
    #[serde(skip)]
    pub anchors: Vec<Anchor>,
    /// Points that belong before the rows that are here.
    pub parked: Option<Box<Parked>>,
    /// The eras by which its rows were looked at, where these are not those in force: a version that
    /// reaches back holds behind the newest row until it is the asset's turn.
    #[serde(skip)]
    pub said: Option<Vec<Arc<Era>>>,
    /// What lies before this time was said by other versions than those in force, and stays.
    pub sealed: i64,
    /// What of it has expired.
    pub terms: Terms,
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
    pub levels_changed: bool,
    /// Raised levels: rule, level, since, condition end.
    pub open: Vec<(usize, usize, i64, Option<i64>)>,
    /// Events that late rows may still take back, with the time of the row that fired them.
    pub events: Vec<(i64, EventRow)>,
    pub errors: Vec<ErrorRow>,
    /// The event time from which on all rows are here.
    pub here_from: i64,
    /// Rows from this time on are put in, others wait; settled before the first row of an epoch.
    pub limit: i64,
    /// When something happens to the rules' state by itself.
    pub deadline: i64,
    /// When the alarm clock rings for the asset next: at its deadline, or before.
    #[serde(skip)]
    pub alarm: i64,
    /// What the rules remember in short, and since when; see [`StateLayout::resting`].
    pub resting: Option<(i64, u64)>,
    /// The rules' conditions in the row that was scored last, when the health is made of nothing
    /// else.
    #[serde(skip)]
    pub scored: Vec<u64>,
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
            windows: vec![Windows::default(); plan.windows.len()],
            base_latest: latest.clone(),
            latest,
            // Not all assets in the same tick.
            forget_at: FORGET_AFTER + id as usize % FORGET_AFTER,
            ..Self::vacant()
        }
    }

    /// No asset: what stands in the place of one that was removed.
    pub fn vacant() -> Self {
        Self {
            id: u32::MAX,
            past: Vec::new(),
            anchors: Vec::new(),
            parked: None,
            said: None,
            sealed: NEVER,
            terms: Terms::default(),
            log: StateLog::default(),
            windows: Vec::new(),
            latest: Vec::new(),
            base_latest: Vec::new(),
            health: Vec::new(),
            levels: Vec::new(),
            levels_changed: false,
            open: Vec::new(),
            events: Vec::new(),
            errors: Vec::new(),
            here_from: NEVER,
            limit: NEVER,
            deadline: i64::MAX,
            alarm: i64::MAX,
            resting: None,
            scored: Vec::new(),
            span: None,
            appended: true,
            opened: false,
            settle_at: NEVER,
            forget_at: FORGET_AFTER,
        }
    }

    /// Whether an asset is here.
    pub fn is_here(&self) -> bool {
        self.id != u32::MAX
    }

    /// Takes a row behind the newest one that leaves the rules as they are.
    pub fn append(&mut self, era: &Era, row: &[u64], tables: &mut Tables, out: &mut Changes) {
        let plan = &era.plan;
        for (at, windows) in self.windows.iter_mut().enumerate() {
            windows.append(plan, plan.windows[at], row);
        }
        self.settle_behind(plan, plan.rows.time(row));
        take_fresh(&mut self.latest, plan, row);
        self.hand_out(era, row, tables, out);
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
        // Rows that were forgotten are known by the newest point of each metric.
        let base = self.base_latest.as_chunks::<3>().0.iter().map(|[_, time, _]| *time as i64);
        let base = base.filter(|time| *time != NEVER).max();
        let newest = std::iter::once(heard(plan, series)).chain(earlier).chain([base]);
        if let Some(newest) = newest.flatten().next() {
            self.settle_behind(plan, newest);
        }
    }

    /// The next row looks which windows it completes, also when none was open that it could.
    pub fn settle_next(&mut self) {
        self.settle_at = NEVER;
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
                take_fresh(&mut self.latest, plan, series.row(layout, i));
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
            self.hand_out_health((plan, states), health, row, tables, out);
        }
        self.hand_out_levels(plan, tables);
        self.hand_out_windows(tables);
    }

    /// Puts the asset's health into the table when it changed.
    fn hand_out_health(
        &mut self,
        (plan, states): (&Plan, &StateLayout),
        health: &HealthPlan,
        row: &[u64],
        tables: &mut Tables,
        out: &mut Changes,
    ) {
        let conditions = plan.rows.conditions(row);
        if !self.health.is_empty() && !self.scored.is_empty() && self.scored == conditions {
            // All but the event time is as it was.
            let time = plan.rows.time(row) as u64;
            if self.health[0] != time {
                self.health[0] = time;
                push(&mut tables.health, self.id, &self.health);
            }
            return;
        }
        self.scored.clear();
        if health.is_of_conditions() {
            self.scored.extend_from_slice(conditions);
        }
        let before = tables.health.words.len();
        health.score(plan, states, row, self.log.last(states), tables);
        let words = &tables.health.words[before..];
        if words == self.health {
            tables.health.words.truncate(before);
            return;
        }
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

    /// Puts the asset's levels into the table when they changed.
    pub fn hand_out_levels(&mut self, plan: &Plan, tables: &mut Tables) {
        if std::mem::take(&mut self.levels_changed) {
            if self.levels.is_empty() {
                // Nothing is evaluated any more.
                let nothing: Vec<u64> =
                    plan.rules.iter().flat_map(|_| [0, NEVER as u64, 0]).collect();
                return push(&mut tables.levels, self.id, &nothing);
            }
            push(&mut tables.levels, self.id, &self.levels);
        }
    }

    /// Puts the asset's windows that changed into their tables.
    pub fn hand_out_windows(&mut self, tables: &mut Tables) {
        for (at, windows) in self.windows.iter_mut().enumerate() {
            let upserts = &mut tables.rollups[at];
            windows.take_dirty(|start, words| {
                upserts.windows.push(start);
                push(upserts, self.id, words);
            });
        }
    }

    /// Lets the rows behind the hot horizon go, also when there are few.
    pub fn forget_now(&mut self, era: &Arc<Era>, series: &mut Series) {
        self.forget_at = 0;
        self.forget(era, series);
    }

    /// Lets rows go that are behind the hot horizon.
    pub fn forget(&mut self, era: &Arc<Era>, series: &mut Series) {
        let (plan, states, layout) = (&era.plan, &era.states, &era.plan.rows);
        let count = series.len();
        if count < self.forget_at.max(1) || self.parked.is_some() {
            return;
        }
        let newest = series.time(layout, count - 1);
        let limit = newest.saturating_sub(plan.hot_horizon);
        let base = series.position(layout, limit).saturating_sub(1);
        if base > 0 {
            let time = series.time(layout, base);
            // Whatever is deleted, the watermark does not go back behind this.
            let closed = limit.min(time.saturating_sub(plan.out_of_order));
            self.anchor(era, series, base);
            self.absorb(era, series, base, closed);
            series.forget(base);
            self.here_from = time.saturating_add(1);
            self.log.forget(states, time);
            self.events.retain(|(row_time, _)| *row_time >= time);
            self.errors.retain(|error| error.event_time >= time);
            for (windows, window) in self.windows.iter_mut().zip(&plan.windows) {
                windows.forget(*window, closed);
            }
        }
        let rows = series.len();
        self.forget_at = rows + (rows / 8).max(FORGET_AFTER);
    }

    /// Folds the rows up to `base`, and all past ones, into what outlives them: windows that end
    /// after `closed`.
    fn absorb(&mut self, era: &Era, series: &Series, base: usize, closed: i64) {
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
            windows.absorb_past(earlier, at, closed);
        }
        for i in series.first()..=base {
            let row = series.row(&era.plan.rows, i);
            for (windows, window) in self.windows.iter_mut().zip(&era.plan.windows) {
                windows.absorb(&era.plan, *window, row, closed);
            }
        }
        let mut wanted = era.plan.all_mask();
        for i in (series.first()..=base).rev() {
            let row = series.row(&era.plan.rows, i);
            let mut mask = wanted.clone();
            mask.iter_mut().zip(era.plan.rows.fresh(row)).for_each(|(mask, fresh)| *mask &= fresh);
            slots(&mask, |slot| take(&mut self.base_latest, slot, (&era.plan, row, slot)));
            wanted.iter_mut().zip(&mask).for_each(|(wanted, taken)| *wanted &= !taken);
            if wanted.iter().all(|wanted| *wanted == 0) {
                break;
            }
        }
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

/// Copies the points of a row into the row of the table `Latest`.
fn take_fresh(latest: &mut [u64], plan: &Plan, row: &[u64]) {
    let (layout, time) = (&plan.rows, plan.rows.time(row) as u64);
    let (cells, values) = (latest.as_chunks_mut().0, layout.values(row));
    if layout.is_fresh_and_good(row, &plan.all_metrics) {
        return cells.iter_mut().zip(values).for_each(|(cell, value)| *cell = [*value, time, 0]);
    }
    for (slot, cell) in cells.iter_mut().enumerate() {
        if layout.is_fresh(row, slot) {
            *cell = [values[slot], time, u64::from(layout.quality(row, slot).0)];
        }
    }
}

/// Copies the point of slot `from` of a row into the row of the table `Latest`.
pub(super) fn take(latest: &mut [u64], slot: usize, (plan, row, from): (&Plan, &[u64], usize)) {
    latest[3 * slot] = plan.rows.value(row, from);
    latest[3 * slot + 1] = plan.rows.time(row) as u64;
    latest[3 * slot + 2] = u64::from(plan.rows.quality(row, from).0);
}
