//! Pages: the points of an asset that left memory, brought back for what came late.

use super::ids::TypeId;
use super::time::Epoch;
use std::sync::Arc;

/// Which archived points an asset needs before late ones can be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The asset's dense id.
    pub asset: u32,
    /// Its type.
    pub asset_type: TypeId,
    /// Its key.
    pub key: Arc<str>,
    /// The first event time, microseconds.
    pub from: i64,
    /// The last event time: everything behind it is in memory.
    pub to: i64,
}

/// A request that is answered. It takes effect after the rows and the edits of its frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// What was asked for.
    pub request: PageRequest,
    /// Only points of epochs after this one are the asset's: before it the key was another's.
    pub after: Epoch,
    /// The newest value of each key before the frame's epoch. `None` when there are more than a
    /// page may have: then what came late counts in no view. The log does not hold the points;
    /// whoever reads it asks the archive again.
    pub points: Option<PagePoints>,
}

/// Points of one asset, column by column, each key once, in no order that matters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PagePoints {
    /// Names of metrics.
    pub names: Vec<Arc<str>>,
    /// The metric of each point, as a place in `names`.
    pub metrics: Vec<u32>,
    /// Event times in microseconds.
    pub times: Vec<i64>,
    /// Numbers; what stands at a text means nothing.
    pub values: Vec<f64>,
    /// Texts; empty when there are none at all.
    pub texts: Vec<Option<Arc<str>>>,
    /// Status codes.
    pub quality: Vec<u32>,
}

impl PagePoints {
    /// The number of points.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}
