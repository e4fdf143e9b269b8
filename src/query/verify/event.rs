//! Event rules: edges of a condition along the rows.

use super::series::Series;
use crate::catalog::Layout;
use crate::catalog::asset_type::{Edge, EventRule};
use crate::model::Value;

/// An event that a rule fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fired {
    pub at: i64,
    /// The row that was looked at when it fired: the message is made of it.
    pub row: usize,
    pub suppressed: bool,
}

/// Follows one rule through the rows; a condition that is unknown counts as not true.
pub(super) fn follow(rule: &EventRule, times: &[i64], conditions: &[Option<Value>]) -> Vec<Fired> {
    let (hold_for, cooldown) = (rule.hold_for.0, rule.cooldown.0);
    let mut fired: Vec<Fired> = Vec::new();
    let (mut was, mut pending, mut told): (bool, Option<i64>, Option<i64>) = (false, None, None);
    for (row, t) in times.iter().copied().enumerate() {
        let is = matches!(conditions[row], Some(Value::Bool(true)));
        let mut fire = |at: i64| {
            let suppressed = told.is_some_and(|told: i64| at < told.saturating_add(cooldown));
            if !suppressed {
                told = Some(at);
            }
            fired.push(Fired { at, row, suppressed });
        };
        // What has held long enough fires at its own time, before this row is looked at.
        if let Some(since) = pending.filter(|since| since.saturating_add(hold_for) <= t) {
            fire(since + hold_for);
            pending = None;
        }
        match (rule.edge, was, is) {
            (Edge::Rising, false, true) if hold_for > 0 => pending = Some(t),
            (Edge::Rising, false, true) | (Edge::Falling, true, false) => fire(t),
            _ => {}
        }
        if !is {
            pending = None;
        }
        was = is;
    }
    fired
}

/// The message of an event: the template, filled from a row.
pub(super) fn message(
    rule: &EventRule,
    layout: &Layout,
    asset: &str,
    series: &Series,
    row: usize,
) -> String {
    let template = match &rule.message {
        Some(template) => template.clone(),
        None => format!("{{{{asset}}}}: {}", rule.event_type),
    };
    let mut text = String::new();
    let mut parts = template.split("{{");
    text.push_str(parts.next().unwrap_or_default());
    let mut broken = false;
    for part in parts {
        match part.split_once("}}").filter(|_| !broken) {
            Some((place, after)) => {
                text.push_str(&fill(place.trim(), layout, asset, series, row));
                text.push_str(after);
            }
            // Without an end the rest is text.
            None => {
                broken = true;
                text.push_str("{{");
                text.push_str(part);
            }
        }
    }
    text
}

fn fill(place: &str, layout: &Layout, asset: &str, series: &Series, row: usize) -> String {
    if place == "asset" || place == "asset.name" {
        return asset.into();
    }
    let (name, digits) = match place.split_once('|') {
        Some((name, digits)) => (name.trim(), digits.trim().parse::<usize>().ok()),
        None => (place, None),
    };
    let name = name.strip_prefix("metrics.").unwrap_or(name).trim_matches('`');
    let Some(slot) = layout.position(name) else { return format!("{{{{{place}}}}}") };
    match (series.usable(slot, row), digits) {
        (None, _) => "?".into(),
        (Some(Value::Double(x)), Some(digits)) => format!("{x:.digits$}"),
        (Some(Value::Double(x)), None) => x.to_string(),
        (Some(Value::Integer(x)), _) => x.to_string(),
        (Some(Value::Bool(x)), _) => x.to_string(),
        (Some(Value::String(x)), _) => x.to_string(),
    }
}
