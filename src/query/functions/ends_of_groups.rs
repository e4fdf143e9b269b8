//! `first` and `last` of many groups at once, for values of fixed width.

use super::ends::{End, numbers};
use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array,
    PrimitiveArray, downcast_primitive,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use std::sync::Arc;

/// The accumulator for values of a type; `None` for texts, lists and the like.
pub(super) fn accumulator(end: End, of: &DataType) -> Option<Box<dyn GroupsAccumulator>> {
    macro_rules! ends {
        ($t:ty) => {
            Some(Box::new(Ends::<$t>::new(end, of.clone())))
        };
    }
    downcast_primitive! {
        of => (ends),
        _ => None,
    }
}

/// The winner of each group.
#[derive(Debug)]
pub(super) struct Ends<T: ArrowPrimitiveType> {
    end: End,
    of: DataType,
    times: Vec<i64>,
    values: Vec<T::Native>,
    /// Whether the group has a winner, and whether that is a value.
    states: Vec<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Null,
    Value,
}

impl<T: ArrowPrimitiveType> Ends<T> {
    pub fn new(end: End, of: DataType) -> Self {
        Self { end, of, times: Vec::new(), values: Vec::new(), states: Vec::new() }
    }

    /// With so many groups, which have no winner yet.
    pub fn with_groups(mut self, groups: usize) -> Self {
        self.grow(groups);
        self
    }

    fn grow(&mut self, groups: usize) {
        self.times.resize(groups, 0);
        self.values.resize(groups, T::default_value());
        self.states.resize(groups, State::Empty);
    }

    #[inline]
    fn offer(&mut self, group: usize, time: i64, value: Option<T::Native>) {
        let state = self.states[group];
        let wins = match state {
            State::Empty => true,
            _ if time != self.times[group] => self.end.beats(time, self.times[group]),
            State::Null => value.is_some(),
            State::Value => value.is_some_and(|value| value.is_gt(self.values[group])),
        };
        if wins {
            self.times[group] = time;
            self.states[group] = if value.is_some() { State::Value } else { State::Null };
            self.values[group] = value.unwrap_or(T::default_value());
        }
    }

    fn take(&mut self, emit_to: EmitTo) -> (PrimitiveArray<T>, Vec<i64>, Vec<State>) {
        let times = emit_to.take_needed(&mut self.times);
        let values = emit_to.take_needed(&mut self.values);
        let states = emit_to.take_needed(&mut self.states);
        let valid: NullBuffer = states.iter().map(|state| *state == State::Value).collect();
        let values = PrimitiveArray::<T>::new(values.into(), Some(valid));
        (values.with_data_type(self.of.clone()), times, states)
    }
}

impl<T: ArrowPrimitiveType> GroupsAccumulator for Ends<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let times = numbers(&values[1])?;
        let (times, values) = (times.as_primitive::<Int64Type>(), values[0].as_primitive::<T>());
        for (row, group) in group_indices.iter().enumerate() {
            let counts = opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if counts && times.is_valid(row) {
                let value = values.is_valid(row).then(|| values.value(row));
                self.offer(*group, times.value(row), value);
            }
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(self.take(emit_to).0))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (values, times, states) = self.take(emit_to);
        let there: NullBuffer = states.iter().map(|state| *state != State::Empty).collect();
        let times = Int64Array::new(times.into(), Some(there));
        Ok(vec![Arc::new(values), Arc::new(times)])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let times = numbers(&values[1])?;
        let times = match opt_filter {
            Some(filter) => arrow::compute::nullif(
                &times,
                &arrow::compute::not(&arrow::compute::prep_null_mask_filter(filter))?,
            )?,
            None => times,
        };
        Ok(vec![Arc::clone(&values[0]), times])
    }

    fn size(&self) -> usize {
        self.times.capacity() * size_of::<i64>()
            + self.values.capacity() * size_of::<T::Native>()
            + self.states.capacity() * size_of::<State>()
    }
}
