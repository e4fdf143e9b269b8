//! What goes into the committer and what comes back.

use crate::model::{
    Batch, DeadLetter, Document, Edit, Epoch, Expiry, Kind, METRICS_FROM, NewDocument, Page,
    Timestamp,
};
use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType as Arrow;
use std::sync::Arc;
use std::time::Duration;

/// What one door wants to be committed together: all of it lands in one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Submission {
    /// Catalog documents to publish or delete, in this order.
    pub documents: Vec<NewDocument>,
    /// Telemetry. Message ordinals are counted from 0 and smaller than `messages`.
    pub batches: Vec<Batch>,
    /// What was refused at the door.
    pub dead_letters: Vec<DeadLetter>,
    /// Deletions and corrections of accepted points, in this order.
    pub edits: Vec<Edit>,
    /// Archived points of assets that late ones wait for.
    pub pages: Vec<Page>,
    /// Telemetry that is not kept any more.
    pub expiry: Option<Expiry>,
    /// Number of message ordinals that are used.
    pub messages: u32,
    /// The clock of the source, when it is not the wall clock: a replay's recording time.
    pub tick: Option<Timestamp>,
}

/// Where a submission is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The frame's epoch. Of a submission in which nothing was new: the last durable epoch.
    pub epoch: Epoch,
    /// What was added to the submission's message ordinals.
    pub first_message: u32,
}

/// Why a submission was not committed. Unless it says otherwise, nothing of it was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The queue holds all it may: try again later.
    #[error("commit: the queue is full; try again later")]
    Full,
    /// Documents were refused. Those that were not are committed; telemetry and dead letters of
    /// the submission are not.
    #[error("commit: {} of the documents refused: {}", .0.len(), refusals(.0))]
    Refused(Vec<Refusal>),
    /// The disk is full: try again when there is space. Documents that the catalog has taken
    /// already are committed with the next frame that succeeds.
    #[error("commit: no space left on the disk; free some and try again")]
    NoSpace,
    /// The log failed and takes no more until the process is restarted. Whether the submission is
    /// in the log is known after that.
    #[error("commit: {0}")]
    Poisoned(Arc<str>),
    /// The engine is stopping, or has stopped.
    #[error("commit: the engine is stopping")]
    Closed,
    /// More than a frame can hold.
    #[error("commit: {bytes} bytes at once are more than the limit of {limit}; send less at once")]
    TooLarge {
        /// Estimated or encoded size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A batch uses a message ordinal that the submission does not have. A defect of the door.
    #[error("commit: message ordinal {ordinal} in a submission of {messages} messages")]
    Ordinal {
        /// The ordinal.
        ordinal: u32,
        /// What `messages` says.
        messages: u32,
    },
    /// The process that keeps the catalog does not take documents now: try again later.
    #[error("commit: {0}")]
    Away(Arc<str>),
    /// A batch cannot be written. A defect of the door.
    #[error("commit: {0}")]
    Unwritable(Arc<str>),
}

/// A document that the catalog refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its position in the submission.
    pub index: usize,
    /// Its kind.
    pub kind: Kind,
    /// Its key.
    pub key: Arc<str>,
    /// What is wrong with it.
    pub problem: String,
}

/// Checks a document on top of the catalog, gives it its id and version and applies it; `None`
/// when it changes nothing. The time is the tick of the frame that the document goes into. Called
/// in the order of the log, by the committer's thread only.
pub type Assign = Box<dyn FnMut(NewDocument, Timestamp) -> Result<Option<Document>, String> + Send>;

/// Called in the committer's thread with the epoch and the tick of each frame that was asked for by
/// [`super::Committer::mark`], when it is durable and before the dataflow gets it. What
/// [`Assign`] has applied by then are the documents up to that epoch.
pub type Marked = Box<dyn FnMut(Epoch, Timestamp) + Send>;

/// The committer's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that may wait or be on their way to the disk. At the limit: [`CommitError::Full`].
    pub queue_bytes: usize,
    /// Submissions that may wait. At the limit: [`CommitError::Full`].
    pub queue_submissions: usize,
    /// A frame takes no further submission once it would hold more bytes than this.
    pub frame_bytes: usize,
    /// Which epochs are this process's.
    pub turn: Turn,
    /// How often a frame without content is written when nothing else is committed; `None` when
    /// ticks come with the submissions.
    pub ticks: Option<Duration>,
}

/// Which epochs are a process's, so that those of several processes never have one in common: those
/// that leave the remainder `process` when they are divided by `processes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The number of processes.
    pub processes: u64,
    /// The number of this one.
    pub process: u64,
    /// The dataflow has heard already that all frames come after this epoch.
    pub passed: Epoch,
}

impl Turn {
    /// The first epoch of this process from that one on.
    pub(super) fn from(self, epoch: Epoch) -> Epoch {
        let Self { processes, process, .. } = self;
        Epoch(epoch.0 + (process + processes - epoch.0 % processes) % processes)
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self { processes: 1, process: 0, passed: Epoch(0) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_bytes: 64 << 20,
            queue_submissions: 1 << 16,
            frame_bytes: 4 << 20,
            turn: Turn::default(),
            ticks: Some(Duration::from_secs(1)),
        }
    }
}

impl Submission {
    /// About how many bytes it takes in the log, a little more rather than less.
    pub(super) fn bytes(&self) -> usize {
        let documents = self.documents.iter().map(|document| {
            64 + document.key.len() + document.body.as_ref().map_or(0, |body| body.len())
        });
        let letters = self.dead_letters.iter().map(|letter| {
            let device = letter.device.as_ref().map_or(0, |device| device.len());
            64 + letter.source.len() + letter.detail.len() + device + letter.raw.len()
        });
        let batches = self.batches.iter().map(batch_bytes);
        let edits = self.edits.iter().map(Edit::bytes);
        let pages = self.pages.iter().map(|page| 64 + page.request.key.len());
        documents.chain(letters).chain(batches).chain(edits).chain(pages).sum()
    }

    /// Whether every row belongs to one of the submission's messages.
    pub(super) fn check_ordinals(&self) -> Result<(), CommitError> {
        for batch in &self.batches {
            let greatest = batch.messages().iter().copied().max();
            if let Some(ordinal) = greatest.filter(|ordinal| *ordinal >= self.messages) {
                return Err(CommitError::Ordinal { ordinal, messages: self.messages });
            }
        }
        Ok(())
    }
}

/// The bytes of a batch's rows: not of the buffers that it may share with other batches.
fn batch_bytes(batch: &Batch) -> usize {
    /// Schema, field nodes and buffer places of a column in an Arrow stream.
    const COLUMN: usize = 128;
    let rows = batch.rows();
    let width = |column: &dyn Array| match column.data_type() {
        Arrow::Utf8 => {
            let offsets = column.as_string::<i32>().value_offsets();
            let text = offsets[offsets.len() - 1] - offsets[0];
            4 * offsets.len() + usize::try_from(text).unwrap_or(0)
        }
        Arrow::Boolean => column.len() / 8,
        Arrow::UInt32 => 4 * column.len(),
        _ => 8 * column.len(),
    };
    let mut bytes = 256;
    for (i, column) in rows.columns().iter().enumerate() {
        let nulls = if i >= METRICS_FROM { column.len() / 8 } else { 0 };
        let name = rows.schema_ref().field(i).name().len();
        bytes += COLUMN + name + nulls + width(column);
    }
    bytes
}

fn refusals(refusals: &[Refusal]) -> String {
    let lines = refusals.iter().map(|r| format!("{} '{}': {}", r.kind, r.key, r.problem));
    lines.collect::<Vec<_>>().join("; ")
}
