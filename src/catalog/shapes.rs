//! The shapes of all documents: every key that users may write. What the keys mean stands with
//! the structs in `asset_type`, `device_type` and the health room; a test keeps the two together.

use super::shape::{Member, Record, Shape};
use crate::model::Kind;

/// Keys that later versions will know.
pub(super) const LATER: &[&str] = &[
    "ack_required",
    "actions",
    "applies_to",
    "at",
    "attributes",
    "batch",
    "calendar",
    "chunking_config",
    "clock_skew",
    "combine",
    "commands",
    "dead_letter",
    "debounce",
    "dedup_key",
    "dedup_window",
    "demux_strategy",
    "effective_from",
    "emit",
    "endpoint",
    "event_frames",
    "every",
    "expr",
    "extends",
    "field",
    "final",
    "fn",
    "frame",
    "frames",
    "gap_policy",
    "group",
    "idle_timeout",
    "inputs_max_age",
    "interlocks",
    "kind",
    "knock_out",
    "last_n",
    "late_uses",
    "latched",
    "limits",
    "link_port",
    "link_role",
    "max_hold",
    "message_schema",
    "mixins",
    "on_bad_quality",
    "on_duplicate",
    "on_identical",
    "on_late",
    "one_occurrence",
    "optional",
    "path",
    "per",
    "percent_good",
    "port",
    "priority",
    "q",
    "quality",
    "rate_limit",
    "ratio_to",
    "re_alarm",
    "recompute_horizon",
    "role",
    "samples",
    "schedule",
    "sequence",
    "session",
    "shelving",
    "sliding",
    "smoothing",
    "stale_after",
    "state",
    "suppress_when",
    "time",
    "timezone",
    "transaction",
    "transformation_rules",
    "transports",
    "unit",
    "validation_rules",
    "when_frame",
];

/// The shape of a document of a kind.
pub(super) fn of(kind: Kind) -> Shape {
    match kind {
        Kind::AssetTypes => Shape::Record(&ASSET_TYPE),
        Kind::DeviceTypes => Shape::Record(&DEVICE_TYPE),
        Kind::Assets => Shape::Record(&ASSET),
        Kind::Devices => Shape::Record(&DEVICE),
        Kind::Links => Shape::Record(&LINK),
    }
}

const fn must(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, shape, required: true }
}

const fn may(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, shape, required: false }
}

const TEXT: &Shape = &Shape::Text;
const NUMBER: &Shape = &Shape::Number;
const LITERAL: &Shape = &Shape::Literal;
const DURATION: &Shape = &Shape::Duration;
const TYPE: &Shape = &Shape::Choice(&["double", "integer", "bool", "string"], &[]);
const NUMBERS: &Shape = &Shape::Pair(NUMBER, NUMBER);
const LITERALS: &Shape = &Shape::Map(LITERAL);
const SERIES: &Shape = &Shape::Map(&Shape::List(&Shape::Pair(NUMBER, LITERAL)));

static ASSET_TYPE: Record = Record {
    name: "an asset type",
    keys: &[
        must("apiVersion", &Shape::Choice(&["assets/v1"], &[])),
        must("kind", &Shape::Choice(&["AssetTypeProfile"], &[])),
        must("metadata", &Shape::Record(&METADATA)),
        may("time", &Shape::Record(&TIME)),
        must("metric_definitions", &Shape::Map(&Shape::Record(&METRIC))),
        may("transformation_engine", &Shape::Record(&TRANSFORMATION)),
        may("aggregation_rules", &Shape::List(&Shape::Record(&AGGREGATION))),
        may("health_algorithm", HEALTH),
        may("threshold_rules", &Shape::List(&Shape::Record(&THRESHOLD))),
        may("event_rules", &Shape::List(&Shape::Record(&EVENT))),
        may("tests", &Shape::List(&Shape::Record(&TEST))),
    ],
};

static METADATA: Record = Record {
    name: "metadata",
    keys: &[must("key", TEXT), may("version", &Shape::Whole(u32::MAX)), may("display_name", TEXT)],
};

static TIME: Record = Record {
    name: "time",
    keys: &[
        may("out_of_order", DURATION),
        may("max_future_skew", DURATION),
        may("hot_horizon", DURATION),
        may("effective_from", &Shape::Timestamp),
    ],
};

