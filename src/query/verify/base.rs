//! What is noted of an asset when old telemetry is removed, so that the rest can be recomputed exactly:
//! what its metrics held, and where its rules stood, behind the last row before a time.
//!
//! It is made by the same road by which views are recomputed, of the points that are about to go and
//! of what was noted before: nothing of the engine is asked.

use super::cell::{Cell, Row};
use super::event;
use super::follow::{events, thresholds};
use super::history::History;
use super::level;
use super::points::Accepted;
use super::recompute::{newest, scores};
use super::rules::Rules;
use super::score::Holds;
use super::segment::segments;
use super::series::Point;
use crate::catalog::asset_type::RuleKind;
use crate::model::{Epoch, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is noted of all assets of which telemetry was removed, or might have been.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bases {
    /// The event time from which on their points are read.
    pub before: Timestamp,
    /// The epoch at which it was noted.
    pub epoch: Epoch,
    /// By asset; `None` where it could not be recomputed.
    pub assets: BTreeMap<String, Option<Base>>,
}

/// An asset behind its last row before a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Base {
    /// That time.
    pub before: i64,
    /// The place of the row's version.
    pub version: usize,
    /// The time of the row.
    pub last: i64,
    /// The time of the newest row with points.
    pub heard: Option<i64>,
    /// What the metrics of the version held.
    pub held: BTreeMap<String, Point>,
    /// Their newest points.
    pub newest: BTreeMap<String, (i64, Point)>,
    pub levels: Vec<(String, RuleKind, level::State)>,
    pub events: Vec<(String, event::State)>,
    pub holds: Holds,
}

impl Base {
    /// That of an asset with these points before a time, behind another base or none. `None` for an
    /// asset without points.
    pub(super) fn of(
        history: &History,
        points: Vec<Accepted>,
        before: i64,
        base: Option<&Self>,
    ) -> Option<Self> {
        let mut segments = segments(history, points, base, before);
        let last = *segments.last()?.series.times.last()?;
        // What falls due behind the last row is for whoever goes on from here.
        let (_, _, levels) = thresholds("", &mut segments, last, base);
        let (_, events) = events("", &mut segments, last, base);
        let (_, holds) = scores("", &mut segments, base);
        let end = segments.last()?;
        let (version, slots) = (end.version, &end.rules.layout.slots);
        let newest = newest(history, version, &segments, base);
        let heard = segments.iter().rev().find_map(|segment| segment.series.heard());
        let row = end.series.times.len() - 1;
        let held = slots.iter().zip(&end.series.as_of);
        let held = held.filter_map(|(slot, as_of)| Some((slot.name.clone(), as_of[row].clone()?)));
        let newest = slots
            .iter()
            .zip(newest)
            .filter_map(|(slot, newest)| newest.map(|newest| (slot.name.clone(), newest)));
        let levels = levels.into_iter().map(|((rule, kind), state)| (rule.to_owned(), kind, state));
        let events = events.into_iter().map(|(rule, state)| (rule.to_owned(), state));
        Some(Self {
            before,
            version,
            last,
            heard: heard.or_else(|| base?.heard),
            held: held.collect(),
            newest: newest.collect(),
            levels: levels.collect(),
            events: events.collect(),
            holds,
        })
    }

    /// What the metrics of its version hold.
    pub(super) fn held_by(&self, rules: &Rules) -> Vec<Option<Point>> {
        rules.layout.slots.iter().map(|slot| self.held.get(&slot.name).cloned()).collect()
    }

    /// Whether a row of a view came of points before the base, so that it cannot be recomputed.
    pub(super) fn is_of_before(&self, view: &str, row: &Row) -> bool {
        let is = |cell: &Cell, most: i64| matches!(cell, Cell::Time(time) if *time <= most);
        match view {
            "events" | "errors" => is(&row[2], self.last),
            "threshold_occurrences" => is(&row[6], self.last),
            view if view.starts_with("rollups_") => is(&row[2], self.before.saturating_sub(1)),
            _ => false,
        }
    }
}
