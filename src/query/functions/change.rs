//! `delta` and `rate`: from the first value to the last.

use super::arguments::{Argument, coerce};
use super::ends::End;
use super::ends_of_groups::Ends;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::compute::{and, is_not_null, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use std::sync::Arc;

/// `delta(value, time)`: the last value less the first; `rate(value, time)`: the same per second.
///
/// Rows without a value or a time count for nothing. Of several values at one time the greatest
/// is taken, at both ends. Both are null without rows, and the rate over no time too.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Change {
    per_second: bool,
    signature: Signature,
}

impl Change {
    pub fn delta() -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self { per_second: false, signature }
    }

    pub fn rate() -> Self {
        Self { per_second: true, ..Self::delta() }
    }
}

impl AggregateUDFImpl for Change {
    fn name(&self) -> &str {
        if self.per_second { "rate" } else { "delta" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let usage = format!("{}(value, time)", self.name());
        coerce(&usage, &[Argument::Number, Argument::Time], 2, given)
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name, of| Field::new(format_state_name(args.name, name), of, true).into();
        Ok(vec![
            field("first", DataType::Float64),
            field("first_time", DataType::Int64),
            field("last", DataType::Float64),
            field("last_time", DataType::Int64),
        ])
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let mut both = Both::new(self.per_second);
        (both.first, both.last) = (both.first.with_groups(1), both.last.with_groups(1));
        Ok(Box::new(One(both)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        _args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Both::new(self.per_second)))
    }
}

/// Both ends of each group.
#[derive(Debug)]
struct Both {
    per_second: bool,
    first: Ends<Float64Type>,
    last: Ends<Float64Type>,
}

impl Both {
    fn new(per_second: bool) -> Self {
        let ends = |end| Ends::new(end, DataType::Float64);
        Self { per_second, first: ends(End::First), last: ends(End::Last) }
    }
}

/// The rows that count: those that the filter lets through and that have a value.
fn counting(values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<BooleanArray> {
    let valued = is_not_null(&values[0])?;
    Ok(match filter {
        Some(filter) => and(&valued, &prep_null_mask_filter(filter))?,
        None => valued,
    })
}

impl GroupsAccumulator for Both {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let counting = Some(&counting(values, opt_filter)?);
        self.first.update_batch(values, group_indices, counting, total_num_groups)?;
        self.last.update_batch(values, group_indices, counting, total_num_groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.first.merge_batch(&values[..2], group_indices, total_num_groups)?;
        self.last.merge_batch(&values[2..], group_indices, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let state = self.state(emit_to)?;
        let value = |column: usize| state[column].as_primitive::<Float64Type>();
        let time = |column: usize| state[column].as_primitive::<Int64Type>();
        let ((first, begun), (last, ended)) = ((value(0), time(1)), (value(2), time(3)));
        let change = |row| {
            let change = first.is_valid(row).then(|| last.value(row) - first.value(row))?;
            let seconds = (ended.value(row) - begun.value(row)) as f64 / 1e6;
            match self.per_second {
                true => (seconds > 0.0).then(|| change / seconds),
                false => Some(change),
            }
        };
        Ok(Arc::new((0..first.len()).map(change).collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok([self.first.state(emit_to)?, self.last.state(emit_to)?].concat())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let counting = counting(values, opt_filter)?;
        let one = self.first.convert_to_state(values, Some(&counting))?;
        Ok([one.clone(), one].concat())
    }

    fn size(&self) -> usize {
        self.first.size() + self.last.size()
    }
}

/// One group, which may be asked again and again while it grows.
#[derive(Debug)]
struct One(Both);

impl One {
    /// The state of the group, which stays.
    fn kept(&mut self) -> Result<Vec<ArrayRef>> {
        let state = self.0.state(EmitTo::All)?;
        self.0.merge_batch(&state, &[0], 1)?;
        Ok(state)
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states[0].len()], 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = self.kept()?;
        state.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.kept()?;
        let answer = self.0.evaluate(EmitTo::All)?;
        self.0.merge_batch(&state, &[0], 1)?;
        ScalarValue::try_from_array(&answer, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}
