//! What is filled with what.

use super::Fill;
use super::filler::Filler;
use crate::query::functions::time_bucket;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::SortOptions;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ColumnarValue;
use std::sync::Arc;

/// The columns of an aggregate, and how gaps among its rows are filled.
#[derive(Debug)]
pub(super) struct Filling {
    /// The column of buckets, one of the first `keys` columns.
    pub bucket: usize,
    pub keys: usize,
    /// Width, start, finish, and the time zone if there is one.
    pub constants: Vec<Arc<dyn PhysicalExpr>>,
    /// Columns behind those of the input.
    pub fills: Vec<(Fill, Arc<dyn PhysicalExpr>)>,
    /// The columns that come out.
    pub schema: SchemaRef,
}

impl Filling {
    /// The columns of the other keys, in their order.
    pub fn others(&self) -> impl Iterator<Item = usize> + Clone + use<> {
        let bucket = self.bucket;
        (0..self.keys).filter(move |key| *key != bucket)
    }

    /// The other keys, then the bucket.
    pub fn order(&self, schema: &Schema) -> Option<LexOrdering> {
        let column = |at: usize| PhysicalSortExpr {
            expr: Arc::new(Column::new(schema.field(at).name(), at)),
            options: SortOptions { descending: false, nulls_first: true },
        };
        LexOrdering::new(self.others().chain([self.bucket]).map(column))
    }

    /// What fills the range that the constants say, in batches of so many rows.
    pub fn filler(self: &Arc<Self>, rows: usize, memory: MemoryReservation) -> Result<Filler> {
        let none = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            Vec::new(),
            &RecordBatchOptions::new().with_row_count(Some(1)),
        )?;
        let constant = |expr: &Arc<dyn PhysicalExpr>| match expr.evaluate(&none)? {
            ColumnarValue::Scalar(value) => Ok(value),
            ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
        };
        let constants = self.constants.iter().map(constant).collect::<Result<Vec<_>>>()?;
        let [width, start, finish, zone @ ..] = constants.as_slice() else {
            return internal_err!("a range has a width, a start and a finish");
        };
        let (Some(buckets), Some(start), Some(finish)) =
            (time_bucket::buckets(width, zone)?, micros(start), micros(finish))
        else {
            return plan_err!("width, start, finish and timezone of time_bucket_gapfill are null");
        };
        Filler::new(Arc::clone(self), buckets, (start, finish), rows, memory)
    }
}

fn micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampMicrosecond(micros, _) => *micros,
        _ => None,
    }
}
