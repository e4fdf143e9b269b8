//! Points as telemetry has them, and which of them came too late.

use super::history::History;
use crate::model::{DataType, Quality, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A point that was archived. Its metric goes by name: which place it has in a row, and whether
/// it has one at all, is a matter of the version in force.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub epoch: u64,
    pub event_time: i64,
    pub metric: Arc<str>,
    pub number: Option<f64>,
    pub text: Option<Arc<str>>,
    pub quality: Quality,
}

impl Accepted {
    /// The value as one of this type; `None` when it is none.
    pub(super) fn value(&self, data_type: DataType) -> Option<Value> {
        Some(match data_type {
            DataType::Double => Value::Double(self.number?),
            DataType::Integer => Value::Integer(self.number? as i64),
            DataType::Bool => Value::Bool(self.number? != 0.0),
            DataType::String => Value::String(self.text.as_deref()?.into()),
        })
    }
}

/// Leaves out the points that came too late for the views: those older than the newest point of
/// earlier epochs by more than the hot horizon of the version that is in force at that newest
/// point. Returns how many those are.
///
/// `hidden` are the newest event times of epochs, points included that do not count any more: what
/// came too late for a point that was deleted afterwards came too late.
pub(super) fn drop_late(
    points: &mut Vec<Accepted>,
    hidden: &BTreeMap<u64, i64>,
    history: &History,
) -> usize {
    points.sort_by_key(|point| point.epoch);
    let all = points.len();
    let mut hidden = hidden.iter().peekable();
    let (mut newest_before, mut newest, mut epoch) = (None, None, None);
    points.retain(|point| {
        if epoch != Some(point.epoch) {
            while let Some((_, time)) = hidden.next_if(|(epoch, _)| **epoch < point.epoch) {
                newest = newest.max(Some(*time));
            }
            (epoch, newest_before) = (Some(point.epoch), newest);
        }
        newest = newest.max(Some(point.event_time));
        newest_before.is_none_or(|newest: i64| {
            let era = history.eras()[history.era_at(newest)];
            let horizon = history.version(era).rules.document.time.hot_horizon.0;
            point.event_time >= newest.saturating_sub(horizon)
        })
    });
    all - points.len()
}
