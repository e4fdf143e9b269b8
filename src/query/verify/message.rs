//! Messages of events.

use super::rules::Rules;
use super::segment::Segment;
use crate::catalog::asset_type::EventRule;
use crate::model::Value;

/// The message of an event: the template of a rule, filled from a row.
///
/// The rule may be of a later version than the row: which names are metrics is for the rule's
/// version to say, what their values are for the row's.
pub(super) fn message(
    (rules, rule): (&Rules, &EventRule),
    asset: &str,
    (segment, row): (&Segment<'_>, usize),
) -> String {
    let template = match &rule.message {
        Some(template) => template.clone(),
        None => format!("{{{{asset}}}}: {}", rule.event_type),
    };
    let mut text = String::new();
    let mut rest = template.as_str();
    // Without an end the rest is text.
    while let Some((before, after)) = rest.split_once("{{")
        && let Some((place, after)) = after.split_once("}}")
    {
        text.push_str(before);
        match place.trim() {
            "asset" | "asset.name" => text.push_str(asset),
            place => text.push_str(&metric(rules, place, (segment, row))),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

fn metric(rules: &Rules, place: &str, (segment, row): (&Segment<'_>, usize)) -> String {
    let (name, digits) = match place.split_once('|') {
        Some((name, digits)) => (name.trim(), digits.trim().parse::<usize>().ok()),
        None => (place, None),
    };
    let name = name.strip_prefix("metrics.").unwrap_or(name).trim_matches('`');
    if rules.layout.position(name).is_none() {
        return format!("{{{{{place}}}}}");
    }
    let slot = segment.rules.layout.position(name);
    match (slot.and_then(|slot| segment.series.usable(slot, row)), digits) {
        (None, _) => "?".into(),
        (Some(Value::Double(x)), Some(digits)) => format!("{x:.digits$}"),
        (Some(Value::Double(x)), None) => x.to_string(),
        (Some(Value::Integer(x)), _) => x.to_string(),
        (Some(Value::Bool(x)), _) => x.to_string(),
        (Some(Value::String(x)), _) => x.to_string(),
    }
}
