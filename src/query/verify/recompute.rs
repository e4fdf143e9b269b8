//! From the series of one asset to its rows in every view.

use super::cell::{As, Cell, Row, Shape, contributions};
use super::rules::{Input, Rules};
use super::series::{Series, number};
use super::{event, level};
use crate::health::{self, Algorithm};
use crate::model::{Value, Window};
use std::collections::BTreeMap;

use As::{Bool, Contributions, Int, Number, Status, Text, Time};

/// Views that are made asset by asset, with what is compared of them.
pub(super) const SHAPES: [(&str, Shape); 10] = [
    ("asset_metrics", METRICS),
    ("asset_health", HEALTH),
    ("threshold_states", THRESHOLDS),
    ("rollups_1m", ROLLUPS),
    ("rollups_5m", ROLLUPS),
    ("rollups_1h", ROLLUPS),
    ("rollups_1d", ROLLUPS),
    ("events", EVENTS),
    ("threshold_occurrences", OCCURRENCES),
    ("errors", ERRORS),
];

const METRICS: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("metric", Text),
        ("event_time", Time),
        ("value", Number),
        ("text", Text),
        ("quality", Text),
    ],
    key: 2,
};
const HEALTH: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("event_time", Time),
        ("score", Number),
        ("band", Text),
        ("contributions", Contributions),
    ],
    key: 1,
};
const THRESHOLDS: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("rule", Text),
        ("level", Text),
        ("since", Time),
        ("transitions", Int),
    ],
    key: 2,
};
const ROLLUPS: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("metric", Text),
        ("window_start", Time),
        ("count", Int),
        ("sum", Number),
        ("min", Number),
        ("max", Number),
        ("mean", Number),
        ("first", Number),
        ("last", Number),
        ("status", Status),
    ],
    key: 3,
};
const EVENTS: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("rule", Text),
        ("event_time", Time),
        ("event_type", Text),
        ("severity", Text),
        ("message", Text),
        ("suppressed", Bool),
    ],
    key: 3,
};
const OCCURRENCES: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("rule", Text),
        ("level", Text),
        ("since", Time),
        ("raised", Time),
        ("condition_end", Time),
        ("cleared", Time),
    ],
    key: 4,
};
const ERRORS: Shape = Shape {
    columns: &[("asset", Text), ("source", Text), ("event_time", Time), ("message", Text)],
    key: 3,
};

const LEVELS: [&str; 3] = ["normal", "warning", "critical"];

/// The rows of one asset, one list for each of [`SHAPES`].
pub(super) fn recompute(rules: &Rules, asset: &str, mut series: Series) -> Vec<Vec<Row>> {
    if series.times.is_empty() {
        return vec![Vec::new(); SHAPES.len()];
    }
    let (states, occurrences) = thresholds(rules, asset, &mut series);
    let events = events(rules, asset, &mut series);
    let health = health(rules, asset, &mut series);
    let mut views = vec![metrics(rules, asset, &series), health, states];
    for window in Window::ALL {
        views.push(rollups(rules, asset, &series, window));
    }
    views.extend([events, occurrences, errors(asset, &series)]);
    views
}

