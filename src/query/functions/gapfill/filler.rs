//! Which rows are missing, and what they hold.

use super::exec::Filling;
use super::{Fill, ROWS_ADDED_MAX};
use crate::query::error::Error;
use crate::query::functions::buckets::Buckets;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Float64Type, Schema, TimestampMicrosecondType};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use std::collections::VecDeque;
use std::sync::Arc;

/// A row that comes out, by the numbers of rows that came in.
#[derive(Clone, Copy, Debug)]
enum Out {
    /// The row as it came in.
    Row(u32),
    /// A missing bucket, between rows of the same keys.
    Gap { bucket: i64, before: Option<u32>, after: Option<u32> },
}

/// Takes rows in the order of their keys and buckets, and gives them with the missing ones.
pub(super) struct Filler {
    filling: Arc<Filling>,
    buckets: Buckets,
    /// The first bucket, and where buckets end to be added.
    first: i64,
    finish: i64,
    /// Rows of a batch that comes out.
    batch_rows: usize,
    converter: Option<RowConverter>,
    /// The columns of the rows at hand: the last row that came before, then those that came.
    rows: Vec<ArrayRef>,
    outs: VecDeque<Out>,
    open: Option<Open>,
    added: usize,
    any: bool,
    /// What `outs` takes.
    memory: MemoryReservation,
}

/// The keys that rows come of.
struct Open {
    keys: Option<OwnedRow>,
    /// The bucket that must come next, if it is before the finish.
    expected: i64,
    /// The row that came last.
    last: Option<u32>,
}

