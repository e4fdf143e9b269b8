//! The columns of rows that come out.

use super::Fill;
use super::filling::Filling;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array,
    new_null_array,
};
use arrow::compute::take;
use datafusion::common::Result;
use std::sync::Arc;

/// A row that comes out, by the numbers of rows that came in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Out {
    /// The row as it came in.
    Row(u32),
    /// A missing bucket, between rows of the same keys.
    Gap { bucket: i64, before: Option<u32>, after: Option<u32> },
}

impl Filling {
    /// Rows that come out, of these columns that came in: none when no row ever did.
    pub fn batch(&self, rows: &[ArrayRef], outs: &[Out]) -> Result<RecordBatch> {
        let schema = Arc::clone(&self.schema);
        let columns = (0..schema.fields().len()).map(|column| self.column(rows, column, outs));
        Ok(RecordBatch::try_new(schema, columns.collect::<Result<_>>()?)?)
    }

    fn column(&self, rows: &[ArrayRef], column: usize, outs: &[Out]) -> Result<ArrayRef> {
        let times = rows.get(self.bucket).map(|times| times.as_primitive());
        if column == self.bucket {
            return Ok(buckets(times, outs));
        }
        let (Some(rows), Some(times)) = (rows.get(column), times) else {
            return Ok(new_null_array(self.schema.field(column).data_type(), outs.len()));
        };
        let inputs = self.schema.fields().len() - self.fills.len();
        let fill = column.checked_sub(inputs).map(|fill| self.fills[fill].0);
        let source = |out: &Out| match (*out, fill) {
            (Out::Row(row), _) => Some(row),
            (Out::Gap { before, after, .. }, None) if column < self.keys => before.or(after),
            (Out::Gap { before, .. }, Some(Fill::Locf)) => before,
            (Out::Gap { .. }, _) => None,
        };
        if fill == Some(Fill::Interpolate) {
            return Ok(interpolated(times, rows.as_primitive(), outs));
        }
        Ok(take(rows, &outs.iter().map(source).collect::<UInt32Array>(), None)?)
    }
}

fn buckets(times: Option<&TimestampMicrosecondArray>, outs: &[Out]) -> ArrayRef {
    let buckets = outs.iter().map(|out| match out {
        Out::Row(row) => at(times?, *row),
        Out::Gap { bucket, .. } => Some(*bucket),
    });
    Arc::new(buckets.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn interpolated(
    times: &TimestampMicrosecondArray,
    values: &Float64Array,
    outs: &[Out],
) -> ArrayRef {
    let value = |row: u32| values.is_valid(row as usize).then(|| values.value(row as usize));
    let one = |out: &Out| match *out {
        Out::Row(row) => value(row),
        Out::Gap { bucket, before, after } => {
            let (before, after) = (before?, after?);
            let (from, to) = (at(times, before)?, at(times, after)?);
            let share = (bucket - from) as f64 / (to - from) as f64;
            Some(value(before)? * (1.0 - share) + value(after)? * share)
        }
    };
    Arc::new(outs.iter().map(one).collect::<Float64Array>())
}

fn at(times: &TimestampMicrosecondArray, row: u32) -> Option<i64> {
    times.is_valid(row as usize).then(|| times.value(row as usize))
}
