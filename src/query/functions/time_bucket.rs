//! `time_bucket`: the beginning of the bucket that a time is in.

use super::arguments::{Argument, at, coerce, instant};
use super::buckets::{Buckets, Width};
use super::zone::Zone;
use arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

const USAGE: &str = "time_bucket(width, time [, origin] [, timezone])";
const WANTED: [Argument; 4] =
    [Argument::Span, Argument::Time, Argument::TimeOrText, Argument::Text];

/// `time_bucket(width, time [, origin] [, timezone])`.
///
/// The width is an interval or a text like `5 minutes`, `1 day` or `PT5M`; it, origin and zone are
/// constants. Without an origin buckets begin on Monday 2000-01-03, those of months and years in
/// January 2000, at midnight on the clock of the zone, UTC when none is named.
///
/// In a zone buckets of days, weeks, months and years begin at the same local time each, so that
/// a day has 23 or 25 hours when clocks change. Buckets of hours and less are aligned to the local
/// clock too; an hour that comes twice is two buckets. A bucket that would begin in a gap of the
/// clock begins behind it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimeBucket {
    signature: Signature,
}

impl TimeBucket {
    pub fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// The buckets that constants describe: width, then origin and zone. `None` when one is null.
pub(super) fn buckets(width: &ScalarValue, others: &[ScalarValue]) -> Result<Option<Buckets>> {
    if width.is_null() || others.iter().any(ScalarValue::is_null) {
        return Ok(None);
    }
    let width = match width {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => Width::of(*interval),
        ScalarValue::Utf8(Some(text)) => Width::parse(text)?,
        other => return internal_err!("a width of type {}", other.data_type()),
    };
    let (mut origin, mut zone) = (None, None);
    for other in others {
        match other {
            ScalarValue::TimestampMicrosecond(Some(time), _) => origin = Some(*time),
            // Times begin with a digit, names of zones and offsets do not.
            ScalarValue::Utf8(Some(text)) if text.starts_with(|c: char| c.is_ascii_digit()) => {
                match other.cast_to(&instant())? {
                    ScalarValue::TimestampMicrosecond(time, _) => origin = time,
                    other => return internal_err!("an origin of type {}", other.data_type()),
                }
            }
            ScalarValue::Utf8(Some(text)) => zone = Some(Zone::named(text)?),
            other => return internal_err!("an origin of type {}", other.data_type()),
        }
    }
    if zone.is_none() && others.len() == 2 {
        return plan_err!("the fourth argument is the time zone: write {USAGE}");
    }
    Buckets::new(width, origin, zone).map(Some)
}

fn constants(args: &[ColumnarValue]) -> Result<Vec<ScalarValue>> {
    let one = |arg: &ColumnarValue| match arg {
        ColumnarValue::Scalar(value) => Ok(value.clone()),
        ColumnarValue::Array(array) if array.len() == 1 => ScalarValue::try_from_array(array, 0),
        ColumnarValue::Array(_) => {
            plan_err!("width, origin and timezone are constants: write {USAGE}")
        }
    };
    args.iter().map(one).collect()
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        coerce(USAGE, &WANTED, 2, given)
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(instant())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [width, time, others @ ..] = args.args.as_slice() else {
            return internal_err!("{USAGE}");
        };
        let width = constants(std::slice::from_ref(width))?.swap_remove(0);
        let Some(mut buckets) = buckets(&width, &constants(others)?)? else {
            return Ok(ColumnarValue::Scalar(at(None)));
        };
        match time {
            ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(time, _)) => {
                let start = time.map(|time| buckets.start(time)).transpose()?;
                Ok(ColumnarValue::Scalar(at(start)))
            }
            ColumnarValue::Array(times) if times.data_type() == &instant() => {
                let times = times.as_primitive::<TimestampMicrosecondType>();
                let starts = times.iter().map(|t| t.map(|time| buckets.start(time)).transpose());
                let starts: TimestampMicrosecondArray = starts.collect::<Result<_>>()?;
                Ok(ColumnarValue::Array(Arc::new(starts.with_data_type(instant()))))
            }
            other => internal_err!("a time of type {}", other.data_type()),
        }
    }

    /// Buckets are in the order of their times.
    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        let constant = |input: &ExprProperties| input.sort_properties == SortProperties::Singleton;
        match inputs {
            [width, time, others @ ..] if constant(width) && others.iter().all(constant) => {
                Ok(time.sort_properties)
            }
            _ => Ok(SortProperties::Unordered),
        }
    }

    /// A comparison with the beginning of a bucket is one of times, so that files are left out.
    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        _context: &SimplifyContext,
    ) -> Result<PreimageResult> {
        let constants: Option<Vec<&ScalarValue>> =
            args.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, e)| e.as_literal()).collect();
        let (Some(constants), Some(ScalarValue::TimestampMicrosecond(Some(start), _)), Some(time)) =
            (constants, literal.as_literal(), args.get(1))
        else {
            return Ok(PreimageResult::None);
        };
        let others: Vec<ScalarValue> =
            constants[1..].iter().map(|other| (*other).clone()).collect();
        let Some(mut buckets) = buckets(constants[0], &others)? else {
            return Ok(PreimageResult::None);
        };
        let (Ok(begun), Ok(end)) = (buckets.start(*start), buckets.next(*start)) else {
            return Ok(PreimageResult::None);
        };
        if begun != *start {
            return Ok(PreimageResult::None);
        }
        let interval = Box::new(Interval::try_new(at(Some(*start)), at(Some(end)))?);
        Ok(PreimageResult::Range { expr: time.clone(), interval })
    }
}
