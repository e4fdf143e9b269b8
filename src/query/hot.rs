//! The hot points of a telemetry snapshot as a table: batches are made while they are read.

use super::labelled::Labelled;
use super::part::Part;
use crate::historian::{Selection, Telemetry, schema};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use std::sync::Arc;

/// The hot points of one snapshot.
#[derive(Debug)]
pub(super) struct Hot {
    telemetry: Telemetry,
}

impl Hot {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        Self { telemetry }
    }
}

#[async_trait]
impl Part for Hot {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(schema().project(columns)?),
            None => schema(),
        };
        let points = Arc::new(HotPoints {
            telemetry: self.telemetry.clone(),
            selection: selection(filters),
            projection: projection.cloned(),
            schema: Arc::clone(&schema),
        });
        let label = format!("{} points of telemetry in memory", self.telemetry.hot_points());
        let exec = StreamingTableExec::try_new(schema, vec![points], None, [], false, limit)?;
        Ok(Arc::new(Labelled { name: "HotPointsExec", label, source: Arc::new(exec) }))
    }
}

#[derive(Debug)]
struct HotPoints {
    telemetry: Telemetry,
    selection: Selection,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
}

impl PartitionStream for HotPoints {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (telemetry, selection) = (self.telemetry.clone(), self.selection.clone());
        let projection = self.projection.clone();
        // Sorting waits for the first poll, which runs on a thread of the query.
        let batches = std::iter::once_with(move || telemetry.hot(&selection, projection)).flatten();
        let batches =
            batches.map(|batch| batch.map_err(|e| DataFusionError::External(Box::new(e))));
        let stream = futures::stream::iter(batches);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

/// What the filters say of event time, asset and metric; what they say beyond is left to the
/// filter above the scan.
pub(super) fn selection(filters: &[Expr]) -> Selection {
    let mut selection = Selection::default();
    for filter in filters {
        if let Some(assets) = texts(filter, "asset") {
            selection.assets = Some(assets);
        } else if let Some(metrics) = texts(filter, "metric") {
            selection.metrics = Some(metrics);
        } else if let Some((op, time)) = time_limit(filter) {
            match op {
                Operator::Eq => {
                    selection.from = selection.from.max(time);
                    selection.to = selection.to.min(time);
                }
                Operator::Gt | Operator::GtEq => selection.from = selection.from.max(time),
                Operator::Lt | Operator::LtEq => selection.to = selection.to.min(time),
                _ => {}
            }
        }
    }
    selection
}

/// The texts that `column` may have: `column = 'a'`, `column IN (...)`, or an `OR` of those.
fn texts(filter: &Expr, column: &str) -> Option<Vec<String>> {
    match filter {
        Expr::BinaryExpr(binary) if binary.op == Operator::Or => {
            let mut both = texts(&binary.left, column)?;
            both.extend(texts(&binary.right, column)?);
            Some(both)
        }
        Expr::BinaryExpr(binary) if binary.op == Operator::Eq => {
            match (binary.left.as_ref(), binary.right.as_ref()) {
                (Expr::Column(name), Expr::Literal(value, _))
                | (Expr::Literal(value, _), Expr::Column(name))
                    if name.name == column =>
                {
                    Some(vec![text(value)?])
                }
                _ => None,
            }
        }
        Expr::InList(list) if !list.negated => {
            let Expr::Column(name) = list.expr.as_ref() else { return None };
            let literal = |expr: &Expr| match expr {
                Expr::Literal(value, _) => text(value),
                _ => None,
            };
            if name.name == column { list.list.iter().map(literal).collect() } else { None }
        }
        _ => None,
    }
}

fn text(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(String::from)
}

/// `event_time op literal`, turned round where the literal comes first.
fn time_limit(filter: &Expr) -> Option<(Operator, i64)> {
    let Expr::BinaryExpr(binary) = filter else { return None };
    let (column, op, value) = match (binary.left.as_ref(), binary.right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) => (column, binary.op, value),
        (Expr::Literal(value, _), Expr::Column(column)) => (column, binary.op.swap()?, value),
        _ => return None,
    };
    match value {
        ScalarValue::TimestampMicrosecond(Some(time), _) if column.name == "event_time" => {
            Some((op, *time))
        }
        _ => None,
    }
}
