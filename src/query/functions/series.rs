//! Aggregates that need all points of a group in order.
//!
//! Rows come in any order, so the points are kept until the group is complete: 16 bytes for each,
//! which count towards the memory that a query may take.

use super::arguments::{Argument, coerce, instant};
use super::ends::numbers;
use super::points::{Rows, columns};
use super::question::{Question, between};
use super::series_groups::{Groups, One};
use super::weighted::Between;
use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::cast;
use arrow::compute::kernels::cmp::eq;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, ColumnarValue, GroupsAccumulator, Signature, Volatility,
};
use std::sync::Arc;

/// Points that a downsampled line may have.
pub(super) const DOWNSAMPLED_MAX: i64 = 10_000;

/// The aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// `time_weighted_avg(time, value [, method] [, start, end])`, see [`super::weighted::average`].
    TimeWeightedAvg,
    /// `counter_delta(value, time)`, see [`super::weighted::counted`].
    CounterDelta,
    /// `counter_rate(value, time)` per second; null over no time.
    CounterRate,
    /// `state_time(state, time, wanted [, end])`, see [`super::weighted::held`].
    StateTime,
    /// `lttb(time, value, n)`, see [`super::downsample::lttb`].
    Lttb,
    /// `m4(time, value, n)`, see [`super::downsample::m4`].
    M4,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::TimeWeightedAvg,
        Self::CounterDelta,
        Self::CounterRate,
        Self::StateTime,
        Self::Lttb,
        Self::M4,
    ];

    fn name(self) -> &'static str {
        self.usage().split('(').next().unwrap_or_default()
    }

    fn usage(self) -> &'static str {
        match self {
            Self::TimeWeightedAvg => {
                "time_weighted_avg(time, value [, 'locf' or 'linear'] [, start, end])"
            }
            Self::CounterDelta => "counter_delta(value, time)",
            Self::CounterRate => "counter_rate(value, time)",
            Self::StateTime => "state_time(state, time, wanted [, end])",
            Self::Lttb => "lttb(time, value, n)",
            Self::M4 => "m4(time, value, n)",
        }
    }

    /// What the arguments are, of which so many must be there.
    fn wanted(self, given: usize) -> (&'static [Argument], usize) {
        use Argument::{Any, Number, Text, Time, Whole};
        match self {
            Self::TimeWeightedAvg if given == 4 => (&[Time, Number, Time, Time], 4),
            Self::TimeWeightedAvg if given > 3 => (&[Time, Number, Text, Time, Time], 5),
            Self::TimeWeightedAvg => (&[Time, Number, Text], 2),
            Self::CounterDelta | Self::CounterRate => (&[Number, Time], 2),
            Self::StateTime => (&[Any, Time, Any, Time], 3),
            Self::Lttb | Self::M4 => (&[Time, Number, Whole], 3),
        }
    }

    /// The question that the constants among the arguments ask.
    fn question(self, args: &AccumulatorArgs) -> Result<Question> {
        let constant = |at: usize| args.exprs.get(at).map(|_| constant(args, at)).transpose();
        let count = |least: i64| match constant(2)? {
            Some(ScalarValue::Int64(Some(n))) if (least..=DOWNSAMPLED_MAX).contains(&n) => {
                Ok(n as usize)
            }
            _ => plan_err!(
                "n is a constant from {least} to {DOWNSAMPLED_MAX}: write {}",
                self.usage()
            ),
        };
        Ok(match self {
            Self::TimeWeightedAvg if args.exprs.len() == 4 => Question::Average(Between::Locf),
            Self::TimeWeightedAvg => Question::Average(match constant(2)? {
                None => Between::Locf,
                Some(method) => between(&method)?,
            }),
            Self::CounterDelta => Question::Counted,
            Self::CounterRate => Question::CountedRate,
            Self::StateTime => Question::Held,
            Self::Lttb => Question::Lttb(count(3)?),
            Self::M4 => Question::M4(count(1)?),
        })
    }

    /// Arguments as rows of points.
    pub fn rows(self, values: &[ArrayRef]) -> Result<Rows> {
        let bound = |at: usize| values.get(at).map(numbers).transpose();
        let (time, value) = match self {
            Self::CounterDelta | Self::CounterRate | Self::StateTime => (1, 0),
            Self::TimeWeightedAvg | Self::Lttb | Self::M4 => (0, 1),
        };
        let times = numbers(&values[time])?;
        let (values, start, end) = match self {
            Self::StateTime => (is_wanted(&values[0], &values[2])?, None, bound(3)?),
            Self::TimeWeightedAvg if values.len() == 4 => {
                (Arc::clone(&values[value]), bound(2)?, bound(3)?)
            }
            Self::TimeWeightedAvg => (Arc::clone(&values[value]), bound(3)?, bound(4)?),
            _ => (Arc::clone(&values[value]), None, None),
        };
        Ok(Rows { times, values, start, end })
    }
}

/// 1 where the state is the wanted one, 0 where it is another, null where one of them is.
fn is_wanted(state: &ArrayRef, wanted: &ArrayRef) -> Result<ArrayRef> {
    let same: BooleanArray = eq(state, wanted)?;
    Ok(cast(&same, &DataType::Float64)?)
}

fn constant(args: &AccumulatorArgs, at: usize) -> Result<ScalarValue> {
    let none = arrow::array::RecordBatch::new_empty(Arc::new(args.schema.clone()));
    match args.exprs[at].evaluate(&none) {
        Ok(ColumnarValue::Scalar(value)) => Ok(value),
        _ => plan_err!("argument {} is a constant", at + 1),
    }
}

/// The type of downsampled lines: a list of times and values.
pub(super) fn line() -> FieldRef {
    let point =
        [Field::new("time", instant(), false), Field::new("value", DataType::Float64, false)];
    Arc::new(Field::new_list_field(DataType::Struct(Fields::from_iter(point)), true))
}

/// One of the aggregates.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct OfSeries {
    kind: Kind,
    signature: Signature,
}

impl OfSeries {
    pub fn new(kind: Kind) -> Self {
        Self { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for OfSeries {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (wanted, required) = self.kind.wanted(given.len());
        let mut types = coerce(self.kind.usage(), wanted, required, given)?;
        if self.kind == Kind::StateTime {
            let same = comparison_coercion(&types[0], &types[2]).ok_or_else(|| {
                plan_datafusion_err!("a state of {} is never {}", types[0], types[2])
            })?;
            (types[0], types[2]) = (same.clone(), same);
        }
        Ok(types)
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Lttb | Kind::M4 => DataType::List(line()),
            _ => DataType::Float64,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |(name, of)| Field::new(format_state_name(args.name, name), of, true).into();
        Ok(columns().into_iter().map(field).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One::new(self.kind, self.kind.question(&args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::new(self.kind, self.kind.question(&args)?)))
    }
}
