//! The front end: text in, answer out.

use super::answer::{Answer, too_slow};
use super::conservation::{Conservation, Frames, recount};
use super::database::Database;
use super::error::Error;
use super::limits::{Limits, STACK_BYTES};
use super::named::{NamedQuery, Values, plan};
use super::pool::Taken;
use super::postgres;
use super::session::{self, Environment};
use super::source::{SystemTables, ViewSource};
use super::statement::{self, Asked};
use super::tables::Tables;
use super::verify::{Report, carry, verify};
use crate::historian::Historian;
use crate::model::{Document, Epoch, Expiry, Timestamp};
use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SQLOptions, SessionContext};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// Answers SQL over views, telemetry and system tables. Clones share everything.
#[derive(Clone)]
pub struct Query {
    pub(super) inner: Arc<Inner>,
}

/// A question: a text, or a named query with values for its parameters and the time that they are
/// relative to.
pub enum Asking<'a> {
    /// A text.
    Sql(&'a str),
    /// A named query.
    Named(&'a NamedQuery, &'a [(String, String)], Timestamp),
}

/// A question that was read and is answered later.
#[derive(Clone, Debug)]
pub struct Prepared {
    text: String,
    values: Values,
}

pub(super) struct Inner {
    pub tables: Tables,
    pub limits: Limits,
    pub env: Environment,
    pub postgres: postgres::Shared,
    /// Turns to plan and to run.
    pub permits: Arc<Semaphore>,
    /// Places for answers that are read piece by piece.
    pub cursors: Arc<Semaphore>,
    runtime: Option<Runtime>,
}

/// Rows that are on their way, and the epoch that they are of.
pub(super) type Streamed = (SendableRecordBatchStream, Epoch);

