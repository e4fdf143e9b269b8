//! How the sink hears of the view `events`, without knowing the views.

use crate::model::Epoch;
use arrow::array::RecordBatch;
use futures::stream::BoxStream;

/// What a followed view tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// All rows at an epoch. Comes first.
    Whole(Epoch, Vec<RecordBatch>),
    /// Rows that came and went at an epoch, told apart by the column `diff`.
    Changed(Epoch, RecordBatch),
}

/// A view that can be followed.
pub trait Follow: Send + Sync {
    /// The view as a whole, then its changes. The stream ends when it is not read quickly enough:
    /// then the view is followed anew.
    fn follow(&self) -> BoxStream<'static, Told>;
}
