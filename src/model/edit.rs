//! Edits: deletions and corrections of accepted points that somebody asked for.

use super::ids::TypeId;
use super::quality::Quality;
use super::time::Timestamp;
use super::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One request to delete or correct points of one asset. It is carried out wholly or refused
/// wholly, and either way [`EditRow`]s tell of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// Unique, given by the door.
    pub id: Arc<str>,
    /// When a door took it.
    pub received_at: Timestamp,
    /// The asset's dense id.
    pub asset: u32,
    /// The asset's type when the door took it.
    pub asset_type: TypeId,
    /// The asset's key.
    pub key: Arc<str>,
    /// Why, in the words of the one who asked.
    pub reason: Arc<str>,
    /// Who asked, when that was told.
    pub user: Option<Arc<str>>,
    /// What is to be done.
    pub action: Action,
}

/// What an edit does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Retracts the points of these metrics at event times in `[from, to)`.
    Delete {
        /// Measured metrics of the asset, each once.
        metrics: Vec<Arc<str>>,
        /// The first event time.
        from: Timestamp,
        /// The first event time behind the range.
        to: Timestamp,
    },
    /// Gives points that are there another value or quality.
    Correct {
        /// The points as they are to be.
        points: Vec<Corrected>,
    },
}

/// A point as it is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Corrected {
    /// A measured metric of the asset.
    pub metric: Arc<str>,
    /// The event time of the point.
    pub event_time: Timestamp,
    /// The value, in the asset's unit and of the metric's type.
    pub value: Value,
    /// The quality.
    pub quality: Quality,
    /// The dense id of the device that had sent the point.
    pub device: u32,
}

/// What became of an edit: a row for each metric of a deletion, or for each corrected point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EditRow {
    /// When a door took it, microseconds.
    pub received_at: i64,
    /// The edit.
    pub id: Arc<str>,
    /// The asset's key.
    pub asset: Arc<str>,
    /// The metric.
    pub metric: Arc<str>,
    /// First event time, or that of the corrected point, microseconds.
    pub from: i64,
    /// The first event time behind the range; `None` of a correction.
    pub to: Option<i64>,
    /// Points that were deleted or corrected: 0 where nothing was there.
    pub points: u64,
    /// Why it was refused; `None` when it was carried out.
    pub refused: Option<EditRefusal>,
    /// Why it was asked for.
    pub reason: Arc<str>,
    /// Who asked.
    pub user: Option<Arc<str>>,
}

/// Why an edit was refused; nothing of it was carried out then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EditRefusal {
    /// Points before this event time (microseconds) are not in memory row by row any more, so
    /// that views could not be recomputed exactly.
    TooEarly(i64),
    /// The asset's type measures no such metric at this epoch.
    UnknownMetric(Arc<str>),
    /// There is no such point to correct: metric and event time in microseconds.
    NoPoint(Arc<str>, i64),
    /// More points than a deletion may have.
    TooMany(u64),
}

impl Edit {
    /// The most points that one deletion takes; larger ones are refused.
    pub const POINTS_MAX: u64 = 100_000;

    /// The first event time that it is about, microseconds.
    pub fn first(&self) -> i64 {
        match &self.action {
            Action::Delete { from, .. } => from.0,
            Action::Correct { points } => {
                points.iter().map(|point| point.event_time.0).min().unwrap_or(i64::MAX)
            }
        }
    }

    /// About how many bytes it takes, a little more rather than less.
    pub fn bytes(&self) -> usize {
        let user = self.user.as_ref().map_or(0, |user| user.len());
        let action = match &self.action {
            Action::Delete { metrics, .. } => metrics.iter().map(|metric| 4 + metric.len()).sum(),
            Action::Correct { points } => {
                let text = |value: &Value| match value {
                    Value::String(text) => text.len(),
                    _ => 0,
                };
                points
                    .iter()
                    .map(|point| 40 + point.metric.len() + text(&point.value))
                    .sum::<usize>()
            }
        };
        64 + self.id.len() + self.key.len() + self.reason.len() + user + action
    }

    /// The rows that tell what became of it: `points` for each metric or each corrected point.
    pub fn rows(&self, outcome: Result<Vec<u64>, EditRefusal>) -> Vec<EditRow> {
        let (points, refused) = match outcome {
            Ok(points) => (points, None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        let row = |i: usize, metric: &Arc<str>, from: Timestamp, to: Option<Timestamp>| EditRow {
            received_at: self.received_at.0,
            id: Arc::clone(&self.id),
            asset: Arc::clone(&self.key),
            metric: Arc::clone(metric),
            from: from.0,
            to: to.map(|to| to.0),
            points: points.get(i).copied().unwrap_or(0),
            refused: refused.clone(),
            reason: Arc::clone(&self.reason),
            user: self.user.clone(),
        };
        match &self.action {
            Action::Delete { metrics, from, to } => {
                let rows = metrics.iter().enumerate();
                rows.map(|(i, metric)| row(i, metric, *from, Some(*to))).collect()
            }
            Action::Correct { points } => {
                let rows = points.iter().enumerate();
                rows.map(|(i, point)| row(i, &point.metric, point.event_time, None)).collect()
            }
        }
    }
}

impl std::fmt::Display for EditRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooEarly(earliest) => write!(
                f,
                "points before {} are not held row by row any more, so that views could not be \
                 recomputed exactly",
                Timestamp(*earliest)
            ),
            Self::UnknownMetric(metric) => write!(f, "the asset measures no metric '{metric}'"),
            Self::NoPoint(metric, time) => {
                write!(f, "there is no point of '{metric}' at {}", Timestamp(*time))
            }
            Self::TooMany(points) => {
                write!(f, "{points} points at once are more than the limit of {}", Edit::POINTS_MAX)
            }
        }
    }
}