static METRIC: Record = Record {
    name: "a metric definition",
    keys: &[
        may("unit", TEXT),
        may("type", TYPE),
        may("range", NUMBERS),
        may("precision", &Shape::Whole(17)),
        may("interpolation", &Shape::Choice(&["step"], &["linear"])),
        may("description", TEXT),
    ],
};

static TRANSFORMATION: Record = Record {
    name: "the transformation engine",
    keys: &[
        may("language", &Shape::Choice(&["jsonata"], &[])),
        may("mappings", &Shape::List(&Shape::Record(&MAPPING))),
        may("derived", &Shape::Map(&Shape::Record(&DERIVED))),
    ],
};

static MAPPING: Record = Record {
    name: "a mapping",
    keys: &[
        must("target", TEXT),
        must("source", TEXT),
        may("from_unit", TEXT),
        may("optional", &Shape::Bool),
    ],
};

static DERIVED: Record = Record {
    name: "a derived metric",
    keys: &[
        may("expr", TEXT),
        may("sql", TEXT),
        may("unit", TEXT),
        may("type", TYPE),
        may("trigger", &Shape::List(TEXT)),
        may("on_null", &Shape::Choice(&["skip"], &["bad", "hold"])),
    ],
};

static AGGREGATION: Record = Record {
    name: "an aggregation rule",
    keys: &[must("key", TEXT), must("metric", TEXT), must("window", &Shape::Record(&WINDOW))],
};

static WINDOW: Record = Record { name: "a window", keys: &[must("tumbling", DURATION)] };

static HEALTH: &Shape = &Shape::Variants(
    &[("weighted_deductions", &DEDUCTIONS), ("score_based", &SCORES)],
    &[
        "worst_of",
        "mmi",
        "exponential_decay",
        "cumulative_usage",
        "baseline_deviation",
        "reliability",
        "rollup",
        "expression",
        "sql_view",
    ],
);

static DEDUCTIONS: Record = Record {
    name: "a health algorithm of deductions",
    keys: &[
        may("start", NUMBER),
        may("floor", NUMBER),
        may("missing", &Shape::Choice(&["renormalise", "worst", "unknown"], &["hold"])),
        must("rules", &Shape::List(&Shape::Record(&DEDUCTION))),
        may("group_caps", &Shape::Map(NUMBER)),
        may("bands", &Shape::List(&Shape::Record(&BAND))),
    ],
};

static DEDUCTION: Record = Record {
    name: "a deduction",
    keys: &[
        must("id", TEXT),
        may("group", TEXT),
        may("when", TEXT),
        may("when_sql", TEXT),
        may("deduct", NUMBER),
        may("metric", TEXT),
        may("ramp", &Shape::Record(&RAMP)),
        may("hold", DURATION),
    ],
};

static RAMP: Record = Record {
    name: "a ramp",
    keys: &[must("from", &Shape::Record(&RAMP_END)), must("to", &Shape::Record(&RAMP_END))],
};

static RAMP_END: Record =
    Record { name: "an end of a ramp", keys: &[must("at", NUMBER), may("deduct", NUMBER)] };

static SCORES: Record = Record {
    name: "a health algorithm of scores",
    keys: &[
        must("combine", &Shape::Choice(&["weighted_average", "worst", "geometric"], &[])),
        must("scores", &Shape::List(&Shape::Record(&SCORE))),
        may("bands", &Shape::List(&Shape::Record(&BAND))),
    ],
};

static SCORE: Record = Record {
    name: "a score",
    keys: &[
        may("id", TEXT),
        may("metric", TEXT),
        may("expr", TEXT),
        may("sql", TEXT),
        may("when", TEXT),
        may("weight", NUMBER),
        must("points", &Shape::List(NUMBERS)),
    ],
};

static BAND: Record =
    Record { name: "a band", keys: &[may("lt", NUMBER), must("name", TEXT), may("colour", TEXT)] };

static THRESHOLD: Record = Record {
    name: "a threshold rule",
    keys: &[
        must("id", TEXT),
        may("kind", &Shape::Choice(&["value", "absence"], &[])),
        may("metric", TEXT),
        may("expr", TEXT),
        may("sql", TEXT),
        must("levels", &Shape::Record(&LEVELS)),
        may("message", TEXT),
    ],
};

