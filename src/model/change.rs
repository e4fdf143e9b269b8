//! What the dataflow says: changes of keyed tables and of small collections, one epoch at a time.

use super::edit::EditRow;
use super::expiry::Expiry;
use super::frame::{DeadLetter, Document};
use super::ids::TypeId;
use super::page::PageRequest;
use super::rows::Rows;
use super::spare;
use super::time::{Duration, Epoch, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The sizes of tumbling windows that roll-ups are kept for. Windows start at the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Window {
    /// One minute.
    #[serde(rename = "1m")]
    Minute,
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// One hour.
    #[serde(rename = "1h")]
    Hour,
    /// One day of 24 hours, UTC.
    #[serde(rename = "1d")]
    Day,
}

impl Window {
    /// All sizes, ascending.
    pub const ALL: [Self; 4] = [Self::Minute, Self::FiveMinutes, Self::Hour, Self::Day];

    /// The length of the window.
    pub const fn size(self) -> Duration {
        Duration(match self {
            Self::Minute => 60_000_000,
            Self::FiveMinutes => 300_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        })
    }

    /// `1m`, `5m`, `1h` or `1d`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }
}

/// The wide tables of one asset type. A row of each is a fixed number of 64-bit words.
///
/// With `n` metrics (measured, then derived), `k` numeric metrics, `p` health parts and `r`
/// threshold rules, all in document order, the words of a row are:
///
/// * `Latest`, key asset: per metric `value, event_time, quality`; event time `i64::MIN` while
///   there is no point.
/// * `Health`, key asset: `event_time, score (f64, NaN when unknown)`, then `p` parts (f64, NaN
///   when the input is missing).
/// * `Thresholds`, key asset: per rule `level (0 normal, 1 warning, 2 critical), since,
///   transitions`; since `i64::MIN` while nothing was evaluated.
/// * `Rollups`, key (asset, window start): `revision`, then per numeric metric `count, sum, min,
///   max, first, last` (count u64, others f64). Revision 0 is provisional, 1 settled, 1 + n
///   revised n times after it settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// The newest point of each metric.
    Latest,
    /// The health at the newest event time.
    Health,
    /// The threshold levels after the newest event time.
    Thresholds,
    /// Aggregates of tumbling windows.
    Rollups(Window),
}

/// Rows of a wide table that are new or replace the row of the same key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upserts {
    /// The type whose table it is.
    pub asset_type: TypeId,
    /// Which table.
    pub table: Table,
    /// Number of words a row.
    pub stride: usize,
    /// First half of the keys: dense asset ids.
    pub assets: Vec<u32>,
    /// Second half of the keys: window starts in microseconds; empty where the table has none.
    pub windows: Vec<i64>,
    /// `stride` words a row.
    pub words: Vec<u64>,
}

/// The words go to the next epoch's rows: see [`crate::model::spare`].
impl Drop for Upserts {
    fn drop(&mut self) {
        spare::give_back(std::mem::take(&mut self.words));
    }
}

/// An event: an event rule's condition had its edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventRow {
    /// The asset's key.
    pub asset: Arc<str>,
    /// The rule's id.
    pub rule: Arc<str>,
    /// What the rule calls such an event.
    pub event_type: Arc<str>,
    /// `info`, `warning` or `critical`.
    pub severity: Arc<str>,
    /// Event time in microseconds at which the rule fired.
    pub event_time: i64,
    /// The rendered message.
    pub message: Arc<str>,
    /// Whether the rule's cooldown was still running: kept, but nobody is told.
    pub suppressed: bool,
}

/// One stay of a threshold rule at a level, from its raising on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Occurrence {
    /// The asset's key.
    pub asset: Arc<str>,
    /// The rule's id.
    pub rule: Arc<str>,
    /// `warning` or `critical`.
    pub level: Arc<str>,
    /// When the condition began, microseconds.
    pub since: i64,
    /// `since` plus the on-delay.
    pub raised: i64,
    /// When the condition ended; `None` while it holds.
    pub condition_end: Option<i64>,
    /// `condition_end` plus the off-delay; `None` while raised.
    pub cleared: Option<i64>,
}

