//! Messages of events: `{{asset}}`, `{{metrics.NAME}}` and `{{metrics.NAME|digits}}`.

use super::plan::Plan;
use crate::model::Value;
use std::fmt::Write;

/// Fills a template from a row. A metric without a value gives `?`; what is no placeholder stays.
pub fn render(template: &str, plan: &Plan, asset: &str, row: &[u64]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((place, after)) = after.split_once("}}") else { break };
        text.push_str(before);
        fill(&mut text, place.trim(), plan, asset, row);
        rest = after;
    }
    text.push_str(rest);
    text
}

fn fill(text: &mut String, place: &str, plan: &Plan, asset: &str, row: &[u64]) {
    if place == "asset" || place == "asset.name" {
        text.push_str(asset);
        return;
    }
    let (name, digits) = match place.split_once('|') {
        Some((name, digits)) => (name.trim(), digits.trim().parse::<usize>().ok()),
        None => (place, None),
    };
    let name = name.strip_prefix("metrics.").unwrap_or(name).trim_matches('`');
    let Some(slot) = plan.layout.position(name) else {
        let _ = write!(text, "{{{{{place}}}}}");
        return;
    };
    let value =
        plan.rows.usable(row, slot).map(|word| plan.layout.slots[slot].data_type.value(word));
    // Writing to a string cannot fail.
    let _ = match (value, digits) {
        (None, _) => write!(text, "?"),
        (Some(Value::Double(x)), Some(digits)) => write!(text, "{x:.digits$}"),
        (Some(Value::Double(x)), None) => write!(text, "{x}"),
        (Some(Value::Integer(x)), _) => write!(text, "{x}"),
        (Some(Value::Bool(x)), _) => write!(text, "{x}"),
        (Some(Value::String(x)), _) => write!(text, "{x}"),
    };
}
