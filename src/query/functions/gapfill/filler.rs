//! Which rows are missing, and what they hold.

use super::ROWS_ADDED_MAX;
use super::filling::Filling;
use super::out::Out;
use crate::query::error::Error;
use crate::query::functions::buckets::Buckets;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use std::collections::VecDeque;
use std::sync::Arc;

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
        self.filling.batch(&self.rows, &outs).map(Some)
    }
}

fn too_many() -> DataFusionError {
    let message = format!("time_bucket_gapfill would add more than {ROWS_ADDED_MAX} rows");
    let hint = "take wider buckets, a shorter range, or fewer other keys in GROUP BY";
    DataFusionError::External(Box::new(Error::limit(message, hint)))
}
