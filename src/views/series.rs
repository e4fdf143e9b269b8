//! Names of this room's metrics.

/// Histogram: seconds that applying one epoch took.
pub const APPLY_SECONDS: &str = "millstream_views_apply_seconds";
/// Gauge: the newest epoch that is visible.
pub const EPOCH: &str = "millstream_views_epoch";
/// Counter: rows of wide tables that were written.
pub const ROWS_UPSERTED: &str = "millstream_views_rows_upserted_total";
/// Counter: rows of wide tables that did not fit the type's layout. Anything but 0 is a bug.
pub const ROWS_REFUSED: &str = "millstream_views_rows_refused_total";
/// Counter: dead letters that left the view because newer ones came.
pub const DEAD_LETTERS_DROPPED: &str = "millstream_views_dead_letters_dropped_total";
/// Gauge: subscriptions that are open.
pub const SUBSCRIBERS: &str = "millstream_views_subscribers";
/// Counter: subscriptions that were closed because their reader was too slow.
pub const SUBSCRIBERS_CLOSED: &str = "millstream_views_subscribers_closed_total";
