//! `first` and `last`: the value at the earliest and at the latest time.

use super::arguments::{Argument, coerce};
use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};
use std::cmp::Ordering;
use std::mem::size_of_val;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// The earliest.
    First,
    /// The latest.
    Last,
}

impl End {
    /// Whether a time takes the place of another.
    #[inline]
    pub fn beats(self, time: i64, other: i64) -> bool {
        match self {
            Self::First => time < other,
            Self::Last => time > other,
        }
    }
}

/// `first(value, time)` and `last(value, time)`.
///
/// The value may be of any type, and null: the value of that time is the answer. The time is an
/// instant or a whole number; rows without a time count for nothing. Of several values at one
/// time the greatest is taken, so that the answer does not depend on the order of rows.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AtEnd {
    end: End,
    signature: Signature,
}

impl AtEnd {
    pub fn new(end: End) -> Self {
        Self { end, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for AtEnd {
    fn name(&self) -> &str {
        match self.end {
            End::First => "first",
            End::Last => "last",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let time = match given.get(1).is_some_and(DataType::is_integer) {
            true => Argument::Whole,
            false => Argument::Time,
        };
        coerce(&format!("{}(value, time)", self.name()), &[Argument::Any, time], 2, given)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(given[0].clone())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Field::new(format_state_name(args.name, "value"), args.return_type().clone(), true)
                .into(),
            Field::new(format_state_name(args.name, "time"), DataType::Int64, true).into(),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let value = ScalarValue::try_new_null(args.return_type())?;
        Ok(Box::new(One { end: self.end, time: None, value }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        super::ends_of_groups::accumulator(self.end, args.return_type()).is_some()
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match super::ends_of_groups::accumulator(self.end, args.return_type()) {
            Some(accumulator) => Ok(accumulator),
            None => internal_err!("{} of groups of {}", self.name(), args.return_type()),
        }
    }
}

/// Times as numbers.
pub(super) fn numbers(times: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(times, &DataType::Int64)?)
}

/// The winner of one group.
#[derive(Debug)]
struct One {
    end: End,
    time: Option<i64>,
    value: ScalarValue,
}

impl One {
    fn offer(&mut self, values: &ArrayRef, times: &ArrayRef) -> Result<()> {
        let times = times.as_primitive::<Int64Type>();
        let mut best: Option<i64> = None;
        let mut rows: Vec<usize> = Vec::new();
        for (row, time) in times.iter().enumerate() {
            let Some(time) = time else { continue };
            if best.is_none_or(|best| self.end.beats(time, best)) {
                best = Some(time);
                rows.clear();
            }
            if best == Some(time) {
                rows.push(row);
            }
        }
        let Some(best) =
            best.filter(|time| self.time.is_none_or(|own| !self.end.beats(own, *time)))
        else {
            return Ok(());
        };
        for row in rows {
            let value = ScalarValue::try_from_array(values, row)?;
            if self.time != Some(best) || greater(&value, &self.value) {
                self.value = value.compacted();
            }
            self.time = Some(best);
        }
        Ok(())
    }
}

/// Whether a value is greater than another; anything is greater than null.
fn greater(value: &ScalarValue, other: &ScalarValue) -> bool {
    match (value.is_null(), other.is_null()) {
        (true, _) => false,
        (false, true) => true,
        _ => value.partial_cmp(other) == Some(Ordering::Greater),
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.offer(&values[0], &numbers(&values[1])?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.offer(&states[0], &states[1])
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(self.time)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size() - size_of_val(&self.value)
    }
}
