//! One series after the other, each in a plan of its own: what is in memory is the points of one,
//! while they are put in order.

use super::machine::Machine;
use super::plans::{Limit, OfSeries};
use super::plot::Plot;
use super::point::{Edges, Usable, points};
use super::recorded::{Recorded, bound};
use super::request::{Boundary, Mode, Retrieval, Source};
use super::rows::{Row, Series, Summed, Told, batch};
use super::sampled::Sampled;
use super::series::wanted;
use super::summary::Summary;
use crate::query::answer::Answer;
use crate::query::error::Error;
use crate::query::front::{Inner, Query, Streamed};
use crate::query::session;
use crate::query::statement::{self, Asked};
use crate::query::telemetry::NAME;
use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;

/// Rows of a batch that comes out, about.
const BATCH_ROWS: usize = 8 * 1024;

impl Query {
    /// Answers with history. The limits are those of [`Query::sql`].
    pub async fn retrieve(&self, retrieval: Retrieval) -> Result<Answer, Error> {
        let plan = move |inner: Arc<Inner>| async move { plan(&inner, retrieval).await };
        self.answer(self.limits().time, plan).await
    }

    /// The metrics, by name, of which a source has ever had points, among these if any are named.
    pub async fn metrics(&self, source: Source, among: Vec<String>) -> Result<Vec<String>, Error> {
        let find = move |inner: Arc<Inner>| async move {
            let (context, _, _taken) = open(&inner, None).await?;
            let all = (i64::MIN, i64::MAX);
            let found = super::plans::series(&context, &source, &among, all, None).await;
            let found = found.map_err(|error| Error::from_datafusion(&error))?;
            let mut metrics: Vec<String> = found.into_iter().map(|series| series.metric).collect();
            metrics.sort_unstable();
            metrics.dedup();
            Ok(metrics)
        };
        Ok(self.turn(self.limits().time, find).await?.0)
    }
}

/// A session with telemetry.
pub(super) async fn open(
    inner: &Inner,
    as_of: Option<String>,
) -> Result<(SessionContext, crate::model::Epoch, crate::query::pool::Taken), Error> {
    let asked = statement::read("SELECT 1", &inner.limits)?;
    let asked = Asked { tables: vec![NAME.into()], as_of, ..asked };
    session::open(&inner.tables, &inner.env, &inner.limits, &asked).await
}

async fn plan(inner: &Inner, retrieval: Retrieval) -> Result<Streamed, Error> {
    let (context, epoch, taken) = open(inner, retrieval.as_of.clone()).await?;
    let series = wanted(&context, &retrieval).await?;
    let schema = match retrieval.mode {
        Mode::Summary => Summed::schema(),
        _ => Told::schema(),
    };
    let shared = Arc::new((context, retrieval, taken));
    let rows = stream::iter(series).flat_map(move |series| {
        let shared = Arc::clone(&shared);
        let rows = async move { rows(&shared.0, &shared.1, series).await };
        stream::once(rows).try_flatten()
    });
    Ok((Box::pin(RecordBatchStreamAdapter::new(schema, rows)), epoch))
}

type Batches = BoxStream<'static, Result<RecordBatch>>;

/// The rows of one series.
async fn rows(context: &SessionContext, retrieval: &Retrieval, series: Series) -> Result<Batches> {
    let usable = Usable { uncertain_is_bad: retrieval.uncertain_is_bad };
    let of = OfSeries { context, source: &retrieval.source, series: &series, usable };
    let (start, end) = retrieval.range();
    let sloped = !retrieval.discrete.contains(&series.metric);
    let grid = || {
        retrieval
            .grid()
            .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))
    };
    let limit = match (retrieval.mode, retrieval.start) {
        (Mode::Recorded, None) => Limit::Newest(retrieval.limit),
        // One more, which tells whether the bound follows.
        (Mode::Recorded, Some(_)) => Limit::First(retrieval.limit.saturating_add(1)),
        _ => Limit::None,
    };
    let most = retrieval.limit;
    let input = of.range(start, end, limit).await?.execute_stream().await?;
    Ok(match retrieval.mode {
        Mode::Recorded => {
            let (mut before, mut after) = (None, None);
            if retrieval.boundary != Boundary::Inside {
                let how = (sloped, usable);
                let at_start = of.edges(start, start).await?;
                let at_end = of.edges(end, end).await?;
                before = bound(retrieval.boundary, (start, true), &at_start, how);
                after = bound(retrieval.boundary, (end, false), &at_end, how);
            }
            told(Recorded::new(most, before, after), input, series, usize::MAX)
        }
        Mode::Interpolated | Mode::Step => {
            let edges = of.edges(start, end).await?;
            let sloped = sloped && retrieval.mode == Mode::Interpolated;
            told(Sampled::new(grid()?, sloped, usable, edges), input, series, most)
        }
        Mode::Plot => told(Plot::new(grid()?, usable), input, series, most),
        Mode::Summary => {
            let edges: Edges = of.edges(start, end).await?;
            told(Summary::new(grid()?, start, usable, &edges), input, series, most)
        }
    })
}

/// What a machine makes of points, at most so many rows.
fn told<M: Machine>(
    machine: M,
    input: SendableRecordBatchStream,
    series: Series,
    most: usize,
) -> Batches {
    struct Running<M: Machine> {
        machine: M,
        input: Option<SendableRecordBatchStream>,
        series: Series,
        rows: Vec<M::Row>,
        left: usize,
    }

    impl<M: Machine> Running<M> {
        async fn next(&mut self) -> Result<Option<RecordBatch>> {
            while let Some(input) = &mut self.input
                && self.rows.len() < BATCH_ROWS.min(self.left)
            {
                match input.try_next().await? {
                    Some(batch) => {
                        for point in points(&batch)? {
                            self.machine.push(point, &mut self.rows)?;
                        }
                        if !self.machine.is_full() {
                            continue;
                        }
                    }
                    None => self.machine.finish(&mut self.rows)?,
                }
                self.input = None;
            }
            self.rows.truncate(self.left);
            self.left -= self.rows.len();
            if self.left == 0 {
                self.input = None;
            }
            let rows = std::mem::take(&mut self.rows);
            (!rows.is_empty()).then(|| batch(&self.series, &rows)).transpose()
        }
    }

    let running = Running { machine, input: Some(input), series, rows: Vec::new(), left: most };
    let rows = stream::try_unfold(running, |mut running| async move {
        Ok(running.next().await?.map(|batch| (batch, running)))
    });
    rows.boxed()
}
