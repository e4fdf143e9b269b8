//! The public views: their names, columns, keys and filters.

use super::cell::{Tail, schema};
use crate::model::{Kind, Table, Window};
use arrow::datatypes::SchemaRef;
use std::fmt;

/// A public view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// The newest point of each metric of each asset.
    AssetMetrics,
    /// The health of each asset.
    AssetHealth,
    /// The level of each threshold rule of each asset.
    ThresholdStates,
    /// Aggregates of the windows of one size.
    Rollups(Window),
    /// Events.
    Events,
    /// Stays of threshold rules at a level.
    ThresholdOccurrences,
    /// Expressions that could not be computed.
    Errors,
    /// Assets of each type and health band.
    FleetHealth,
    /// Assets at each level of each rule.
    FleetThresholds,
    /// What the doors refused.
    DeadLetters,
    /// What became of deletions and corrections.
    Corrections,
    /// The current documents of a kind.
    Catalog(Kind),
}

/// A column of a view.
pub(super) struct Column {
    pub name: &'static str,
    pub column_type: ColumnType,
    /// Whether it is part of the key. Key columns are never null.
    pub key: bool,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnType {
    Text,
    Time,
    Float,
    Int,
    Bool,
}

const fn key(name: &'static str, column_type: ColumnType) -> Column {
    Column { name, column_type, key: true }
}

const fn column(name: &'static str, column_type: ColumnType) -> Column {
    Column { name, column_type, key: false }
}

use ColumnType::{Bool, Float, Int, Text, Time};

const ASSET_METRICS: &[Column] = &[
    key("asset", Text),
    key("asset_type", Text),
    key("metric", Text),
    column("event_time", Time),
    column("value", Float),
    column("text", Text),
    column("unit", Text),
    column("quality", Text),
];
const ASSET_HEALTH: &[Column] = &[
    key("asset", Text),
    key("asset_type", Text),
    column("event_time", Time),
    column("score", Float),
    column("band", Text),
    column("contributions", Text),
];
const THRESHOLD_STATES: &[Column] = &[
    key("asset", Text),
    key("asset_type", Text),
    key("rule", Text),
    column("level", Text),
    column("since", Time),
    column("transitions", Int),
];
const ROLLUPS: &[Column] = &[
    key("asset", Text),
    key("asset_type", Text),
    key("metric", Text),
    key("window_start", Time),
    column("count", Int),
    column("sum", Float),
    column("min", Float),
    column("max", Float),
    column("mean", Float),
    column("first", Float),
    column("last", Float),
    column("status", Text),
    column("revision", Int),
];
const EVENTS: &[Column] = &[
    key("asset", Text),
    key("rule", Text),
    column("event_type", Text),
    column("severity", Text),
    key("event_time", Time),
    column("message", Text),
    column("suppressed", Bool),
];
const THRESHOLD_OCCURRENCES: &[Column] = &[
    key("asset", Text),
    key("rule", Text),
    key("level", Text),
    key("since", Time),
    column("raised", Time),
    column("condition_end", Time),
    column("cleared", Time),
];
const ERRORS: &[Column] =
    &[key("asset", Text), key("source", Text), key("event_time", Time), column("message", Text)];
const FLEET_HEALTH: &[Column] =
    &[key("type", Text), key("band", Text), column("assets", Int), column("worst_score", Float)];
const FLEET_THRESHOLDS: &[Column] = &[key("rule", Text), key("level", Text), column("assets", Int)];
const DEAD_LETTERS: &[Column] = &[
    column("received_at", Time),
    column("source", Text),
    column("device", Text),
    column("reason", Text),
    column("detail", Text),
    column("raw", Text),
];
const CORRECTIONS: &[Column] = &[
    key("received_at", Time),
    key("id", Text),
    column("kind", Text),
    column("asset", Text),
    key("metric", Text),
    key("from_time", Time),
    column("to_time", Time),
    column("points", Int),
    column("refused", Text),
    column("reason", Text),
    column("requested_by", Text),
];
const ASSETS: &[Column] = &[
    key("key", Text),
    column("id", Int),
    column("asset_type", Text),
    column("version", Int),
    column("display_name", Text),
];
const DEVICES: &[Column] = &[
    key("key", Text),
    column("id", Int),
    column("device_type", Text),
    column("version", Int),
    column("display_name", Text),
];
const LINKS: &[Column] = &[
    key("key", Text),
    column("id", Int),
    column("device", Text),
    column("asset", Text),
    column("version", Int),
];
const TYPES: &[Column] =
    &[key("key", Text), column("id", Int), column("version", Int), column("document", Text)];

impl View {
    /// All views, the ones that people ask for first.
    pub const ALL: [Self; 19] = [
        Self::AssetMetrics,
        Self::AssetHealth,
        Self::ThresholdStates,
        Self::Rollups(Window::Minute),
        Self::Rollups(Window::FiveMinutes),
        Self::Rollups(Window::Hour),
        Self::Rollups(Window::Day),
        Self::Events,
        Self::ThresholdOccurrences,
        Self::Errors,
        Self::FleetHealth,
        Self::FleetThresholds,
        Self::DeadLetters,
        Self::Corrections,
        Self::Catalog(Kind::Assets),
        Self::Catalog(Kind::Devices),
        Self::Catalog(Kind::Links),
        Self::Catalog(Kind::AssetTypes),
        Self::Catalog(Kind::DeviceTypes),
    ];

    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AssetMetrics => "asset_metrics",
            Self::AssetHealth => "asset_health",
            Self::ThresholdStates => "threshold_states",
            Self::Rollups(Window::Minute) => "rollups_1m",
            Self::Rollups(Window::FiveMinutes) => "rollups_5m",
            Self::Rollups(Window::Hour) => "rollups_1h",
            Self::Rollups(Window::Day) => "rollups_1d",
            Self::Events => "events",
            Self::ThresholdOccurrences => "threshold_occurrences",
            Self::Errors => "errors",
            Self::FleetHealth => "fleet_health",
            Self::FleetThresholds => "fleet_thresholds",
            Self::DeadLetters => "dead_letters",
            Self::Corrections => "corrections",
            Self::Catalog(kind) => kind.name(),
        }
    }

    /// All names, in the order of [`View::ALL`].
    pub fn names() -> Vec<&'static str> {
        Self::ALL.into_iter().map(Self::name).collect()
    }

    /// The view with this name.
    pub fn parse(name: &str) -> Result<Self, super::Error> {
        Self::ALL
            .into_iter()
            .find(|view| view.name() == name)
            .ok_or_else(|| super::Error::UnknownView { name: name.into() })
    }

    /// What it holds, in one sentence.
    pub fn description(self) -> &'static str {
        match self {
            Self::AssetMetrics => {
                "The newest point of each metric. value is the number (true is 1), text the text \
                 of strings and bools."
            }
            Self::AssetHealth => {
                "The health score of each asset, 0 to 100, its band and the parts that made it."
            }
            Self::ThresholdStates => {
                "The level of each threshold rule, since when, and how often it changed."
            }
            Self::Rollups(Window::Minute) => "Aggregates of one-minute windows.",
            Self::Rollups(Window::FiveMinutes) => "Aggregates of five-minute windows.",
            Self::Rollups(Window::Hour) => "Aggregates of one-hour windows.",
            Self::Rollups(Window::Day) => "Aggregates of windows of one UTC day.",
            Self::Events => "Events: edges of the conditions of event rules.",
            Self::ThresholdOccurrences => "Each stay of a threshold rule at a level.",
            Self::Errors => {
                "Expressions that could not be computed; a row goes when the data is mended."
            }
            Self::FleetHealth => "Assets of each type and health band, and the worst score.",
            Self::FleetThresholds => "Assets at each level of each threshold rule.",
            Self::DeadLetters => "What the doors refused, and why; the newest are kept.",
            Self::Corrections => {
                "Who deleted or corrected which points, when and why; the newest are kept."
            }
            Self::Catalog(Kind::Assets) => "The assets.",
            Self::Catalog(Kind::Devices) => "The devices.",
            Self::Catalog(Kind::Links) => "Which device feeds which asset.",
            Self::Catalog(Kind::AssetTypes) => "The asset types, as JSON documents.",
            Self::Catalog(Kind::DeviceTypes) => "The device types, as JSON documents.",
        }
    }

    /// The names of the columns that tell its rows apart; none where rows may be equal.
    pub fn key(self) -> Vec<&'static str> {
        self.key_columns().into_iter().map(|i| self.columns()[i].name).collect()
    }

    /// The columns by which rows are sorted in files, the last of which is their time; none for views
    /// of which no rows leave memory.
    pub fn order(self) -> &'static [&'static str] {
        match self {
            Self::Rollups(_) => &["asset", "metric", "window_start"],
            Self::Events | Self::Errors => &["asset", "event_time"],
            Self::ThresholdOccurrences => &["asset", "since"],
            Self::Corrections => &["received_at"],
            _ => &[],
        }
    }

    /// The column of the rows' time in files.
    pub fn time(self) -> &'static str {
        self.order().last().copied().unwrap_or_default()
    }

    /// The Arrow schema of its rows.
    pub fn schema(self) -> SchemaRef {
        schema(self.columns(), Tail::Nothing)
    }

    /// Which of `asset`, `type` and `metric` it can be filtered by.
    pub fn filters(self) -> Vec<&'static str> {
        ["asset", "type", "metric"]
            .into_iter()
            .filter(|filter| self.filter_column(filter).is_some())
            .collect()
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::AssetMetrics => ASSET_METRICS,
            Self::AssetHealth => ASSET_HEALTH,
            Self::ThresholdStates => THRESHOLD_STATES,
            Self::Rollups(_) => ROLLUPS,
            Self::Events => EVENTS,
            Self::ThresholdOccurrences => THRESHOLD_OCCURRENCES,
            Self::Errors => ERRORS,
            Self::FleetHealth => FLEET_HEALTH,
            Self::FleetThresholds => FLEET_THRESHOLDS,
            Self::DeadLetters => DEAD_LETTERS,
            Self::Corrections => CORRECTIONS,
            Self::Catalog(Kind::Assets) => ASSETS,
            Self::Catalog(Kind::Devices) => DEVICES,
            Self::Catalog(Kind::Links) => LINKS,
            Self::Catalog(Kind::AssetTypes | Kind::DeviceTypes) => TYPES,
        }
    }

    pub(super) fn key_columns(self) -> Vec<usize> {
        let columns = self.columns();
        (0..columns.len()).filter(|i| columns[*i].key).collect()
    }

    /// The column that a filter compares: `type` is the asset type, whatever the column is called,
    /// and in the views of assets and asset types the key is what is compared.
    pub(super) fn filter_column(self, filter: &str) -> Option<usize> {
        let name = match (self, filter) {
            (Self::Catalog(Kind::Assets), "asset") => "key",
            (Self::Catalog(Kind::AssetTypes), "type") => "key",
            (Self::Catalog(Kind::Devices | Kind::DeviceTypes), "type") => return None,
            (Self::FleetHealth, "type") => "type",
            (_, "type") => "asset_type",
            (_, other) => other,
        };
        self.columns().iter().position(|column| column.name == name)
    }

    /// The wide table that it is read from, if it is read from one.
    pub(super) fn table(self) -> Option<Table> {
        match self {
            Self::AssetMetrics => Some(Table::Latest),
            Self::AssetHealth => Some(Table::Health),
            Self::ThresholdStates => Some(Table::Thresholds),
            Self::Rollups(window) => Some(Table::Rollups(window)),
            _ => None,
        }
    }

    /// The view that shows a wide table.
    pub(super) fn of(table: Table) -> Self {
        match table {
            Table::Latest => Self::AssetMetrics,
            Table::Health => Self::AssetHealth,
            Table::Thresholds => Self::ThresholdStates,
            Table::Rollups(window) => Self::Rollups(window),
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
