//! What is compared of the views that are made asset by asset.

use super::cell::{As, Shape};

use As::{Bool, Contributions, Int, Number, Status, Text, Time};

/// Views that are made asset by asset, with what is compared of them.
pub(super) const SHAPES: [(&str, Shape); 10] = [
    ("asset_metrics", METRICS),
    ("asset_health", HEALTH),
    ("threshold_states", THRESHOLDS),
    ("rollups_1m", ROLLUPS),
    ("rollups_5m", ROLLUPS),
    ("rollups_1h", ROLLUPS),
    ("rollups_1d", ROLLUPS),
    ("events", EVENTS),
    ("threshold_occurrences", OCCURRENCES),
    ("errors", ERRORS),
];

const METRICS: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("metric", Text),
        ("event_time", Time),
        ("value", Number),
        ("text", Text),
        ("quality", Text),
    ],
    key: 2,
};
const HEALTH: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("event_time", Time),
        ("score", Number),
        ("band", Text),
        ("contributions", Contributions),
    ],
    key: 1,
};
const THRESHOLDS: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("rule", Text),
        ("level", Text),
        ("since", Time),
        ("transitions", Int),
    ],
    key: 2,
};
const ROLLUPS: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("metric", Text),
        ("window_start", Time),
        ("count", Int),
        ("sum", Number),
        ("min", Number),
        ("max", Number),
        ("mean", Number),
        ("first", Number),
        ("last", Number),
        ("status", Status),
    ],
    key: 3,
};
const EVENTS: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("rule", Text),
        ("event_time", Time),
        ("event_type", Text),
        ("severity", Text),
        ("message", Text),
        ("suppressed", Bool),
    ],
    key: 3,
};
const OCCURRENCES: Shape = Shape {
    columns: &[
        ("asset", Text),
        ("rule", Text),
        ("level", Text),
        ("since", Time),
        ("raised", Time),
        ("condition_end", Time),
        ("cleared", Time),
    ],
    key: 4,
};
const ERRORS: Shape = Shape {
    columns: &[("asset", Text), ("source", Text), ("event_time", Time), ("message", Text)],
    key: 3,
};
