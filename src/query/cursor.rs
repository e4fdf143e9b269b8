//! Answers that are read piece by piece, with pauses in between as long as the reader likes, up to a
//! limit.
//!
//! All pieces are of the one epoch at which the question was asked. Between two of them nothing runs
//! and no turn is taken; what the query has in memory stays there. Each piece waits for a turn and
//! has the time of a query for itself.

use super::answer::too_slow;
use super::error::Error;
use super::front::{Inner, Query, Streamed};
use super::limits::Limits;
use super::postgres::{Question, Values};
use super::{named, statement};
use crate::model::Epoch;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// A piece ends when it has so many bytes, though more rows were wanted.
const PIECE_BYTES: usize = 4 << 20;

/// Where a reader is in an answer. Dropping it ends the query.
#[derive(Debug)]
pub struct Cursor {
    schema: SchemaRef,
    epoch: Epoch,
    asks: mpsc::Sender<Ask>,
    limits: Limits,
    state: State,
}

/// How far an answer was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Up to the next piece.
    Open,
    /// To its end.
    Ended,
    /// Something went wrong on the way, or somebody stopped waiting for a piece.
    Broken,
}

/// Rows of an answer that come together.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The rows, in order.
    pub batches: Vec<RecordBatch>,
    /// Whether there are no more.
    pub last: bool,
}

/// So many rows are wanted within a time.
#[derive(Debug)]
struct Ask {
    rows: usize,
    time: Duration,
    answer: oneshot::Sender<Result<Piece, Error>>,
}

impl Query {
    /// Asks a query whose answer is read piece by piece. The limits are those of [`Query::sql`] and
    /// [`Limits::cursors`].
    pub async fn cursor(&self, text: &str) -> Result<Cursor, Error> {
        let text = text.to_owned();
        self.open(move |inner| async move {
            let asked = statement::read(&text, &inner.limits)?;
            inner.plan(asked, named::Values::default()).await
        })
        .await
    }

    /// The same for a question in PostgreSQL's words.
    pub async fn cursor_postgres(
        &self,
        question: &Arc<Question>,
        values: Values,
    ) -> Result<Cursor, Error> {
        let question = Arc::clone(question);
        self.open(move |inner| async move { inner.ask(&question, values).await }).await
    }

    async fn open<F, P>(&self, plan: F) -> Result<Cursor, Error>
    where
        F: FnOnce(Arc<Inner>) -> P,
        P: Future<Output = Result<Streamed, Error>> + Send + 'static,
    {
        let limits = self.limits().clone();
        let place = Arc::clone(&self.inner.cursors).try_acquire_owned().map_err(|_| {
            let message = format!("{} answers are read piece by piece", limits.cursors);
            Error::limit(message, "read one to its end, close one, or try again later")
        })?;
        let ((stream, epoch), turn) = self.turn(limits.time, plan).await?;
        drop(turn);
        let (schema, idle) = (stream.schema(), limits.cursor_idle);
        let (asks, wanted) = mpsc::channel(1);
        let turns = Arc::clone(&self.inner.permits);
        let reader = Reader { stream, rest: None, rows: 0, rows_max: limits.rows };
        self.runtime()?.spawn(serve(reader, wanted, turns, (idle, place)));
        Ok(Cursor { schema, epoch, asks, limits, state: State::Open })
    }
}

impl Cursor {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The epoch that all pieces are of.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// At most so many rows more, fewer when they are many bytes or there are no more; within a time,
    /// or that of a query when that is shorter. After an error there are no more. Whoever stops
    /// waiting ends the query.
    pub async fn next(&mut self, rows: usize, time: Duration) -> Result<Piece, Error> {
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Open => {}
            State::Ended => {
                self.state = State::Ended;
                return Ok(Piece { batches: Vec::new(), last: true });
            }
            State::Broken => return Err(Error::failed("the answer broke off: ask again")),
        }
        let (answer, answered) = oneshot::channel();
        let time = time.min(self.limits.time);
        // When nobody takes it, nobody answers either.
        let _ = self.asks.send(Ask { rows, time, answer }).await;
        let piece = answered.await.map_err(|_| {
            let message = format!("nothing was read for {} s", self.limits.cursor_idle.as_secs());
            Error::limit(message, "read on sooner, or ask again")
        })??;
        self.state = if piece.last { State::Ended } else { State::Open };
        Ok(piece)
    }
}

/// Reads what is asked for, until the end or until nobody has asked for too long.
async fn serve(
    mut reader: Reader,
    mut asks: mpsc::Receiver<Ask>,
    turns: Arc<Semaphore>,
    (idle, _place): (Duration, OwnedSemaphorePermit),
) {
    while let Ok(Some(Ask { rows, time, mut answer })) = timeout(idle, asks.recv()).await {
        let reading = async {
            let _turn = turns.acquire().await.map_err(Error::failed)?;
            reader.piece(rows).await
        };
        let piece = tokio::select! {
            piece = timeout(time, reading) => piece,
            () = answer.closed() => return,
        };
        let piece = piece.unwrap_or_else(|_| Err(too_slow(time.as_secs_f64())));
        let more = piece.as_ref().is_ok_and(|piece| !piece.last);
        if answer.send(piece).is_err() || !more {
            return;
        }
    }
}

/// The rows of an answer, and how far they were read.
struct Reader {
    stream: SendableRecordBatchStream,
    /// What was read and not wanted yet.
    rest: Option<RecordBatch>,
    rows: usize,
    rows_max: usize,
}

impl Reader {
    async fn piece(&mut self, rows: usize) -> Result<Piece, Error> {
        let (mut batches, mut left, mut bytes) = (Vec::new(), rows, 0);
        while left > 0 && bytes < PIECE_BYTES {
            let Some(batch) = self.batch().await? else { break };
            let taken = batch.slice(0, left.min(batch.num_rows()));
            let rest = batch.slice(taken.num_rows(), batch.num_rows() - taken.num_rows());
            self.rest = (rest.num_rows() > 0).then_some(rest);
            left -= taken.num_rows();
            bytes += taken.get_array_memory_size();
            batches.push(taken);
        }
        if self.rest.is_none() {
            self.rest = self.batch().await?;
        }
        self.rows += rows - left;
        if self.rows > self.rows_max {
            let message = format!("more than {} rows", self.rows_max);
            return Err(Error::limit(message, "add LIMIT, filter, or aggregate"));
        }
        Ok(Piece { batches, last: self.rest.is_none() })
    }

    /// The next rows, if there are any.
    async fn batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        while let Some(batch) = self.stream.next().await {
            let batch = batch.map_err(|error| Error::from_datafusion(&error))?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}