static LEVELS: Record = Record {
    name: "the levels",
    keys: &[may("warning", &Shape::Record(&LEVEL)), may("critical", &Shape::Record(&LEVEL))],
};

static LEVEL: Record = Record {
    name: "a level",
    keys: &[
        may("op", &Shape::Choice(&["gt", "ge", "lt", "le", "eq", "ne"], &[])),
        may("value", LITERAL),
        may("deadband", &Shape::Record(&DEADBAND)),
        may("on_delay", DURATION),
        may("off_delay", DURATION),
        may("priority", &Shape::Choice(&["low", "medium", "high", "critical"], &[])),
    ],
};

static DEADBAND: Record = Record {
    name: "a deadband",
    keys: &[may("abs", NUMBER), may("pct_of_range", NUMBER), may("pct_of_value", NUMBER)],
};

static EVENT: Record = Record {
    name: "an event rule",
    keys: &[
        must("id", TEXT),
        may("when", TEXT),
        may("when_sql", TEXT),
        may("edge", &Shape::Choice(&["rising", "falling"], &[])),
        may("for", DURATION),
        must("event_type", TEXT),
        may("severity", &Shape::Choice(&["info", "warning", "critical"], &[])),
        may("cooldown", DURATION),
        may("message", TEXT),
    ],
};

static TEST: Record = Record {
    name: "a test",
    keys: &[
        must("name", TEXT),
        may("given", LITERALS),
        may("series", SERIES),
        may("late", SERIES),
        may("expect", LITERALS),
        may("expect_health", NUMBER),
        may("expect_alarm", &Shape::Record(&EXPECTED_ALARM)),
        may("expect_events", &Shape::List(&Shape::Record(&EXPECTED_EVENT))),
    ],
};

static EXPECTED_ALARM: Record = Record {
    name: "an expected alarm",
    keys: &[
        must("rule", TEXT),
        must("level", &Shape::Choice(&["warning", "critical"], &[])),
        must("occurrences", &Shape::List(&Shape::Record(&EXPECTED_OCCURRENCE))),
    ],
};

static EXPECTED_OCCURRENCE: Record = Record {
    name: "an expected occurrence",
    keys: &[
        must("since", NUMBER),
        must("raised", NUMBER),
        may("condition_end", NUMBER),
        may("cleared", NUMBER),
    ],
};

static EXPECTED_EVENT: Record = Record {
    name: "an expected event",
    keys: &[must("rule", TEXT), must("at", NUMBER), may("suppressed", &Shape::Bool)],
};

static DEVICE_TYPE: Record = Record {
    name: "a device type",
    keys: &[
        must("apiVersion", &Shape::Choice(&["devices/v1"], &[])),
        must("kind", &Shape::Choice(&["DeviceTypeProfile"], &[])),
        must("metadata", &Shape::Record(&METADATA)),
        may(
            "processing_mode",
            &Shape::Choice(&["endpoint"], &["gateway", "gateway_chunked", "rtu_multiport"]),
        ),
        may("identity", &Shape::Record(&IDENTITY)),
        may("extraction_rules", &Shape::List(&Shape::Record(&EXTRACTION))),
    ],
};

static IDENTITY: Record = Record {
    name: "an identity",
    keys: &[may("id_pattern", TEXT), may("provision", &Shape::Record(&PROVISION))],
};

static PROVISION: Record =
    Record { name: "a provision", keys: &[must("asset_type", TEXT), must("asset", TEXT)] };

static EXTRACTION: Record = Record {
    name: "an extraction rule",
    keys: &[must("metric", TEXT), may("type", TYPE), may("unit", TEXT)],
};

static ASSET: Record = Record {
    name: "an asset",
    keys: &[must("key", TEXT), must("asset_type", TEXT), may("display_name", TEXT)],
};

static DEVICE: Record = Record {
    name: "a device",
    keys: &[must("key", TEXT), must("device_type", TEXT), may("display_name", TEXT)],
};

static LINK: Record = Record { name: "a link", keys: &[must("device", TEXT), must("asset", TEXT)] };
