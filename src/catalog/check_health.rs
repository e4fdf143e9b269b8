//! What must hold inside a health algorithm.

use super::check::Check;
use super::yaml::{element, member};
use crate::expr::{Source, Want};
use crate::health::{Algorithm, Band, Deduction, Deductions, ScorePart, Scores};
use crate::model::DataType;

const ROOT: &str = "health_algorithm";

/// Checks the health algorithm, if there is one.
pub(super) fn health(check: &mut Check<'_>) {
    match &check.document.health_algorithm {
        None => {}
        Some(Algorithm::WeightedDeductions(deductions)) => of_deductions(check, deductions),
        Some(Algorithm::ScoreBased(scores)) => of_scores(check, scores),
    }
}

fn of_deductions(check: &mut Check<'_>, deductions: &Deductions) {
    if !(0.0..=100.0).contains(&deductions.start) {
        check.problem(&member(ROOT, "start"), "a score is from 0 to 100");
    }
    if !(0.0..=deductions.start).contains(&deductions.floor) {
        check.problem(&member(ROOT, "floor"), "the floor is from 0 to the start");
    }
    let rules = member(ROOT, "rules");
    if deductions.rules.is_empty() {
        check.problem(&rules, "there is no rule");
    }
    check.ids(&rules, "id", deductions.rules.iter().map(|rule| rule.id.as_str()));
    for (i, rule) in deductions.rules.iter().enumerate() {
        deduction(check, &element(&rules, i), rule);
    }
    for (group, cap) in &deductions.group_caps {
        let path = member(&member(ROOT, "group_caps"), group);
        if !deductions.rules.iter().any(|rule| rule.group.as_ref() == Some(group)) {
            let groups = deductions.rules.iter().filter_map(|rule| rule.group.as_deref());
            let groups: Vec<&str> = groups.collect();
            check.unknown(&path, "group", group, groups.into_iter());
        }
        if *cap < 0.0 {
            check.problem(&path, "a cap is not negative");
        }
    }
    bands(check, &deductions.bands);
}

fn deduction(check: &mut Check<'_>, path: &str, rule: &Deduction) {
    let condition = match (&rule.when, &rule.when_sql, &rule.metric) {
        (Some(when), None, None) => Some(("when", Source::Jsonata(when))),
        (None, Some(sql), None) => Some(("when_sql", Source::Sql(sql))),
        (None, None, Some(metric)) => {
            numeric(check, &member(path, "metric"), metric);
            None
        }
        _ => {
            check.problem(path, "exactly one of 'when', 'when_sql' and 'metric' is needed");
            return;
        }
    };
    match condition {
        Some((key, source)) => {
            check.compile(&member(path, key), source, Want::Condition);
            match rule.deduct {
                None => check.problem(path, format!("'{key}' needs 'deduct'")),
                Some(points) if points < 0.0 => {
                    check.problem(&member(path, "deduct"), "a deduction is not negative");
                }
                Some(_) => {}
            }
            if rule.ramp.is_some() {
                check.problem(&member(path, "ramp"), "a ramp needs 'metric'");
            }
        }
        None => {
            if rule.ramp.is_none() {
                check.problem(path, "'metric' needs 'ramp'");
            }
            for (there, key) in [(rule.deduct.is_some(), "deduct"), (rule.hold.is_some(), "hold")] {
                if there {
                    check.problem(&member(path, key), format!("'{key}' needs 'when'"));
                }
            }
        }
    }
    if let Some(ramp) = rule.ramp {
        if ramp.from.at == ramp.to.at {
            check.problem(&member(path, "ramp"), "the ends of the ramp are at the same value");
        }
        if ramp.from.deduct < 0.0 || ramp.to.deduct < 0.0 {
            check.problem(&member(path, "ramp"), "a deduction is not negative");
        }
        if ramp.from.deduct == ramp.to.deduct {
            check.problem(&member(path, "ramp"), "both ends of the ramp deduct the same");
        }
    }
}

fn of_scores(check: &mut Check<'_>, scores: &Scores) {
    let list = member(ROOT, "scores");
    if scores.scores.is_empty() {
        check.problem(&list, "there is no score");
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, part) in scores.scores.iter().enumerate() {
        let path = element(&list, i);
        let id = part.id.as_deref().or(part.metric.as_deref());
        match id {
            None => check.problem(&path, "an expression needs an 'id'"),
            Some(id) if seen.contains(&id) => {
                check.problem(&path, format!("the id '{id}' is there twice"));
            }
            Some(id) => seen.push(id),
        }
        score(check, &path, part);
    }
    bands(check, &scores.bands);
}

fn score(check: &mut Check<'_>, path: &str, part: &ScorePart) {
    let number = Want::Number(DataType::Double);
    match (&part.metric, &part.expr, &part.sql) {
        (Some(metric), None, None) => numeric(check, &member(path, "metric"), metric),
        (None, Some(expr), None) => {
            check.compile(&member(path, "expr"), Source::Jsonata(expr), number);
        }
        (None, None, Some(sql)) => {
            check.compile(&member(path, "sql"), Source::Sql(sql), number);
        }
        _ => check.problem(path, "exactly one of 'metric', 'expr' and 'sql' is needed"),
    }
    if let Some(when) = &part.when {
        check.compile(&member(path, "when"), Source::Jsonata(when), Want::Condition);
    }
    if part.weight <= 0.0 {
        check.problem(&member(path, "weight"), "a weight is greater than 0");
    }
    let points = member(path, "points");
    if part.points.is_empty() {
        check.problem(&points, "there is no point");
    }
    for (i, (value, score)) in part.points.iter().enumerate() {
        let path = element(&points, i);
        if i > 0 && part.points[i - 1].0 >= *value {
            let message =
                format!("points ascend by value: {value} follows {}", part.points[i - 1].0);
            check.problem(&path, message);
        }
        if !(0.0..=100.0).contains(score) {
            check.problem(&path, format!("a score is from 0 to 100, found {score}"));
        }
    }
}

fn numeric(check: &mut Check<'_>, path: &str, metric: &str) {
    if check.metric(path, metric) == Some(DataType::String) {
        check.problem(path, format!("'{metric}' is a string, a number is needed"));
    }
}

fn bands(check: &mut Check<'_>, bands: &[Band]) {
    for (i, band) in bands.iter().enumerate() {
        let path = element(&member(ROOT, "bands"), i);
        let last = i + 1 == bands.len();
        match (band.lt, last) {
            (Some(_), true) => check.problem(&path, "the last band has no 'lt'"),
            (None, false) => check.problem(&path, "every band but the last needs 'lt'"),
            (Some(lt), false) if i > 0 && bands[i - 1].lt.is_some_and(|before| before >= lt) => {
                check.problem(&member(&path, "lt"), "bands ascend");
            }
            _ => {}
        }
        if bands[..i].iter().any(|before| before.name == band.name) {
            check.problem(
                &member(&path, "name"),
                format!("the name '{}' is there twice", band.name),
            );
        }
    }
}
