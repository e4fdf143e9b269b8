//! What an asset type document says. Keys are those that users type; every key that is not here
//! is refused, known ones of later versions with "not supported yet".

use crate::health::Algorithm;
use crate::model::{DataType, Duration, Timestamp, Window};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// An asset type: metrics, how they come about, and what is kept up to date about them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetType {
    /// `assets/v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// `AssetTypeProfile`.
    pub kind: String,
    /// Names.
    pub metadata: Metadata,
    /// Lateness.
    #[serde(default)]
    pub time: TimeRules,
    /// The measured metrics, in the order of their columns.
    pub metric_definitions: IndexMap<String, Metric>,
    /// Mappings from devices, and derived metrics.
    #[serde(default)]
    pub transformation_engine: Transformation,
    /// Roll-ups. Left out: all four windows for every numeric metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregation_rules: Option<Vec<Aggregation>>,
    /// Health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_algorithm: Option<Algorithm>,
    /// Thresholds.
    #[serde(default)]
    pub threshold_rules: Vec<ThresholdRule>,
    /// Events.
    #[serde(default)]
    pub event_rules: Vec<EventRule>,
    /// Examples that `millstream check` runs.
    #[serde(default)]
    pub tests: Vec<Test>,
}

/// Names of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Unique among the documents of the kind: letters, digits, `.`, `_` and `-`.
    pub key: String,
    /// For people. The engine counts versions itself and ignores this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// How late telemetry may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeRules {
    /// A value is settled when the asset's newest event time is this much later.
    pub out_of_order: Duration,
    /// Event times further ahead of the source's clock are refused with `FUTURE_TS`.
    pub max_future_skew: Duration,
    /// Rows that are older than the asset's newest event time by more than this are not kept in
    /// memory. A point that belongs there waits until they are read from the archive.
    pub hot_horizon: Duration,
    /// The event time from which this version of the document holds; at most now. Left out: from
    /// its publication on. A first version holds for all time.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "as_text")]
    pub effective_from: Option<Timestamp>,
}

/// A measured metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// UCUM code. None: a pure number or a state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The type of its values.
    #[serde(default, rename = "type")]
    pub data_type: DataType,
    /// `[least, greatest]`; values outside get the quality `UncertainEngineeringUnitsExceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// Digits after the point that displays show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<u8>,
    /// `step`: a value holds until the next one.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// How values between points are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// A value holds until the next one.
    #[default]
    Step,
}

/// From device metrics to asset metrics, and from those to derived ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transformation {
    /// `jsonata`, the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Where measured metrics come from. A metric without a mapping takes the source of its name.
    pub mappings: Vec<Mapping>,
    /// Metrics computed from others, in any order without a cycle.
    pub derived: IndexMap<String, Derived>,
}

/// Where a measured metric comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The metric of the asset.
    pub target: String,
    /// The metric of the device.
    pub source: String,
    /// The unit of the source, when the device type says none or another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_unit: Option<String>,
    /// For people: the source may be missing.
    #[serde(default)]
    pub optional: bool,
}

/// A metric computed from others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// JSONata expression. Either this or `sql`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
    /// SQL expression over the metric names as columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// UCUM code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The type of its values.
    #[serde(default, rename = "type")]
    pub data_type: DataType,
    /// Metrics whose points cause a new value; all inputs of the expression when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Vec<String>>,
    /// What a null result does: `skip` makes no point, the only choice.
    #[serde(default)]
    pub on_null: OnNull,
}

/// What a null result of a derived metric does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNull {
    /// No point comes out; the last value holds.
    #[default]
    Skip,
}

/// Which roll-ups are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregation {
    /// Unique inside the document.
    pub key: String,
    /// `"*"`, the only choice: every numeric metric.
    pub metric: String,
    /// The window.
    pub window: AggregationWindow,
}

/// The window of a roll-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AggregationWindow {
    /// `PT1M`, `PT5M`, `PT1H` or `P1D`.
    pub tumbling: Duration,
}

/// A threshold rule: a metric or an expression, and levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdRule {
    /// Unique inside the document.
    pub id: String,
    /// What it watches for.
    #[serde(default, skip_serializing_if = "RuleKind::is_value")]
    pub kind: RuleKind,
    /// The metric to watch. One of `metric`, `expr` and `sql`; for an absence a measured metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// A JSONata expression to watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
    /// A SQL expression to watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// The levels.
    pub levels: Levels,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a threshold rule watches for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// A value that enters a level.
    #[default]
    Value,
    /// Silence: no point of a measured metric, or only bad ones, for as long as the `on_delay` of
    /// a level. The wait begins with each point that is not bad, and with the asset's first row;
    /// the next such point ends the absence at once.
    Absence,
}

