//! What a document says of health: parts, weights, caps and bands.

use crate::model::Duration;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// How a score is made. Written as `health_algorithm:` in an asset type document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Algorithm {
    /// Starts at the top and deducts.
    WeightedDeductions(Deductions),
    /// Scores each input by itself and combines the scores.
    ScoreBased(Scores),
}

/// `H = clamp(start - sum over groups of min(cap, sum of the group's deductions), floor, 100)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deductions {
    /// The score with no deduction, 0 to 100.
    #[serde(default = "hundred")]
    pub start: f64,
    /// The least score.
    #[serde(default)]
    pub floor: f64,
    /// What a rule whose input is missing does.
    #[serde(default)]
    pub missing: Missing,
    /// The rules.
    pub rules: Vec<Deduction>,
    /// The most that the rules of a group deduct together.
    #[serde(default)]
    pub group_caps: IndexMap<String, f64>,
    /// Names of score ranges, ascending.
    #[serde(default)]
    pub bands: Vec<Band>,
}

/// What happens when an input has no value, or one of bad quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The rule takes no part.
    #[default]
    Renormalise,
    /// The rule deducts all it can.
    Worst,
    /// The score is unknown.
    Unknown,
}

/// A rule: a constant deduction while a condition holds, or a ramp over a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deduction {
    /// Unique inside the algorithm.
    pub id: String,
    /// Rules of one group share a cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The condition, a JSONata expression. With `deduct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The condition as a SQL expression. With `deduct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_sql: Option<String>,
    /// Points deducted while the condition holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduct: Option<f64>,
    /// The metric of a ramp. With `ramp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// The ramp over the metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// How long, in event time, the deduction outlasts the condition. With `when`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Duration>,
}

/// Linear between two metric values, constant outside them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// Where the ramp begins; deducts nothing unless it says so.
    pub from: RampEnd,
    /// Where the ramp ends.
    pub to: RampEnd,
}

/// One end of a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RampEnd {
    /// The metric's value there.
    pub at: f64,
    /// Points deducted there.
    #[serde(default)]
    pub deduct: f64,
}

/// Each input gives a score by a piecewise linear curve; the scores are combined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// How the scores become one.
    pub combine: Combine,
    /// The inputs.
    pub scores: Vec<ScorePart>,
    /// Names of score ranges, ascending.
    #[serde(default)]
    pub bands: Vec<Band>,
}

/// How the scores of the inputs become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// `sum(w s) / sum(w)` over the inputs that are there.
    WeightedAverage,
    /// The least score.
    Worst,
    /// `product of s^(w / sum(w))` over the inputs that are there.
    Geometric,
}

/// One input and its curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorePart {
    /// Names the contribution; the metric's name when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The metric to score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// A JSONata expression to score instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
    /// A SQL expression to score instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// A JSONata condition; while it does not hold the input takes no part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Relative weight, greater than 0.
    #[serde(default = "one")]
    pub weight: f64,
    /// `[value, score]` pairs, ascending by value; constant outside.
    pub points: Vec<(f64, f64)>,
}

/// A named range of scores: those less than `lt` and not in an earlier band.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// The upper end, exclusive; none in the last band.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lt: Option<f64>,
    /// `critical`, `degraded`, `healthy`, ...
    pub name: String,
    /// How dashboards show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
}

/// What a part of an algorithm reads, told apart so that callers can compile it once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PartInput<'a> {
    /// A metric by name.
    Metric(&'a str),
    /// A JSONata expression.
    Jsonata(&'a str),
    /// A SQL expression.
    Sql(&'a str),
}

/// A part of an algorithm: its name, its input, its guard and how long a true input is held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part<'a> {
    /// Names the contribution.
    pub id: &'a str,
    /// What it reads.
    pub input: PartInput<'a>,
    /// A condition without which the input counts as missing.
    pub when: Option<&'a str>,
    /// See [`Deduction::hold`].
    pub hold: Option<Duration>,
}

impl Algorithm {
    /// The parts in order: [`super::score`] wants one input for each.
    ///
    /// A part that says nothing of its input gives an empty expression, which does not compile:
    /// the catalog refuses such documents.
    pub fn parts(&self) -> Vec<Part<'_>> {
        match self {
            Self::WeightedDeductions(deductions) => {
                deductions.rules.iter().map(Deduction::part).collect()
            }
            Self::ScoreBased(scores) => scores.scores.iter().map(ScorePart::part).collect(),
        }
    }

    /// The bands, those of the field (critical below 40, degraded to 70) where none are given.
    pub fn bands(&self) -> Vec<Band> {
        let given = match self {
            Self::WeightedDeductions(deductions) => &deductions.bands,
            Self::ScoreBased(scores) => &scores.bands,
        };
        if !given.is_empty() {
            return given.clone();
        }
        [
            (Some(40.0), "critical", "red"),
            (Some(70.000_1), "degraded", "yellow"),
            (None, "healthy", "green"),
        ]
        .into_iter()
        .map(|(lt, name, colour)| Band { lt, name: name.into(), colour: Some(colour.into()) })
        .collect()
    }
}

impl Deduction {
    fn part(&self) -> Part<'_> {
        let input = match (&self.metric, &self.when, &self.when_sql) {
            (Some(metric), _, _) => PartInput::Metric(metric),
            (_, Some(when), _) => PartInput::Jsonata(when),
            (_, _, sql) => PartInput::Sql(sql.as_deref().unwrap_or_default()),
        };
        Part { id: &self.id, input, when: None, hold: self.hold }
    }
}

impl ScorePart {
    fn part(&self) -> Part<'_> {
        let input = match (&self.metric, &self.expr, &self.sql) {
            (Some(metric), _, _) => PartInput::Metric(metric),
            (_, Some(expr), _) => PartInput::Jsonata(expr),
            (_, _, sql) => PartInput::Sql(sql.as_deref().unwrap_or_default()),
        };
        let id = self.id.as_deref().or(self.metric.as_deref()).unwrap_or("score");
        Part { id, input, when: self.when.as_deref(), hold: None }
    }
}

fn hundred() -> f64 {
    100.0
}

fn one() -> f64 {
    1.0
}