/// A data error: an expression could not be computed for a row. Retracted when the data is mended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ErrorRow {
    /// The asset's key.
    pub asset: Arc<str>,
    /// The derived metric or rule whose expression failed.
    pub source: Arc<str>,
    /// Event time of the row in microseconds.
    pub event_time: i64,
    /// What went wrong.
    pub message: Arc<str>,
}

/// How many assets of a type are in a health band, and the worst score among them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FleetHealthRow {
    /// The asset type's key.
    pub asset_type: Arc<str>,
    /// The band's name.
    pub band: Arc<str>,
    /// Number of assets.
    pub assets: u64,
    /// The lowest score, as the bits of an f64.
    pub worst_score_bits: u64,
}

/// How many assets are at a level of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FleetThresholdRow {
    /// The rule's id.
    pub rule: Arc<str>,
    /// `normal`, `warning` or `critical`.
    pub level: Arc<str>,
    /// Number of assets.
    pub assets: u64,
}

/// What became of the points of one message, told only where not all were new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The message's ordinal in its frame.
    pub message: u32,
    /// Points that were there already, with the same value and quality.
    pub duplicates: u32,
    /// Points that could not be applied any more: archived and counted, but in no view; or dead
    /// letters where their time has expired.
    pub too_late: u32,
    /// Points of metrics that no asset takes at this epoch: the device has no link, or the
    /// mapping has no such source.
    pub unmapped: u32,
}

/// One thing that changed. `+1` and `-1` are differential's: insert and retract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// Forget the table's rows of the type: its layout changed. All rows follow anew.
    Reset(TypeId, Table),
    /// The source's clock, when it moved on.
    Clock(Timestamp),
    /// Assets that are not there any more, or are of another type now: dense id and key. Their
    /// rows are forgotten, in every table and view, before all else of the epoch.
    Removed(Vec<(u32, Arc<str>)>),
    /// New contents of rows of a wide table.
    Upserts(Upserts),
    /// Points that were accepted: new keys and corrections. Duplicates are not here.
    Telemetry(Rows),
    /// Keys among accepted points whose older value was replaced:
    /// `(type, asset, slot, event time)`.
    Superseded(Vec<(TypeId, u32, u32, i64)>),
    /// Keys of accepted points that were deleted: all their values up to and with this epoch.
    Deleted(Vec<(TypeId, u32, u32, i64)>),
    /// Assets to which points came that belong before what is in memory, and the archived points
    /// that they need before these can take effect. A request takes the place of the asset's one
    /// before.
    Wanted(Vec<PageRequest>),
    /// Assets whose request is settled.
    Paged(Vec<u32>),
    /// What became of edits.
    Edits(Vec<EditRow>),
    /// Events.
    Events(Vec<(EventRow, i64)>),
    /// Threshold occurrences.
    Occurrences(Vec<(Occurrence, i64)>),
    /// Data errors.
    Errors(Vec<(ErrorRow, i64)>),
    /// Fleet health.
    FleetHealth(Vec<(FleetHealthRow, i64)>),
    /// Fleet thresholds.
    FleetThresholds(Vec<(FleetThresholdRow, i64)>),
    /// Catalog documents.
    Documents(Vec<(Document, i64)>),
    /// The documents of a frame as they were published, deletions too, in their order. Told only
    /// where several processes run one graph: only so do those without them in their logs know.
    Published(Vec<Document>),
    /// The state after this epoch is to be saved; the tick of its frame.
    Marked(Timestamp),
    /// Old telemetry has expired: no point of it is taken after this epoch.
    Expired(Expiry),
    /// What was refused.
    DeadLetters(Vec<DeadLetter>),
    /// What became of messages whose points were not all new.
    Outcomes(Vec<Outcome>),
}

/// What comes out of the dataflow.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Something changed at an epoch. Changes of one epoch may come in any order, and are
    /// complete when the frontier has passed the epoch.
    Change(Epoch, Change),
    /// Nothing more will change before this epoch.
    Frontier(Epoch),
}
