//! Anchors: what an asset was like when a day began of which the rows are not here any more.
//!
//! Rows behind the hot horizon are forgotten. To look at some of them again it takes what the rules
//! remembered and the metrics held before them; from there the archive has the rest. Days are the
//! longest windows, so that no window spans an anchor.

use super::era::{Era, Segment};
use super::row::NEVER;
use super::series::Series;
use super::single::{Asset, slots, take};
use super::state_log::StateLog;
use crate::model::Window;
use std::sync::Arc;

/// Anchors of one asset; when there are more, the older ones are thinned out. A late point that is
/// older than those that are left needs more rows.
const ANCHORS_MAX: usize = 64;

/// An asset as it was just before a UTC day.
#[derive(Clone)]
pub struct Anchor {
    /// When the day begins, microseconds.
    pub day: i64,
    /// The era of the last row before.
    pub era: Arc<Era>,
    /// The last row before.
    pub row: Vec<u64>,
    /// The time of the last change of the rules' state before, and the state; empty without one.
    pub state: Vec<i64>,
    /// The newest point of each metric before, in the layout of the current version.
    pub latest: Vec<u64>,
}

/// When the UTC day of a time begins.
fn day_of(time: i64) -> i64 {
    time - time.rem_euclid(Window::Day.size().0)
}

impl Anchor {
    /// The segment that the rows of the day follow. Its base stands at the end of the day before:
    /// the windows of that day are not here.
    pub fn segment(&self) -> Segment {
        let mut segment = Segment::new(Arc::clone(&self.era));
        let (layout, mut row) = (&self.era.plan.rows, self.row.clone());
        layout.set_time(&mut row, self.day - 1);
        segment.series.push(layout, &row);
        segment.series.base = true;
        if let [time, state @ ..] = &self.state[..] {
            segment.log.push(*time, state);
        }
        segment
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        let words = self.row.capacity() + self.state.capacity() + self.latest.capacity();
        size_of::<Self>() + words * 8
    }
}

impl Asset {
    /// Leaves anchors for the days that begin among the rows that are about to be forgotten, up to
    /// and with row `base` of the current series.
    pub fn anchor(&mut self, era: &Arc<Era>, series: &Series, base: usize) {
        let layout = &era.plan.rows;
        let first = match self.past.first() {
            Some(first) => first.series.time(&first.era.plan.rows, 0),
            None => series.time(layout, 0),
        };
        if day_of(first) == day_of(series.time(layout, base)) {
            return;
        }
        let mut latest = self.base_latest.clone();
        let mut before: Option<(&Arc<Era>, &[u64], &StateLog)> = None;
        let mut anchors = Vec::new();
        let past = self.past.iter().map(|s| (&s.era, &s.series, &s.log, s.series.len()));
        for (of, rows, log, end) in past.chain([(era, series, &self.log, base + 1)]) {
            // What an era begins with is of its border; the days before are of the one before.
            let begin = if before.is_some() { rows.first() } else { 0 };
            for i in begin..end {
                let row = rows.row(&of.plan.rows, i);
                let day = day_of(of.plan.rows.time(row));
                if let Some((of, row, log)) = before
                    && day_of(of.plan.rows.time(row)) < day
                    && self.anchors.last().is_none_or(|last| last.day < day)
                {
                    let entry = log.entry_before(&of.states, day);
                    let state = entry.map(|(time, state)| [&[time], state].concat());
                    anchors.push(Anchor {
                        day,
                        era: Arc::clone(of),
                        row: row.to_vec(),
                        state: state.unwrap_or_default(),
                        latest: latest.clone(),
                    });
                }
                if i >= rows.first() {
                    slots(of.plan.rows.fresh(row), |slot| {
                        if let Some(here) = era.continues(of, slot) {
                            take(&mut latest, here, (&of.plan, row, slot));
                        }
                    });
                }
                before = Some((of, row, log));
            }
        }
        self.anchors.extend(anchors);
        if self.anchors.len() > ANCHORS_MAX {
            let mut at = 0;
            self.anchors.retain(|_| {
                at += 1;
                at > ANCHORS_MAX / 2 || at % 2 == 0
            });
        }
    }

    /// The last anchor from which the rows at a time can be reached.
    pub fn anchor_before(&self, time: i64) -> Option<&Anchor> {
        self.anchors.iter().rfind(|anchor| anchor.day <= time)
    }

    /// From when on rows are needed to apply a point of this time; `None` when they cannot be
    /// looked at again.
    pub fn reach(&self, time: i64) -> Option<i64> {
        let from = self.anchor_before(time).map_or(NEVER, |anchor| anchor.day);
        (from >= self.sealed).then_some(from)
    }
}
