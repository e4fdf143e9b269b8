//! Views that are told again: as they were, and those that nobody keeps.

use super::hot::selection;
use super::labelled::Labelled;
use super::part::Part;
use super::source::{Telling, ToldAgain, Wanted};
use crate::model::Epoch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::DataFusionError;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use std::fmt;
use std::sync::Arc;

/// Batches that wait to be read.
const BATCHES: usize = 2;

/// A view at an epoch, told when it is read.
#[derive(Clone)]
pub(super) struct Told {
    pub source: Arc<dyn ToldAgain>,
    pub view: String,
    pub schema: SchemaRef,
    pub as_of: Epoch,
}

/// The same, for the rows that are wanted.
#[derive(Debug)]
struct Reading {
    told: Told,
    wanted: Wanted,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} told again as of epoch {}", self.view, self.as_of)
    }
}

#[async_trait]
impl Part for Told {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let of = selection(filters);
        let assets = of.assets.map(|assets| assets.into_iter().collect());
        let wanted = Wanted { assets, until: (of.to < i64::MAX).then_some(of.to) };
        let reading = Arc::new(Reading { told: self.clone(), wanted });
        let schema = Arc::clone(&self.schema);
        let label = format!("{self:?}, {}", said(&reading.wanted));
        let exec =
            StreamingTableExec::try_new(schema, vec![reading], projection, [], false, limit)?;
        Ok(Arc::new(Labelled { name: "ToldAgainExec", label, source: Arc::new(exec) }))
    }
}

/// Of which assets and times it is told.
fn said(wanted: &Wanted) -> String {
    let assets = wanted.assets.as_ref().map_or("all".to_owned(), |assets| assets.len().to_string());
    let until = wanted.until.and_then(|until| jiff::Timestamp::from_microsecond(until).ok());
    until.map_or(format!("{assets} assets"), |until| format!("{assets} assets until {until}"))
}

impl PartitionStream for Reading {
    fn schema(&self) -> &SchemaRef {
        &self.told.schema
    }

    /// Tells on a thread for what blocks, until nobody reads any more.
    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.told.schema), BATCHES);
        let (told, wanted, rows) = (self.told.clone(), self.wanted.clone(), stream.tx());
        let memory = MemoryConsumer::new("told again").register(context.memory_pool());
        stream.spawn_blocking(move || {
            let mut take = |telling: Telling| -> Result<bool, String> {
                match telling {
                    Telling::Rows(batch) => Ok(rows.blocking_send(Ok(batch)).is_ok()),
                    Telling::Working(bytes) => {
                        memory.try_resize(bytes).map_err(|error| error.to_string())?;
                        Ok(!rows.is_closed())
                    }
                }
            };
            let done = told.source.tell(&told.view, told.as_of, &wanted, &mut take);
            done.map_err(|reason| DataFusionError::External(reason.into()))
        });
        stream.build()
    }
}
