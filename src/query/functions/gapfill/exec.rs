//! Runs the filling: rows of the aggregate come in the order of their keys and buckets.

use super::filler::Filler;
use super::filling::Filling;
use arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, OrderingRequirements, Partitioning, PhysicalExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// Adds the rows of missing buckets to those of an aggregate.
#[derive(Debug)]
pub(super) struct FillGapsExec {
    input: Arc<dyn ExecutionPlan>,
    filling: Arc<Filling>,
    properties: Arc<PlanProperties>,
}

impl FillGapsExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, filling: Arc<Filling>) -> Result<Self> {
        let order = filling.order(&filling.schema);
        let schema = Arc::clone(&filling.schema);
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, order),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { input, filling, properties: Arc::new(properties) })
    }
}

impl DisplayAs for FillGapsExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "FillGapsExec: bucket={}, fills={}",
            self.filling.bucket,
            self.filling.fills.len()
        )
    }
}

impl ExecutionPlan for FillGapsExec {
    fn name(&self) -> &str {
        "FillGapsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let order = self.filling.order(&self.input.schema());
        vec![order.map(OrderingRequirements::from)]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let fills = self.filling.fills.iter().map(|(_, expr)| expr);
        for expr in self.filling.constants.iter().chain(fills) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, Arc::clone(&self.filling))?)),
            _ => internal_err!("FillGapsExec has one input"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, recompute)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new(self.name()).register(context.memory_pool());
        let running = Running {
            filling: Arc::clone(&self.filling),
            input: self.input.execute(partition, Arc::clone(&context))?,
            rows: context.session_config().batch_size(),
            memory,
            filler: None,
            ended: false,
        };
        let filled = stream::try_unfold(running, |mut running| async move {
            Ok(running.next().await?.map(|batch| (batch, running)))
        });
        let schema = Arc::clone(&self.filling.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, filled)))
    }
}

struct Running {
    filling: Arc<Filling>,
    input: SendableRecordBatchStream,
    rows: usize,
    memory: MemoryReservation,
    /// There once the first row was asked for: constants may be subqueries.
    filler: Option<Filler>,
    ended: bool,
}

impl Running {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let filler = match &mut self.filler {
                Some(filler) => filler,
                none => none.insert(self.filling.filler(self.rows, self.memory.new_empty())?),
            };
            if let Some(batch) = filler.next()? {
                return Ok(Some(batch));
            }
            if self.ended {
                return Ok(None);
            }
            match self.input.next().await.transpose()? {
                Some(batch) => filler.push(&batch)?,
                None => {
                    filler.finish()?;
                    self.ended = true;
                }
            }
        }
    }
}
