//! The answer to a query: batches as they come, until the rows or the time run out.

use super::error::Error;
use super::limits::Limits;
use crate::model::Epoch;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// Batches that may wait for a slow reader.
const QUEUE_BATCHES: usize = 4;

/// Rows of an answer, in order. Dropping it ends the query.
#[derive(Debug)]
pub struct Answer {
    schema: SchemaRef,
    epoch: Epoch,
    batches: mpsc::Receiver<Result<RecordBatch, Error>>,
    running: AbortHandle,
    deadline: Instant,
    seconds: f64,
    ended: bool,
}

impl Answer {
    pub(super) fn start(
        runtime: &Handle,
        stream: SendableRecordBatchStream,
        epoch: Epoch,
        limits: &Limits,
        (deadline, permit): (Instant, OwnedSemaphorePermit),
    ) -> Self {
        let (sender, batches) = mpsc::channel(QUEUE_BATCHES);
        let (schema, rows) = (stream.schema(), limits.rows);
        let seconds = limits.time.as_secs_f64();
        let forward = async move {
            let in_time = timeout_at(deadline, forward(stream, &sender, rows)).await;
            // Others get their turn also while a reader takes none of the rows that wait for it.
            drop(permit);
            if in_time.is_err() {
                // Nobody is there any more to hear it.
                let _ = sender.send(Err(too_slow(seconds))).await;
            }
        };
        let running = runtime.spawn(forward).abort_handle();
        Self { schema, epoch, batches, running, deadline, seconds, ended: false }
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// The epoch that all tables of the query are at.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next batch; `None` after the last one and after an error.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, Error>> {
        if self.ended {
            return None;
        }
        let next = match timeout_at(self.deadline, self.batches.recv()).await {
            Ok(next) => next,
            Err(_) => Some(Err(too_slow(self.seconds))),
        };
        self.ended = !matches!(next, Some(Ok(_)));
        if self.ended {
            self.running.abort();
        }
        next
    }

    /// All batches.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    /// The batches as a stream, which may be asked again after its end.
    pub fn into_stream(self) -> impl Stream<Item = Result<RecordBatch, Error>> + Send {
        let batches = futures::stream::unfold(self, |mut answer| async move {
            let batch = answer.next().await?;
            Some((batch, answer))
        });
        batches.fuse()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The time is up.
pub(super) fn too_slow(seconds: f64) -> Error {
    let hint = "filter by event_time or asset, or join on fewer rows";
    Error::limit(format!("no answer within {seconds} s"), hint)
}

async fn forward(
    mut stream: SendableRecordBatchStream,
    sender: &mpsc::Sender<Result<RecordBatch, Error>>,
    rows_max: usize,
) {
    let mut rows = 0;
    while let Some(next) = stream.next().await {
        let next = next.map_err(|error| Error::from_datafusion(&error));
        let failed = next.is_err();
        rows += next.as_ref().map_or(0, RecordBatch::num_rows);
        let next = match rows > rows_max {
            true => Err(Error::limit(
                format!("more than {rows_max} rows"),
                "add LIMIT, filter, or aggregate",
            )),
            false => next,
        };
        if sender.send(next).await.is_err() || failed || rows > rows_max {
            return;
        }
    }
}
