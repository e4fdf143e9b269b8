//! Pages: the points of an asset that left memory, brought back for what came late.

use super::ids::TypeId;
use super::time::Epoch;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which archived points an asset needs before what waits at it can take effect; none when only
/// its turn is to come (see [`PageRequest::is_turn`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// About how many rows that are in memory are looked at again with it. Not in the log.
    pub rows: u32,
}

impl PageRequest {
    /// The range of event times of a request for no archived points.
    pub const TURN: (i64, i64) = (i64::MAX, i64::MIN);

    /// Whether no archived points are needed: all rows that are concerned are in memory, and are
    /// looked at again when there is time for it.
    pub fn is_turn(&self) -> bool {
        self.to < self.from
    }
}

/// A request that is answered. It takes effect after the rows and the edits of its frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// What was asked for.
    pub request: PageRequest,
    /// Only points of epochs after this one are the asset's: before it the key was another's.
    pub after: Epoch,
    /// What was found.
    pub content: PageContent,
}

/// What a page brings. The log does not hold points: whoever reads it asks the archive again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PageContent {
    /// As it stands in the log.
    Unread,
    /// More points than a page may have: what came late can count in no view.
    TooMany,
    /// The newest value of each key before the frame's epoch.
    Points(Arc<PagePoints>),
}

/// Points of one asset, column by column, each key once, in no order that matters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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

impl Page {
    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        let points = match &self.content {
            PageContent::Points(points) => points.bytes(),
            PageContent::Unread | PageContent::TooMany => 0,
        };
        size_of::<Self>() + self.request.key.len() + points
    }
}

impl PagePoints {
    /// About how many bytes they take in memory, texts left out.
    pub fn bytes(&self) -> usize {
        let texts = self.texts.capacity() * size_of::<Option<Arc<str>>>();
        self.metrics.capacity() * 4
            + self.times.capacity() * 16
            + self.quality.capacity() * 4
            + texts
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}