impl Filler {
    pub fn new(
        filling: Arc<Filling>,
        mut buckets: Buckets,
        (start, finish): (i64, i64),
        batch_rows: usize,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let fields: Vec<SortField> = filling
            .others()
            .map(|key| SortField::new(filling.schema.field(key).data_type().clone()))
            .collect();
        let converter = match fields.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields)?),
        };
        let first = buckets.start(start)?;
        Ok(Self {
            filling,
            buckets,
            first,
            finish,
            batch_rows,
            converter,
            rows: Vec::new(),
            outs: VecDeque::new(),
            open: None,
            added: 0,
            any: false,
            memory,
        })
    }

    /// Takes rows. All that came out before must have been taken by [`Self::next`].
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.any = true;
        let fills = self.filling.fills.iter();
        let fills = fills.map(|(_, of)| of.evaluate(batch)?.into_array(batch.num_rows()));
        let mut columns = batch.columns().to_vec();
        columns.extend(fills.collect::<Result<Vec<_>>>()?);
        let kept = self.keep_last(columns)?;
        let keys = match &mut self.converter {
            Some(converter) => {
                let keys: Vec<ArrayRef> =
                    self.filling.others().map(|key| Arc::clone(&self.rows[key])).collect();
                Some(converter.convert_columns(&keys)?)
            }
            None => None,
        };
        let buckets = self.rows[self.filling.bucket].as_primitive::<TimestampMicrosecondType>();
        let buckets = buckets.clone();
        for row in kept..buckets.len() {
            let of = keys.as_ref().map(|keys| keys.row(row));
            let same = |open: &Open| open.keys.as_ref().map(OwnedRow::row) == of;
            if !self.open.as_ref().is_some_and(same) {
                self.close()?;
                let keys = of.map(|of| of.owned());
                self.open = Some(Open { keys, expected: self.first, last: None });
            }
            let number = row as u32;
            if buckets.is_valid(row) {
                let bucket = buckets.value(row);
                self.fill(bucket.min(self.finish), Some(number))?;
                let next = self.buckets.next(bucket)?;
                if let Some(open) = &mut self.open {
                    open.expected = open.expected.max(next);
                    open.last = Some(number);
                }
            }
            self.outs.push_back(Out::Row(number));
        }
        self.memory.try_resize(self.outs.capacity() * size_of::<Out>())
    }

    /// The end of the rows.
    pub fn finish(&mut self) -> Result<()> {
        if !self.any && self.converter.is_none() {
            self.open = Some(Open { keys: None, expected: self.first, last: None });
        }
        self.close()
    }

    /// Columns of the last row of before, if it is of open keys, and of new rows; and how many rows
    /// are of before.
    fn keep_last(&mut self, columns: Vec<ArrayRef>) -> Result<usize> {
        let last = self.open.as_mut().and_then(|open| open.last.as_mut());
        let Some(last) = last else {
            self.rows = columns;
            return Ok(0);
        };
        for (before, now) in self.rows.iter_mut().zip(columns) {
            *before = concat(&[&before.slice(*last as usize, 1), &now])?;
        }
        *last = 0;
        Ok(1)
    }

    /// Adds what is missing up to the finish. Keys whose rows have no time have no buckets.
    fn close(&mut self) -> Result<()> {
        let timed = |open: &Open| open.last.is_some() || open.keys.is_none();
        if self.open.as_ref().is_some_and(timed) {
            self.fill(self.finish, None)?;
        }
        self.open = None;
        self.memory.try_resize(self.outs.capacity() * size_of::<Out>())
    }

    /// Adds what is missing before this time.
    fn fill(&mut self, until: i64, after: Option<u32>) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        while open.expected < until {
            self.added += 1;
            if self.added > ROWS_ADDED_MAX {
                return Err(too_many());
            }
            let (bucket, before) = (open.expected, open.last);
            self.outs.push_back(Out::Gap { bucket, before, after });
            open.expected = self.buckets.next(bucket)?;
        }
        Ok(())
    }

    /// The next rows that come out; `None` when more must come in.
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        let count = self.outs.len().min(self.batch_rows);
        if count == 0 {
            return Ok(None);
        }
        let outs: Vec<Out> = self.outs.drain(..count).collect();
        let schema = Arc::clone(&self.filling.schema);
        let columns = (0..schema.fields().len()).map(|column| self.column(&schema, column, &outs));
        Ok(Some(RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_>>()?)?))
    }

    fn column(&self, schema: &Schema, column: usize, outs: &[Out]) -> Result<ArrayRef> {
        let of = schema.field(column).data_type();
        let Some(rows) = self.rows.get(column).filter(|rows| !rows.is_empty()) else {
            return Ok(match column == self.filling.bucket {
                true => self.bucket(None, outs),
                false => new_null_array(of, outs.len()),
            });
        };
        if column == self.filling.bucket {
            return Ok(self.bucket(Some(rows), outs));
        }
        let inputs = schema.fields().len() - self.filling.fills.len();
        let fill = column.checked_sub(inputs).map(|fill| self.filling.fills[fill].0);
        let source = |out: &Out| match (*out, fill) {
            (Out::Row(row), _) => Some(row),
            (Out::Gap { before, after, .. }, None) if column < self.filling.keys => {
                before.or(after)
            }
            (Out::Gap { before, .. }, Some(Fill::Locf)) => before,
            (Out::Gap { .. }, _) => None,
        };
        if fill == Some(Fill::Interpolate) {
            return Ok(self.interpolated(rows, outs));
        }
        Ok(take(rows, &outs.iter().map(source).collect::<UInt32Array>(), None)?)
    }

    fn bucket(&self, rows: Option<&ArrayRef>, outs: &[Out]) -> ArrayRef {
        let rows = rows.map(|rows| rows.as_primitive::<TimestampMicrosecondType>());
        let buckets = outs.iter().map(|out| match out {
            Out::Row(row) => at(rows?, *row),
            Out::Gap { bucket, .. } => Some(*bucket),
        });
        Arc::new(buckets.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    }

    fn interpolated(&self, rows: &ArrayRef, outs: &[Out]) -> ArrayRef {
        debug_assert_eq!(rows.data_type(), &DataType::Float64);
        let values = rows.as_primitive::<Float64Type>();
        let times = self.rows[self.filling.bucket].as_primitive::<TimestampMicrosecondType>();
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
}

fn at(times: &TimestampMicrosecondArray, row: u32) -> Option<i64> {
    times.is_valid(row as usize).then(|| times.value(row as usize))
}

fn too_many() -> DataFusionError {
    let message = format!("time_bucket_gapfill would add more than {ROWS_ADDED_MAX} rows");
    let hint = "take wider buckets, a shorter range, or fewer other keys in GROUP BY";
    DataFusionError::External(Box::new(Error::limit(message, hint)))
}
