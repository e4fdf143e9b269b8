//! A subscription: a snapshot, then what changes, epoch by epoch.

use super::filed::InFiles;
use super::queue::Queue;
use crate::model::Epoch;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::sync::{Arc, OnceLock};

/// A view at one epoch, and every change after it.
///
/// Applying the batches to the snapshot, and to what had left memory, gives the view's contents at each
/// batch's epoch. Dropping
/// the subscription ends it.
pub struct Subscription {
    /// The epoch of the snapshot.
    pub epoch: Epoch,
    /// The columns of the snapshot.
    pub schema: SchemaRef,
    /// The columns of the batches: those of the snapshot, then `diff` or `op`.
    pub delta_schema: SchemaRef,
    /// The rows in memory at that epoch.
    pub snapshot: Vec<RecordBatch>,
    /// What had left memory at that epoch; it is not in the snapshot, but what changes of it is told.
    pub archived: Option<Arc<dyn InFiles>>,
    pub(super) queue: Arc<Queue>,
}

/// What a subscriber is told. Epochs never go back.
#[derive(Clone, Debug)]
pub enum Message {
    /// All rows that changed at one epoch. Shared with other subscribers of the same view, filter
    /// and envelope.
    Batch(Arc<Delta>),
    /// Nothing before or at this epoch will be told any more.
    Progress(Epoch),
    /// The last message.
    Closed(Closed),
}

/// What changed at one epoch.
#[derive(Debug)]
pub struct Delta {
    /// When.
    pub epoch: Epoch,
    /// The changed rows.
    pub rows: RecordBatch,
    texts: OnceLock<Vec<String>>,
}

/// Why a subscription ended, and how to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The last epoch that was told.
    pub epoch: Epoch,
    /// What happened.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

impl Subscription {
    /// The next message; `None` after [`Message::Closed`]. Nothing is lost when the future is
    /// dropped before it is ready.
    pub async fn next(&mut self) -> Option<Message> {
        self.queue.next().await
    }
}

impl Delta {
    pub(super) fn new(epoch: Epoch, rows: RecordBatch) -> Self {
        Self { epoch, rows, texts: OnceLock::new() }
    }

    /// The rows as text, in parts. The first caller's `encode` makes it, all later callers share
    /// the result: there is one text form.
    pub fn texts(&self, encode: impl FnOnce(&RecordBatch) -> Vec<String>) -> &[String] {
        self.texts.get_or_init(|| encode(&self.rows))
    }
}

impl Message {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Batch(delta) => delta.rows.get_array_memory_size(),
            Self::Progress(_) => size_of::<Self>(),
            Self::Closed(closed) => closed.reason.len() + closed.hint.len(),
        }
    }
}
