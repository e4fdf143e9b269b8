//! Rules over all rows of an asset, whichever version they fall under.

use super::base::Base;
use super::cell::{Cell, Row};
use super::event::{self, Fired};
use super::level::{self, Stay, Watch};
use super::message::message;
use super::rules::{Input, Rules};
use super::segment::{Segment, row_at};
use crate::catalog::asset_type::RuleKind;
use std::collections::HashMap;

const LEVELS: [&str; 3] = ["normal", "warning", "critical"];

/// The rows of `threshold_states` and `threshold_occurrences`: each rule followed from segment to
/// segment, and then as far as time has passed. And where the rules stand then.
pub(super) fn thresholds<'a>(
    asset: &str,
    segments: &mut [Segment<'a>],
    until: i64,
    base: Option<&'a Base>,
) -> (Vec<Row>, Vec<Row>, HashMap<(&'a str, RuleKind), level::State>) {
    let (mut states, mut occurrences) = (Vec::new(), Vec::new());
    let levels = base.iter().flat_map(|base| &base.levels);
    let mut carried: HashMap<(&str, RuleKind), level::State> =
        levels.map(|(rule, kind, state)| ((rule.as_str(), *kind), state.clone())).collect();
    for place in 0..segments.len() {
        let end = end(segments, place, until);
        let is_last = place + 1 == segments.len();
        let Segment { rules, series, seen, .. } = &mut segments[place];
        let mut before = std::mem::take(&mut carried);
        for (rule, input) in rules.document.threshold_rules.iter().zip(&rules.thresholds) {
            let slot = match input {
                Input::Metric(slot) => Some(&rules.layout.slots[*slot]),
                Input::Expression(..) => None,
            };
            let watch = Watch::new(rule.kind, &rule.levels, slot);
            let values = match (rule.kind, input) {
                (RuleKind::Absence, Input::Metric(slot)) => series.own_usable(*slot),
                _ => series.look(input),
            };
            let name = (rule.id.as_str(), rule.kind);
            let state = before.remove(&name).unwrap_or_default();
            let (state, ended) = watch.follow(state, &series.times[*seen..], &values[*seen..], end);
            let mut stays = ended;
            if is_last {
                stays.extend(watch.open(&state));
                states.extend(threshold(asset, &rule.id, &state));
            }
            occurrences.extend(stays.iter().map(|stay| occurrence(asset, &rule.id, stay)));
            carried.insert(name, state);
        }
    }
    (states, occurrences, carried)
}

fn threshold(asset: &str, rule: &str, state: &level::State) -> Option<Row> {
    let (level, since, transitions) = state.shown()?;
    Some(vec![
        Cell::text(asset),
        Cell::text(rule),
        Cell::text(LEVELS[level]),
        Cell::Time(since),
        Cell::Int(transitions),
    ])
}

fn occurrence(asset: &str, rule: &str, stay: &Stay) -> Row {
    vec![
        Cell::text(asset),
        Cell::text(rule),
        Cell::text(LEVELS[stay.level]),
        Cell::Time(stay.since),
        Cell::Time(stay.raised),
        Cell::time(stay.condition_end),
        Cell::time(stay.cleared),
    ]
}

/// The rows of `events`: each rule followed from segment to segment, and then as far as time has
/// passed. And where the rules stand then.
pub(super) fn events<'a>(
    asset: &str,
    segments: &mut [Segment<'a>],
    until: i64,
    base: Option<&'a Base>,
) -> (Vec<Row>, HashMap<&'a str, event::State>) {
    let mut all: Vec<(&Rules, usize, Fired)> = Vec::new();
    let rules = base.iter().flat_map(|base| &base.events);
    let mut carried: HashMap<&str, event::State> =
        rules.map(|(rule, state)| (rule.as_str(), *state)).collect();
    for place in 0..segments.len() {
        let end = end(segments, place, until);
        let Segment { rules, series, seen, .. } = &mut segments[place];
        let rules: &'a Rules = rules;
        let mut before = std::mem::take(&mut carried);
        for (i, rule) in rules.document.event_rules.iter().enumerate() {
            let conditions = series.evaluate(&rule.id, &rules.events[i]);
            let state = before.remove(rule.id.as_str()).unwrap_or_default();
            let (state, fired) =
                event::follow(rule, state, &series.times[*seen..], &conditions[*seen..], end);
            all.extend(fired.into_iter().map(|fired| (rules, i, fired)));
            carried.insert(&rule.id, state);
        }
    }
    let mut rows = Vec::new();
    for (rules, i, fired) in all {
        let rule = &rules.document.event_rules[i];
        let Some((place, row)) = row_at(segments, fired.as_of) else { continue };
        let message = message((rules, rule), asset, (&segments[place], row));
        rows.push(vec![
            Cell::text(asset),
            Cell::text(&rule.id),
            Cell::Time(fired.at),
            Cell::text(&rule.event_type),
            Cell::Text(format!("{:?}", rule.severity).to_lowercase()),
            Cell::Text(message),
            Cell::Bool(fired.suppressed),
        ]);
    }
    (rows, carried)
}

/// Up to when the rules of a segment go on behind its last row: to just before the next one, or
/// as far as time has passed.
fn end(segments: &[Segment<'_>], place: usize, until: i64) -> i64 {
    segments.get(place + 1).map_or(until, |next| next.series.times[0] - 1)
}
