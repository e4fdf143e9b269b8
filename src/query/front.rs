//! The front end: text in, answer out.

use super::answer::{Answer, too_slow};
use super::conservation::{Conservation, Frames, recount};
use super::error::Error;
use super::limits::{Limits, STACK_BYTES};
use super::named::{NamedQuery, Values, plan};
use super::session::{self, Environment, Tables};
use super::source::{SystemTables, ViewSource};
use super::statement::{self, Asked};
use super::verify::{Report, verify};
use crate::historian::Historian;
use crate::model::{Document, Epoch, Timestamp};
use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Answers SQL over views, telemetry and system tables. Clones share everything.
#[derive(Clone)]
pub struct Query {
    inner: Arc<Inner>,
}

struct Inner {
    tables: Tables,
    limits: Limits,
    env: Environment,
    permits: Arc<Semaphore>,
    runtime: Option<Runtime>,
}

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
            .enable_time()
            .build()
            .map_err(Error::failed)?;
        let env = Environment::new(&historian, &limits)?;
        let tables = Tables { views, system, historian };
        let permits = Arc::new(Semaphore::new(limits.concurrent));
        Ok(Self { inner: Arc::new(Inner { tables, limits, env, permits, runtime: Some(runtime) }) })
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

    async fn ask(&self, text: &str, values: Values) -> Result<Answer, Error> {
        let inner = Arc::clone(&self.inner);
        let limits = &self.inner.limits;
        let deadline = Instant::now() + limits.time;
        let late = || too_slow(limits.time.as_secs_f64());
        let permit = timeout_at(deadline, Arc::clone(&inner.permits).acquire_owned());
        let permit = permit.await.map_err(|_| late())?.map_err(Error::failed)?;
        let Some(runtime) = &self.inner.runtime else { return Err(Error::failed("closed")) };
        let text = text.to_string();
        let planning = runtime.spawn(async move { inner.plan(&text, values).await });
        let stop = planning.abort_handle();
        let planned = timeout_at(deadline, planning).await;
        let planned = planned.inspect_err(|_| stop.abort()).map_err(|_| late())?;
        let (stream, epoch) =
            planned.map_err(|error| Error::failed(format!("planning: {error}")))??;
        Ok(Answer::start(runtime.handle(), stream, epoch, limits, (deadline, permit)))
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
        let Some(runtime) = &self.inner.runtime else { return Err(Error::failed("closed")) };
        let task = runtime.spawn(async move {
            verify(&inner.tables, &inner.env, &inner.limits, &documents).await
        });
        task.await.map_err(|error| Error::failed(format!("verifying: {error}")))?
    }

    /// Recounts from the log that every accepted point is in `telemetry` exactly once.
    ///
    /// Reads all of the log and of telemetry, once for each four million keys, so that it takes
    /// some 200 MiB of memory. Fails when the log does not reach back to its first document.
    pub async fn conservation(&self, frames: Frames) -> Result<Conservation, Error> {
        let inner = Arc::clone(&self.inner);
        let Some(runtime) = &self.inner.runtime else { return Err(Error::failed("closed")) };
        let task = runtime
            .spawn(async move { recount(&inner.tables, &inner.env, &inner.limits, frames).await });
        task.await.map_err(|error| Error::failed(format!("recounting: {error}")))?
    }
}

impl Inner {
    async fn plan(
        &self,
        text: &str,
        values: Values,
    ) -> Result<(SendableRecordBatchStream, Epoch), Error> {
        let failed = |error| Error::from_datafusion(&error);
        let asked = statement::read(text, &self.limits)?;
        let opened = session::open(&self.tables, &self.env, &self.limits, &asked).await?;
        let (context, epoch, taken) = opened;
        let plan = plan(&context, asked, values).await?;
        let frame = context.execute_logical_plan(plan).await.map_err(failed)?;
        let stream = frame.execute_stream().await.map_err(failed)?;
        // The rows of the views are there as long as the stream is.
        let rows = stream.schema();
        let stream = stream.inspect(move |_| _ = &taken);
        let stream = RecordBatchStreamAdapter::new(rows, stream);
        Ok((Box::pin(stream), epoch))
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
