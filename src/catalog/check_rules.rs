//! What must hold inside threshold rules, event rules and the document's own tests.

use super::asset_type::{
    Comparison, Deadband, Edge, Level, Literal, Mapping, RuleKind, Test, ThresholdRule,
};
use super::check::Check;
use super::yaml::{element, member};
use crate::expr::{self, Source, Want};
use crate::model::{DataType, Duration};

/// Checks the threshold rules.
pub(super) fn thresholds(check: &mut Check<'_>) {
    let rules = &check.document.threshold_rules;
    check.ids("threshold_rules", "id", rules.iter().map(|rule| rule.id.as_str()));
    for (i, rule) in rules.iter().enumerate() {
        let path = element("threshold_rules", i);
        let levels: Vec<(&str, &Level)> = [
            ("warning", rule.levels.warning.as_ref()),
            ("critical", rule.levels.critical.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, level)| Some((name, level?)))
        .collect();
        if levels.is_empty() {
            check.problem(&member(&path, "levels"), "a level is needed: warning or critical");
        }
        match rule.kind {
            RuleKind::Value => threshold(check, &path, rule, &levels),
            RuleKind::Absence => absence(check, &path, rule, &levels),
        }
    }
}

/// A rule that watches for silence.
fn absence(check: &mut Check<'_>, path: &str, rule: &ThresholdRule, levels: &[(&str, &Level)]) {
    let (Some(metric), None, None) = (&rule.metric, &rule.expr, &rule.sql) else {
        check.problem(path, "an absence is that of a 'metric': leave out 'expr' and 'sql'");
        return;
    };
    let at = member(path, "metric");
    if check.metric(&at, metric).is_none() {
        return;
    }
    if !check.document.metric_definitions.contains_key(metric) {
        let message = format!("'{metric}' is derived: only measured metrics can be absent");
        check.problem(&at, &message);
    }
    for (name, level) in levels {
        let path = member(&member(path, "levels"), name);
        if level.op.is_some() || level.value.is_some() || level.deadband.is_some() {
            check.problem(
                &path,
                "an absence compares nothing: leave out 'op', 'value' and 'deadband'",
            );
        }
        if level.on_delay.0 == 0 {
            check.problem(&path, "an absence needs 'on_delay': after how long a silence it begins");
        }
        if level.off_delay.0 != 0 {
            check.problem(&path, "a point ends an absence at once: leave out 'off_delay'");
        }
    }
}

fn threshold(check: &mut Check<'_>, path: &str, rule: &ThresholdRule, levels: &[(&str, &Level)]) {
    let (key, source) = match (&rule.metric, &rule.expr, &rule.sql) {
        (Some(metric), None, None) => {
            let at = member(path, "metric");
            let Some(data_type) = check.metric(&at, metric) else { return };
            let place = check.layout.position(metric).unwrap_or_default();
            let range = check.layout.slots[place].range;
            for (name, level) in levels {
                let path = member(&member(path, "levels"), name);
                of_value(check, &path, level, Some(data_type), range.is_some());
            }
            return;
        }
        (None, Some(expr), None) => ("expr", Source::Jsonata(expr)),
        (None, None, Some(sql)) => ("sql", Source::Sql(sql)),
        _ => {
            check.problem(path, "exactly one of 'metric', 'expr' and 'sql' is needed");
            return;
        }
    };
    // What is wrong with the expression itself is told once, at its key.
    let condition = expr::compile(source, &check.scope, Want::Condition);
    let value = [DataType::Double, DataType::String]
        .into_iter()
        .find(|data_type| expr::compile(source, &check.scope, Want::Value(*data_type)).is_ok());
    let is_condition = condition.is_ok();
    if !is_condition && value.is_none() {
        check.compile(&member(path, key), source, Want::Number(DataType::Double));
        return;
    }
    for (name, level) in levels {
        let path = member(&member(path, "levels"), name);
        if level.op.is_none() && level.value.is_none() && level.deadband.is_none() {
            if !is_condition {
                let message =
                    "the level has no 'op' and 'value', and the expression is no condition";
                check.problem(&path, message);
            }
            continue;
        }
        let data_type = if is_condition { Some(DataType::Bool) } else { value };
        of_value(check, &path, level, data_type, false);
    }
}

/// A level that compares a value.
fn of_value(
    check: &mut Check<'_>,
    path: &str,
    level: &Level,
    data_type: Option<DataType>,
    has_range: bool,
) {
    let (op, limit) = match (level.op, &level.value) {
        (Some(op), Some(limit)) => (op, limit),
        (None, Some(_)) => {
            check.problem(path, "'value' needs 'op'");
            return;
        }
        (Some(_), None) => {
            check.problem(path, "'op' needs 'value'");
            return;
        }
        (None, None) => {
            check.problem(path, "'op' and 'value' are needed");
            return;
        }
    };
    let value = member(path, "value");
    match (data_type, limit) {
        (Some(DataType::Double | DataType::Integer), Literal::Number(_))
        | (Some(DataType::Bool), Literal::Bool(_))
        | (Some(DataType::String), Literal::Text(_)) => {}
        (Some(data_type), found) => {
            let found = match found {
                Literal::Bool(found) => format!("the bool {found}"),
                Literal::Number(found) => format!("the number {found}"),
                Literal::Text(found) => format!("the text '{found}'"),
            };
            check.problem(&value, format!("a {data_type} is compared with {found}"));
        }
        (None, _) => {}
    }
    let ordering = !matches!(op, Comparison::Eq | Comparison::Ne);
    if ordering && data_type.is_some_and(|data_type| !data_type.is_number()) {
        let message = "only numbers have an order: use eq or ne";
        check.problem(&member(path, "op"), message);
    }
    if let Some(deadband) = &level.deadband {
        let path = member(path, "deadband");
        if !ordering {
            check.problem(&path, "a deadband needs an order: gt, ge, lt or le");
        } else {
            width(check, &path, deadband, has_range);
        }
    }
}