impl Query {
    /// A front end with threads of its own. Fails when those cannot be started.
    pub fn new(
        views: Arc<dyn ViewSource>,
        system: Arc<dyn SystemTables>,
        historian: Arc<Historian>,
        limits: Limits,
    ) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(limits.threads)
            .thread_stack_size(STACK_BYTES)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(Error::failed)?;
        let env = Environment::new(&historian, &limits)?;
        let tables = Tables { views, system, historian, database: None };
        let permits = Arc::new(Semaphore::new(limits.concurrent));
        let cursors = Arc::new(Semaphore::new(limits.cursors));
        let (postgres, runtime) = (postgres::Shared::default(), Some(runtime));
        let inner = Inner { tables, limits, env, postgres, permits, cursors, runtime };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same with the tables of a database. Only before anybody else has it.
    pub fn with_database(mut self, database: Arc<dyn Database>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.tables.database = Some(database);
        }
        self
    }

    /// Answers one query. Returns when it is planned; rows are made as the answer is read.
    ///
    /// Waits for its turn when too many queries run. Must be called inside a tokio runtime with a
    /// timer.
    pub async fn sql(&self, text: &str) -> Result<Answer, Error> {
        self.ask(text, Values::default()).await
    }

    /// Answers a named query with these values for its parameters. Times are relative to `now`.
    ///
    /// The limits are those of [`Query::sql`].
    pub async fn named(
        &self,
        query: &NamedQuery,
        given: &[(String, String)],
        now: Timestamp,
    ) -> Result<Answer, Error> {
        self.ask(&query.text, Values::of(query, given, now)?).await
    }

    /// Reads a question that is to be answered later, and refuses what is no query.
    pub fn prepare(&self, asked: Asking<'_>) -> Result<Prepared, Error> {
        let (text, values) = match asked {
            Asking::Sql(text) => (text, Values::default()),
            Asking::Named(query, given, now) => {
                (query.text.as_str(), Values::of(query, given, now)?)
            }
        };
        statement::read(text, &self.inner.limits)?;
        Ok(Prepared { text: text.to_owned(), values })
    }

    /// Answers a prepared question within other limits on time and rows; all others hold.
    pub async fn at_length(
        &self,
        prepared: Prepared,
        time: Duration,
        rows: usize,
    ) -> Result<Answer, Error> {
        let Prepared { text, values } = prepared;
        let plan = move |inner: Arc<Inner>| async move {
            let asked = statement::read(&text, &inner.limits)?;
            inner.plan(asked, values).await
        };
        self.answer_within(time, rows, plan).await
    }

    async fn ask(&self, text: &str, values: Values) -> Result<Answer, Error> {
        let (text, limits) = (text.to_string(), &self.inner.limits);
        self.at_length(Prepared { text, values }, limits.time, limits.rows).await
    }

    /// Plans in turn, and answers with what the plan makes. The time counts from now to the last
    /// row.
    pub(super) async fn answer<F, P>(&self, time: Duration, plan: F) -> Result<Answer, Error>
    where
        F: FnOnce(Arc<Inner>) -> P,
        P: Future<Output = Result<Streamed, Error>> + Send + 'static,
    {
        self.answer_within(time, self.inner.limits.rows, plan).await
    }

    async fn answer_within<F, P>(
        &self,
        time: Duration,
        rows: usize,
        plan: F,
    ) -> Result<Answer, Error>
    where
        F: FnOnce(Arc<Inner>) -> P,
        P: Future<Output = Result<Streamed, Error>> + Send + 'static,
    {
        let deadline = Instant::now() + time;
        let ((stream, epoch), permit) = self.turn(time, plan).await?;
        let limits = Limits { time, rows, ..self.inner.limits.clone() };
        Ok(Answer::start(self.runtime()?.handle(), stream, epoch, &limits, (deadline, permit)))
    }

    /// Waits for a turn, and works on the threads of queries, all of it within a time. Ends the work
    /// when nobody waits for it any more.
    pub(super) async fn turn<F, P, T>(
        &self,
        time: Duration,
        work: F,
    ) -> Result<(T, OwnedSemaphorePermit), Error>
    where
        F: FnOnce(Arc<Inner>) -> P,
        P: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let deadline = Instant::now() + time;
        let late = || too_slow(time.as_secs_f64());
        let permit = timeout_at(deadline, Arc::clone(&self.inner.permits).acquire_owned());
        let permit = permit.await.map_err(|_| late())?.map_err(Error::failed)?;
        let working = self.runtime()?.spawn(work(Arc::clone(&self.inner)));
        let _stop = Stop(working.abort_handle());
        let done = timeout_at(deadline, working).await.map_err(|_| late())?;
        Ok((done.map_err(|error| Error::failed(format!("planning: {error}")))??, permit))
    }

    /// The threads of queries.
    pub(super) fn runtime(&self) -> Result<&Runtime, Error> {
        self.inner.runtime.as_ref().ok_or_else(|| Error::failed("closed"))
    }

    /// What queries may take.
    pub(super) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// All rows of some views at one epoch, those in files too; to be read one after the other. The
    /// limits on memory are those of a query, time and rows are not limited.
    pub async fn whole(
        &self,
        views: &[&str],
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch, Error>>>, Error> {
        let failed = |error| Error::from_datafusion(&error);
        let inner = &self.inner;
        let tables = views.iter().map(|name| (*name).to_owned()).collect();
        let asked = Asked { tables, ..statement::read("SELECT 1", &inner.limits)? };
        let (context, _, taken) =
            session::open(&inner.tables, &inner.env, &inner.limits, &asked).await?;
        let taken = Arc::new(taken);
        let mut streams = Vec::new();
        for view in views {
            let frame = context.table(*view).await.map_err(failed)?;
            let stream = frame.execute_stream().await.map_err(failed)?;
            let taken = Arc::clone(&taken);
            let stream = stream.inspect(move |_| _ = &taken);
            streams.push(stream.map(move |batch| batch.map_err(failed)).boxed());
        }
        Ok(streams)
    }

    /// The memory that all queries have taken, and may take, in bytes.
    pub fn memory(&self) -> (usize, usize) {
        self.inner.env.memory.taken()
    }

    /// Recomputes every view from `telemetry` and compares, at one epoch. `documents` are all
    /// versions of asset types in the order in which they were published, and the current
    /// documents of the other kinds.
    ///
    /// Reads all of telemetry, so it takes its time, which is not limited; memory is that of the
    /// views and of the series of some hundred assets.
    pub async fn verify(&self, documents: Vec<Document>) -> Result<Report, Error> {
        let inner = Arc::clone(&self.inner);
        let task = self.runtime()?.spawn(async move {
            verify(&inner.tables, &inner.env, &inner.limits, &documents).await
        });
        task.await.map_err(|error| Error::failed(format!("verifying: {error}")))?
    }

    /// What has to be known of telemetry that expires when it is removed, so that views can be verified
    /// afterwards. `documents` are those that [`Query::verify`] takes. Reads all telemetry that expires.
    /// Blocks.
    pub fn carry(&self, expiry: Expiry, documents: Vec<Document>) -> Result<Vec<u8>, Error> {
        let inner = Arc::clone(&self.inner);
        let task = self.runtime()?.spawn(async move {
            carry(&inner.tables, &inner.env, &inner.limits, expiry, &documents).await
        });
        let carried = futures::executor::block_on(task);
        carried.map_err(|error| Error::failed(format!("noting what expires: {error}")))?
    }

    /// Recounts from the log that every accepted point is in `telemetry` exactly once.
    ///
    /// Reads all of the log and of telemetry, once for each four million keys, so that it takes
    /// some 200 MiB of memory. Fails when the log does not reach back to its first document.
    pub async fn conservation(&self, frames: Frames) -> Result<Conservation, Error> {
        let inner = Arc::clone(&self.inner);
        let task = self
            .runtime()?
            .spawn(async move { recount(&inner.tables, &inner.env, &inner.limits, frames).await });
        task.await.map_err(|error| Error::failed(format!("recounting: {error}")))?
    }
}

impl Inner {
    pub async fn plan(&self, asked: Asked, values: Values) -> Result<Streamed, Error> {
        let opened = session::open(&self.tables, &self.env, &self.limits, &asked).await?;
        let (context, epoch, taken) = opened;
        let plan = plan(&context, asked, values).await?;
        stream(&context, plan, epoch, taken).await
    }
}

/// Runs a plan. The rows of the views are there as long as the stream is.
pub(super) async fn stream(
    context: &SessionContext,
    plan: LogicalPlan,
    epoch: Epoch,
    taken: Taken,
) -> Result<Streamed, Error> {
    let failed = |error| Error::from_datafusion(&error);
    let frame = context.execute_logical_plan(plan).await.map_err(failed)?;
    let stream = frame.execute_stream().await.map_err(failed)?;
    let rows = stream.schema();
    let stream = stream.inspect(move |_| _ = &taken);
    Ok((Box::pin(RecordBatchStreamAdapter::new(rows, stream)), epoch))
}

/// Refuses a plan that would write.
pub(super) fn read_only(plan: &LogicalPlan) -> Result<(), Error> {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(plan)
        .map_err(|error| Error::refused(error.strip_backtrace(), "only queries are answered"))
}

/// Ends a task when it is dropped.
struct Stop(AbortHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Inner {
    /// Ends running queries without waiting for them: this may be called from async code.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
