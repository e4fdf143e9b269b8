//! From the points of one asset to its rows in every view.

use super::base::Base;
use super::cell::{Cell, Row};
use super::follow::{events, thresholds};
use super::history::History;
use super::points::Accepted;
use super::rules::Rules;
use super::score::{Holds, health};
use super::segment::{Segment, segments};
use super::series::{Point, number};
use super::shapes::SHAPES;
use crate::catalog::Slot;
use crate::model::{Value, Window};
use std::collections::BTreeMap;

/// The rows of one asset, one list for each of [`SHAPES`]. `clock` is how far time has passed,
/// with rows or without. With a base the points are those behind it, and rows that came of points
/// before it are not there or not whole: see [`Base::is_of_before`].
pub(super) fn recompute(
    history: &History,
    asset: &str,
    points: Vec<Accepted>,
    clock: i64,
    base: Option<&Base>,
) -> Vec<Vec<Row>> {
    let mut segments = segments(history, points, base, i64::MAX);
    if segments.is_empty() {
        return vec![Vec::new(); SHAPES.len()];
    }
    let until = clock.saturating_sub(history.current().document.time.out_of_order.0);
    let (states, occurrences, _) = thresholds(asset, &mut segments, until, base);
    let (events, _) = events(asset, &mut segments, until, base);
    let (newest_health, _) = scores(asset, &mut segments, base);
    let mut views = vec![metrics(history, asset, &segments, base), newest_health, states];
    for window in Window::ALL {
        views.push(rollups(history, asset, &segments, (window, base)));
    }
    views.extend([events, occurrences, errors(asset, &segments)]);
    views
}

/// The health of the last segment, which is that of the asset.
pub(super) fn scores(
    asset: &str,
    segments: &mut [Segment<'_>],
    base: Option<&Base>,
) -> (Vec<Row>, Holds) {
    let mut newest = (Vec::new(), Holds::new());
    for Segment { rules, series, seen, .. } in segments {
        let before = base.filter(|_| *seen > 0).map(|base| &base.holds);
        newest = health(rules, asset, series, before.unwrap_or(&Holds::new()));
    }
    newest
}

/// The segments in which the metric of a slot of a version has its history: those of the versions
/// that have had it as the same type ever since, each with its slot there.
fn with_metric<'s, 'a>(
    history: &History,
    (version, slot): (usize, usize),
    segments: &'s [Segment<'a>],
) -> Vec<(&'s Segment<'a>, usize)> {
    let metric = &history.version(version).rules.layout.slots[slot];
    let place = |rules: &Rules| rules.slot(&metric.name, metric.data_type);
    let since = history.since(version, |rules| place(rules).is_some());
    let of_run = segments.iter().filter(|segment| segment.version >= since);
    of_run.filter_map(|segment| Some((segment, place(segment.rules)?))).collect()
}

/// The newest point of each metric of a version, and its time.
pub(super) fn newest(
    history: &History,
    version: usize,
    segments: &[Segment<'_>],
    base: Option<&Base>,
) -> Vec<Option<(i64, Point)>> {
    let slots = &history.version(version).rules.layout.slots;
    let of_slot = |(slot, metric): (usize, &Slot)| {
        let mut newest: Option<(i64, Point)> = None;
        for (segment, slot) in with_metric(history, (version, slot), segments) {
            if let Some(base) = base.filter(|_| segment.seen > 0) {
                newest = base.newest.get(&metric.name).cloned();
            }
            let points = segment.series.times.iter().zip(&segment.series.own[slot]);
            let last = points.rev().find_map(|(time, point)| Some((*time, point.clone()?)));
            newest = last.or(newest);
        }
        newest
    };
    slots.iter().enumerate().map(of_slot).collect()
}

fn metrics(
    history: &History,
    asset: &str,
    segments: &[Segment<'_>],
    base: Option<&Base>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let newest = newest(history, history.last(), segments, base);
    for (metric, newest) in history.current().layout.slots.iter().zip(newest) {
        let Some((time, point)) = newest else { continue };
        rows.push(vec![
            Cell::text(asset),
            Cell::text(&metric.name),
            Cell::Time(time),
            number(&point.value).map_or(Cell::Null, Cell::number),
            match &point.value {
                Value::String(text) => Cell::text(text),
                Value::Bool(value) => Cell::Text(value.to_string()),
                Value::Double(_) | Value::Integer(_) => Cell::Null,
            },
            Cell::Text(point.quality.to_string()),
        ]);
    }
    rows
}

fn rollups(
    history: &History,
    asset: &str,
    segments: &[Segment<'_>],
    (window, base): (Window, Option<&Base>),
) -> Vec<Row> {
    let current = history.current();
    // Versions that did not have the window have nothing in it; all, when the current one has not.
    let since = history.since(history.last(), |rules| rules.document.windows().contains(&window));
    let size = window.size().0;
    // The border of a version is no news from the asset.
    let newest = segments.iter().rev().find_map(|segment| segment.series.heard());
    let newest = newest.or_else(|| base?.heard).unwrap_or(i64::MIN);
    let watermark = newest.saturating_sub(current.document.time.out_of_order.0);
    let mut rows = Vec::new();
    for slot in current.layout.numeric() {
        let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (segment, slot) in with_metric(history, (history.last(), slot), segments) {
            if segment.version < since {
                continue;
            }
            for (time, point) in segment.series.times.iter().zip(&segment.series.own[slot]) {
                let Some(point) = point.as_ref().filter(|point| !point.quality.is_bad()) else {
                    continue;
                };
                let start = time - time.rem_euclid(size);
                windows.entry(start).or_default().extend(number(&point.value));
            }
        }
        for (start, values) in windows {
            let sum = values.iter().fold(0.0, |sum, x| sum + x);
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let settled = start + size <= watermark;
            rows.push(vec![
                Cell::text(asset),
                Cell::text(&current.layout.slots[slot].name),
                Cell::Time(start),
                Cell::Int(values.len() as i64),
                Cell::number(sum),
                Cell::number(least),
                Cell::number(most),
                Cell::number(sum / values.len() as f64),
                Cell::number(values[0]),
                Cell::number(values[values.len() - 1]),
                Cell::text(if settled { "settled" } else { "provisional" }),
            ]);
        }
    }
    rows
}

fn errors(asset: &str, segments: &[Segment<'_>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for series in segments.iter().map(|segment| &segment.series) {
        for (source, row, message) in &series.errors {
            rows.push(vec![
                Cell::text(asset),
                Cell::text(source),
                Cell::Time(series.times[*row]),
                Cell::text(message),
            ]);
        }
    }
    rows
}
