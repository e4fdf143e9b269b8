//! The rows of an epoch as columns, for expressions to read, and what the expressions give.

use super::evaluate::{Span, SpanRows};
use super::plan::{Plan, mask_of};
use crate::expr::{self, Compiled};
use crate::model::{DataType, Symbol};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, NullBufferBuilder,
    StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType as Arrow, Float64Type, Int64Type};
use std::sync::Arc;

/// The rows of all spans, one column a metric; null where it has no value or a bad one.
pub struct Columns {
    rows: usize,
    /// By slot; only those that were asked for.
    columns: Vec<Option<ArrayRef>>,
}

/// What an expression gives for each row.
pub struct Results {
    values: Values,
    nulls: Option<NullBuffer>,
    /// Rows that could not be computed, ascending.
    failures: Vec<(usize, expr::Error)>,
}

/// The values of a result; anything where there is none.
enum Values {
    Words(ScalarBuffer<u64>),
    Bits(BooleanBuffer),
}

impl Columns {
    /// Reads these metrics of all rows, in one pass over the rows.
    pub fn gather(plan: &Plan, slots: &[usize], spans: &[Span], rows: &SpanRows) -> Self {
        let layout = &plan.rows;
        let count: usize = spans.iter().map(|span| span.end - span.start).sum();
        let wanted = mask_of(slots.iter().copied(), plan.layout.slots.len());
        let mut words = vec![0; slots.len() * count];
        // Few rows lack a value: theirs are told one by one.
        let mut missing = vec![Vec::new(); slots.len()];
        let mut at = 0;
        for span in spans {
            for i in span.start..span.end {
                let row = rows.row(layout, span, i);
                if span.is_plain || layout.is_good(row, &wanted) {
                    let values = layout.values(row);
                    for (column, slot) in slots.iter().enumerate() {
                        words[column * count + at] = values[*slot];
                    }
                } else {
                    for (column, slot) in slots.iter().enumerate() {
                        match layout.usable(row, *slot) {
                            Some(word) => words[column * count + at] = word,
                            None => missing[column].push(at),
                        }
                    }
                }
                at += 1;
            }
        }
        let words = Buffer::from_vec(words);
        let mut columns = vec![None; plan.layout.slots.len()];
        for (column, slot) in slots.iter().enumerate() {
            let words = ScalarBuffer::new(words.clone(), column * count, count);
            let data_type = plan.layout.slots[*slot].data_type;
            columns[*slot] = Some(array(data_type, words, &missing[column]));
        }
        Self { rows: count, columns }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Puts in the column of a metric: words, and the rows without a value.
    pub fn put(&mut self, plan: &Plan, slot: usize, words: Vec<u64>, missing: &[usize]) {
        let data_type = plan.layout.slots[slot].data_type;
        self.columns[slot] = Some(array(data_type, words.into(), missing));
    }

    /// Evaluates an expression over all rows; rows that cannot be computed do not spoil the others.
    pub fn evaluate(&self, expr: &Compiled) -> Results {
        let columns = expr.inputs().iter().filter_map(|slot| self.columns[*slot].clone());
        let columns: Vec<ArrayRef> = columns.collect();
        let (values, failures) = expr.evaluate_rows(&columns, self.rows);
        let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        Results { values: Values::of(&values), nulls, failures }
    }
}

impl Results {
    /// A row's value as a word, if it has one.
    #[inline]
    pub fn value(&self, row: usize) -> Option<u64> {
        let known = self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        known.then(|| match &self.values {
            Values::Words(words) => words[row],
            Values::Bits(bits) => u64::from(bits.value(row)),
        })
    }

    /// Why a row has no value, when it could not be computed.
    #[inline]
    pub fn failure(&self, row: usize) -> Option<Arc<str>> {
        if self.failures.is_empty() {
            return None;
        }
        let found = self.failures.binary_search_by_key(&row, |(failed, _)| *failed);
        found.ok().map(|at| self.failures[at].1.to_string().into())
    }

    /// The rows that could not be computed, ascending.
    pub fn failed(&self) -> impl Iterator<Item = usize> {
        self.failures.iter().map(|(row, _)| *row)
    }

    /// Sets a bit in the words of the rows that have a value, and in others where that is true.
    /// A row is so many words; its bit is counted from its first word on.
    pub fn mark(&self, bit: usize, width: usize, known: &mut [u64], are_true: &mut [u64]) {
        let (word, bit) = (bit / 64, 1 << (bit % 64));
        match &self.nulls {
            None => known.chunks_exact_mut(width).for_each(|row| row[word] |= bit),
            Some(nulls) => {
                nulls.valid_indices().for_each(|row| known[row * width + word] |= bit);
            }
        }
        match &self.values {
            Values::Bits(bits) => {
                let bits = self.nulls.as_ref().map_or(bits.clone(), |nulls| bits & nulls.inner());
                bits.set_indices().for_each(|row| are_true[row * width + word] |= bit);
            }
            Values::Words(words) => {
                let is_true = |row: &usize| self.value(*row).is_some_and(|value| value != 0);
                let rows = (0..words.len()).filter(is_true);
                rows.for_each(|row| are_true[row * width + word] |= bit);
            }
        }
    }
}

fn array(data_type: DataType, words: ScalarBuffer<u64>, missing: &[usize]) -> ArrayRef {
    let count = words.len();
    let nulls = (!missing.is_empty()).then(|| {
        let mut nulls = NullBufferBuilder::new(count);
        let mut next = 0;
        for row in missing {
            nulls.append_n_non_nulls(row - next);
            nulls.append_null();
            next = row + 1;
        }
        nulls.append_n_non_nulls(count - next);
        nulls.finish()
    });
    let nulls = nulls.flatten();
    match data_type {
        DataType::Double => {
            Arc::new(Float64Array::new(ScalarBuffer::new(words.into_inner(), 0, count), nulls))
        }
        DataType::Integer => {
            Arc::new(Int64Array::new(ScalarBuffer::new(words.into_inner(), 0, count), nulls))
        }
        DataType::Bool => {
            let bits = BooleanBuffer::collect_bool(count, |row| words[row] != 0);
            Arc::new(BooleanArray::new(bits, nulls))
        }
        DataType::String => {
            let known = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let text = |row| known(row).then(|| Symbol(words[row] as u32).text());
            Arc::new((0..count).map(text).collect::<StringArray>())
        }
    }
}

impl Values {
    fn of(values: &ArrayRef) -> Self {
        let rows = values.len();
        Self::Words(match values.data_type() {
            Arrow::Float64 => {
                let numbers = values.as_primitive::<Float64Type>().values().inner();
                ScalarBuffer::new(numbers.clone(), 0, rows)
            }
            Arrow::Int64 => {
                let numbers = values.as_primitive::<Int64Type>().values().inner();
                ScalarBuffer::new(numbers.clone(), 0, rows)
            }
            Arrow::Boolean => return Self::Bits(values.as_boolean().values().clone()),
            Arrow::Utf8 => {
                let texts = values.as_string::<i32>().iter();
                texts.map(|text| text.map_or(0, |text| u64::from(Symbol::of(text).0))).collect()
            }
            // The type of a column without any value: all rows are null.
            _ => std::iter::repeat_n(0, rows).collect(),
        })
    }
}