fn width(check: &mut Check<'_>, path: &str, deadband: &Deadband, has_range: bool) {
    let given = [
        ("abs", deadband.abs),
        ("pct_of_range", deadband.pct_of_range),
        ("pct_of_value", deadband.pct_of_value),
    ];
    let given: Vec<(&str, f64)> =
        given.into_iter().filter_map(|(key, width)| Some((key, width?))).collect();
    let [(key, width)] = given.as_slice() else {
        check.problem(path, "exactly one of 'abs', 'pct_of_range' and 'pct_of_value' is needed");
        return;
    };
    let path = member(path, key);
    if *width < 0.0 {
        check.problem(&path, "a deadband is not negative");
    }
    if *key == "pct_of_range" && !has_range {
        let message = "percent of a range that the metric does not have".to_owned();
        check.problem_with_hint(&path, message, Some("give the metric a range, or use 'abs'"));
    }
}

/// Checks the event rules.
pub(super) fn events(check: &mut Check<'_>) {
    let rules = &check.document.event_rules;
    check.ids("event_rules", "id", rules.iter().map(|rule| rule.id.as_str()));
    for (i, rule) in rules.iter().enumerate() {
        let path = element("event_rules", i);
        match (&rule.when, &rule.when_sql) {
            (Some(when), None) => {
                check.compile(&member(&path, "when"), Source::Jsonata(when), Want::Condition);
            }
            (None, Some(sql)) => {
                check.compile(&member(&path, "when_sql"), Source::Sql(sql), Want::Condition);
            }
            _ => check.problem(&path, "exactly one of 'when' and 'when_sql' is needed"),
        }
        if rule.hold_for > Duration(0) && rule.edge == Edge::Falling {
            check.problem(&member(&path, "for"), "'for' needs a rising edge");
        }
        if rule.event_type.trim().is_empty() {
            check.problem(&member(&path, "event_type"), "an event type is not empty");
        }
        if let Some(message) = &rule.message {
            template(check, &member(&path, "message"), message);
        }
    }
}

/// Checks the placeholders of a message.
fn template(check: &mut Check<'_>, path: &str, message: &str) {
    for part in message.split("{{").skip(1) {
        let Some((placeholder, _)) = part.split_once("}}") else {
            check.problem(path, "a '{{' without '}}'");
            return;
        };
        let (name, digits) = match placeholder.split_once('|') {
            Some((name, digits)) => (name.trim(), Some(digits.trim())),
            None => (placeholder.trim(), None),
        };
        if let Some(digits) = digits
            && !digits.parse::<u8>().is_ok_and(|digits| digits <= 17)
        {
            let message = format!("'{digits}' is no number of digits from 0 to 17");
            check.problem(path, message);
        }
        match name.strip_prefix("metrics.") {
            Some(metric) => {
                check.metric(path, metric);
            }
            None if name == "asset" => {}
            None => {
                let message = format!("not supported yet: {{{{{name}}}}} in a message");
                let hint = "known: {{asset}}, {{metrics.NAME}}, {{metrics.NAME|digits}}";
                check.problem_with_hint(path, message, Some(hint));
            }
        }
    }
}

/// Checks that the document's tests name what is there.
pub(super) fn tests(check: &mut Check<'_>) {
    for (i, test) in check.document.tests.iter().enumerate() {
        test_case(check, &element("tests", i), test);
    }
}

fn test_case(check: &mut Check<'_>, path: &str, test: &Test) {
    let document = check.document;
    let mappings = &document.transformation_engine.mappings;
    let mapped = |name: &str| mappings.iter().any(|mapping| mapping.target == name);
    let mut sources: Vec<&str> = mappings.iter().map(source).collect();
    let names = document.metric_definitions.keys().map(String::as_str);
    sources.extend(names.filter(|name| !mapped(name)));
    for (key, series) in [("series", &test.series), ("late", &test.late)] {
        for name in series.keys() {
            if !sources.contains(&name.as_str()) {
                let path = member(&member(path, key), name);
                check.unknown(&path, "source metric", name, sources.iter().copied());
            }
        }
    }
    for name in test.given.keys() {
        if !sources.contains(&name.as_str()) {
            let path = member(&member(path, "given"), name);
            check.unknown(&path, "source metric", name, sources.iter().copied());
        }
    }
    for name in test.expect.keys() {
        check.metric(&member(&member(path, "expect"), name), name);
    }
    if let Some(alarm) = &test.expect_alarm {
        let known: Vec<&str> = document.threshold_rules.iter().map(|r| r.id.as_str()).collect();
        let path = member(path, "expect_alarm");
        if !known.contains(&alarm.rule.as_str()) {
            let path = member(&path, "rule");
            check.unknown(&path, "threshold rule", &alarm.rule, known.into_iter());
        }
    }
    for (i, event) in test.expect_events.iter().flatten().enumerate() {
        let known: Vec<&str> = document.event_rules.iter().map(|r| r.id.as_str()).collect();
        if !known.contains(&event.rule.as_str()) {
            let path = member(&element(&member(path, "expect_events"), i), "rule");
            check.unknown(&path, "event rule", &event.rule, known.into_iter());
        }
    }
    if test.expect_health.is_some() && document.health_algorithm.is_none() {
        check.problem(&member(path, "expect_health"), "there is no health algorithm");
    }
}

fn source(mapping: &Mapping) -> &str {
    &mapping.source
}