impl RuleKind {
    fn is_value(&self) -> bool {
        *self == Self::Value
    }
}

/// The levels of a rule; at least one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// Look when you have time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<Level>,
    /// Act now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<Level>,
}

/// When a level is entered and left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// How the value is compared. Left out, with `value`: the expression itself is the condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<Comparison>,
    /// The limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Literal>,
    /// How far beyond the limit the value must return before the level is left. Only with an
    /// ordering comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadband: Option<Deadband>,
    /// How long, in event time, the condition must hold before the level is raised.
    #[serde(default)]
    pub on_delay: Duration,
    /// How long, in event time, the condition must be over before the level is cleared.
    #[serde(default)]
    pub off_delay: Duration,
    /// `low`, `medium`, `high` or `critical`, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
}

/// A comparison: `value op limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Ge,
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
}

/// A limit: a number, a bool or a state's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Literal {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A state.
    Text(String),
}

/// The width of a deadband; exactly one of the three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadband {
    /// In the unit of the metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abs: Option<f64>,
    /// In percent of the metric's range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pct_of_range: Option<f64>,
    /// In percent of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pct_of_value: Option<f64>,
}

/// An event rule: an edge of a condition makes an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRule {
    /// Unique inside the document.
    pub id: String,
    /// The condition, JSONata. Either this or `when_sql`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The condition, SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_sql: Option<String>,
    /// Which edge fires.
    #[serde(default)]
    pub edge: Edge,
    /// How long, in event time, the condition must hold before it fires. Only with a rising edge.
    #[serde(default, rename = "for")]
    pub hold_for: Duration,
    /// What such an event is called.
    pub event_type: String,
    /// How bad it is.
    #[serde(default)]
    pub severity: Severity,
    /// How long, in event time, further events of the rule and asset are marked as suppressed.
    #[serde(default)]
    pub cooldown: Duration,
    /// `{{asset}}`, `{{metrics.NAME}}` and `{{metrics.NAME|digits}}` are filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Which edge of a condition fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// From not true to true. The first row of an asset counts when it is true.
    #[default]
    Rising,
    /// From true to not true.
    Falling,
}

/// How bad an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Look when you have time.
    Warning,
    /// Act now.
    Critical,
}

/// An example inside the document. Times are seconds; series are of source metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Says what it shows.
    pub name: String,
    /// One row of source metrics, at time 0.
    #[serde(default)]
    pub given: IndexMap<String, Literal>,
    /// Source metrics as `[seconds, value]` pairs, fed in order of time.
    #[serde(default)]
    pub series: IndexMap<String, Vec<(f64, Literal)>>,
    /// Fed after `series`.
    #[serde(default)]
    pub late: IndexMap<String, Vec<(f64, Literal)>>,
    /// Last values of metrics, within half of the last digit that is written.
    #[serde(default)]
    pub expect: IndexMap<String, Literal>,
    /// The health score in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_health: Option<f64>,
    /// The occurrences of a threshold level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_alarm: Option<ExpectedAlarm>,
    /// The events, in order of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_events: Option<Vec<ExpectedEvent>>,
}

/// The occurrences that a test expects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedAlarm {
    /// The threshold rule.
    pub rule: String,
    /// `warning` or `critical`.
    pub level: String,
    /// In order of time; seconds.
    pub occurrences: Vec<ExpectedOccurrence>,
}

/// One expected occurrence, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedOccurrence {
    /// When the condition began.
    pub since: f64,
    /// When the level was raised.
    pub raised: f64,
    /// When the condition ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition_end: Option<f64>,
    /// When the level was cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared: Option<f64>,
}

/// One expected event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedEvent {
    /// The event rule.
    pub rule: String,
    /// Seconds.
    pub at: f64,
    /// Whether the cooldown was running.
    #[serde(default)]
    pub suppressed: bool,
}

impl Default for TimeRules {
    fn default() -> Self {
        Self {
            out_of_order: Duration(5_000_000),
            max_future_skew: Duration(5 * 60_000_000),
            hot_horizon: Duration(3_600_000_000),
            effective_from: None,
        }
    }
}

impl AssetType {
    /// The windows that roll-ups are kept for, ascending, each once.
    pub fn windows(&self) -> Vec<Window> {
        let wanted = |window: &Window| match &self.aggregation_rules {
            None => true,
            Some(rules) => rules.iter().any(|rule| rule.window.tumbling == window.size()),
        };
        Window::ALL.into_iter().filter(wanted).collect()
    }
}

/// Times as people write them.
mod as_text {
    use crate::model::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(time),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| Timestamp::parse(&text)).transpose().map_err(serde::de::Error::custom)
    }
}
