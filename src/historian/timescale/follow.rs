//! How the sink hears of views, without knowing them.

use crate::model::Epoch;
use arrow::array::RecordBatch;
use futures::stream::BoxStream;
use std::sync::Arc;

/// What a followed view tells, in this order.
#[derive(Clone, Debug)]
pub enum Told {
    /// What files do not have any more that had it at an epoch.
    Gone(Epoch, Gone),
    /// Rows of a file of a later epoch.
    Filed(Epoch, RecordBatch),
    /// That was all of files up to this epoch.
    Reached(Epoch),
    /// All other rows at an epoch.
    Whole(Epoch, Vec<RecordBatch>),
    /// Rows that came and went at an epoch, told apart by the column `diff`.
    Changed(Epoch, RecordBatch),
}

/// Rows that files do not have any more; those of them that are there are told.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    /// Rows.
    pub rows: Vec<RecordBatch>,
    /// All rows of these assets.
    pub assets: Vec<String>,
}

/// A view that can be followed.
pub trait Follow: Send + Sync {
    /// The view as a whole but for what was in files at an epoch and is so still, then its changes.
    /// The stream ends when it is not read quickly enough: then the view is followed anew. The error
    /// says what went wrong.
    fn follow(&self, after: Epoch) -> BoxStream<'static, Result<Told, String>>;
}

/// The views of which the database has tables. They are asked from time to time: what changes more
/// often than that is written once.
pub trait Ask: Send + Sync {
    /// The epoch at which the views are.
    fn epoch(&self) -> Epoch;

    /// What has changed in a view after an epoch; `None` when nothing has. After epoch 0 it is all of
    /// the view. The error says what went wrong.
    fn changed(&self, view: &str, after: Epoch) -> Result<Option<Changes>, String>;
}

/// What has changed in a view after an epoch.
pub struct Changes {
    /// The epoch at which a table has the view, some rows as they are later, when all of this was
    /// written.
    pub epoch: Epoch,
    /// Rows that are not there any more, before the others come.
    pub ended: Option<Ended>,
    /// Rows that are new or differ, perhaps among others, with a last column `epoch`. They are made
    /// as they are asked for, a limited number at a time. Of a row that comes twice the later one
    /// holds.
    pub rows: Box<dyn Iterator<Item = Result<RecordBatch, String>>>,
}

/// Rows that are not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All that do not come.
    Others,
    /// These at most; those of them that are there come.
    Windows {
        /// Assets of which nothing is there.
        assets: Vec<Arc<str>>,
        /// Asset types and a metric of each, or all.
        metrics: Vec<(Arc<str>, Option<Arc<str>>)>,
        /// Assets and starts of windows, in microseconds since 1970.
        windows: Vec<(Arc<str>, i64)>,
        /// All metrics that windows may be of.
        of: Vec<String>,
    },
}