fn metrics(rules: &Rules, asset: &str, series: &Series) -> Vec<Row> {
    let mut rows = Vec::new();
    for (slot, metric) in rules.layout.slots.iter().enumerate() {
        let newest = (0..series.times.len()).rev().find(|row| series.own[slot][*row].is_some());
        let Some(row) = newest else { continue };
        let Some(point) = &series.own[slot][row] else { continue };
        rows.push(vec![
            Cell::text(asset),
            Cell::text(&metric.name),
            Cell::Time(series.times[row]),
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

fn rollups(rules: &Rules, asset: &str, series: &Series, window: Window) -> Vec<Row> {
    if !rules.document.windows().contains(&window) {
        return Vec::new();
    }
    let size = window.size().0;
    let newest = series.times.last().copied().unwrap_or(i64::MIN);
    let watermark = newest.saturating_sub(rules.document.time.out_of_order.0);
    let mut rows = Vec::new();
    for (slot, metric) in rules.layout.slots.iter().enumerate() {
        if !metric.data_type.is_number() {
            continue;
        }
        let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (row, point) in series.own[slot].iter().enumerate() {
            let Some(point) = point.as_ref().filter(|point| !point.quality.is_bad()) else {
                continue;
            };
            let time = series.times[row];
            let start = time - time.rem_euclid(size);
            windows.entry(start).or_default().extend(number(&point.value));
        }
        for (start, values) in windows {
            let sum = values.iter().fold(0.0, |sum, x| sum + x);
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let settled = start + size <= watermark;
            rows.push(vec![
                Cell::text(asset),
                Cell::text(&metric.name),
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

fn thresholds(rules: &Rules, asset: &str, series: &mut Series) -> (Vec<Row>, Vec<Row>) {
    let (mut states, mut occurrences) = (Vec::new(), Vec::new());
    for (rule, input) in rules.document.threshold_rules.iter().zip(&rules.thresholds) {
        let values = series.look(input);
        let slot = match input {
            Input::Metric(slot) => Some(&rules.layout.slots[*slot]),
            Input::Expression(..) => None,
        };
        let outcome = level::follow(&rule.levels, slot, &series.times, &values);
        if let Some((level, since, transitions)) = outcome.state {
            states.push(vec![
                Cell::text(asset),
                Cell::text(&rule.id),
                Cell::text(LEVELS[level]),
                Cell::Time(since),
                Cell::Int(transitions),
            ]);
        }
        for stay in outcome.stays {
            occurrences.push(vec![
                Cell::text(asset),
                Cell::text(&rule.id),
                Cell::text(LEVELS[stay.level]),
                Cell::Time(stay.since),
                Cell::Time(stay.raised),
                Cell::time(stay.condition_end),
                Cell::time(stay.cleared),
            ]);
        }
    }
    (states, occurrences)
}

fn events(rules: &Rules, asset: &str, series: &mut Series) -> Vec<Row> {
    let mut rows = Vec::new();
    for (rule, condition) in rules.document.event_rules.iter().zip(&rules.events) {
        let conditions = series.evaluate(&rule.id, condition);
        for fired in event::follow(rule, &series.times, &conditions) {
            let severity = format!("{:?}", rule.severity).to_lowercase();
            rows.push(vec![
                Cell::text(asset),
                Cell::text(&rule.id),
                Cell::Time(fired.at),
                Cell::text(&rule.event_type),
                Cell::Text(severity),
                Cell::Text(event::message(rule, &rules.layout, asset, series, fired.row)),
                Cell::Bool(fired.suppressed),
            ]);
        }
    }
    rows
}

/// The health at the newest row. A condition with a hold counts while its last true row is not
/// longer ago than the hold.
fn health(rules: &Rules, asset: &str, series: &mut Series) -> Vec<Row> {
    let Some(algorithm) = &rules.document.health_algorithm else { return Vec::new() };
    let newest = series.times.len() - 1;
    let now = series.times[newest];
    let parts = algorithm.parts();
    let mut inputs = Vec::with_capacity(parts.len());
    for (part, reads) in parts.iter().zip(&rules.health) {
        let values = series.look(&reads.input);
        let guarded = reads.guard.as_ref().is_some_and(|guard| {
            series.evaluate(part.id, guard)[newest] != Some(Value::Bool(true))
        });
        let mut input = values[newest].as_ref().filter(|_| !guarded).and_then(number);
        if let Some(hold) = part.hold {
            let is_true = |row: &usize| {
                values[*row].as_ref().is_some_and(|value| number(value).is_none_or(|x| x != 0.0))
            };
            let last = (0..series.times.len()).rev().find(is_true);
            if last.is_some_and(|row| now <= series.times[row].saturating_add(hold.0)) {
                input = Some(1.0);
            }
        }
        inputs.push(input);
    }
    let mut points = vec![0.0; parts.len()];
    let score = health::score(algorithm, &inputs, &mut points);
    let bands = algorithm.bands();
    let band = score.and_then(|score| health::band(&bands, score));
    let deducts = matches!(algorithm, Algorithm::WeightedDeductions(_));
    let took_part = |(_, points): &(&str, f64)| points.is_finite() && !(deducts && *points == 0.0);
    let named = parts.iter().map(|part| part.id).zip(points).filter(took_part);
    vec![vec![
        Cell::text(asset),
        Cell::Time(now),
        score.map_or(Cell::Null, Cell::number),
        band.map_or(Cell::Null, |band| Cell::text(&band.name)),
        contributions(named),
    ]]
}

fn errors(asset: &str, series: &Series) -> Vec<Row> {
    let mut rows = Vec::new();
    for (source, row, message) in &series.errors {
        rows.push(vec![
            Cell::text(asset),
            Cell::text(source),
            Cell::Time(series.times[*row]),
            Cell::text(message),
        ]);
    }
    rows
}
