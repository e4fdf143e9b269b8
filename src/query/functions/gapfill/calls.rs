//! The functions as SQL knows them. They are planned away and never run.

use super::Fill;
use crate::query::functions::arguments::{Argument, coerce, instant};
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// How `time_bucket_gapfill` is written.
pub(super) const USAGE: &str = "time_bucket_gapfill(width, time, start, finish [, timezone])";

/// `time_bucket_gapfill(width, time [, start, finish [, timezone]])`.
///
/// Groups like `time_bucket`, and adds a row for every bucket without one from that of `start` to
/// the last that begins before `finish`: for each combination of the other keys that has rows at
/// all, or once when there are no other keys. Aggregates of added rows are null. Rows outside of
/// the range stay. Without start and finish they are taken from `WHERE time >= ... AND time < ...`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::query::functions) struct Gapfill {
    signature: Signature,
}

impl Gapfill {
    pub fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// The arguments of a call, if the expression is one.
    pub fn arguments(expr: &Expr) -> Option<&[Expr]> {
        match expr {
            Expr::Alias(alias) => Self::arguments(&alias.expr),
            Expr::ScalarFunction(call) if call.func.inner().is::<Self>() => Some(&call.args),
            _ => None,
        }
    }
}

impl ScalarUDFImpl for Gapfill {
    fn name(&self) -> &str {
        "time_bucket_gapfill"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        use Argument::{Span, Text, Time};
        let required = if given.len() == 2 { 2 } else { 4 };
        coerce(USAGE, &[Span, Time, Time, Time, Text], required, given)
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(instant())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("time_bucket_gapfill stands only in GROUP BY, as a key of its own")
    }
}

/// `locf(aggregate)` and `interpolate(aggregate)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::query::functions) struct InGaps {
    fill: Fill,
    signature: Signature,
}

impl InGaps {
    pub fn new(fill: Fill) -> Self {
        Self { fill, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// What a call says of gaps, and of which expression.
    pub fn of(expr: &Expr) -> Option<(Fill, &Expr)> {
        match expr {
            Expr::ScalarFunction(call) => {
                let found = call.func.inner().downcast_ref::<Self>()?;
                Some((found.fill, call.args.first()?))
            }
            _ => None,
        }
    }
}

impl ScalarUDFImpl for InGaps {
    fn name(&self) -> &str {
        match self.fill {
            Fill::Locf => "locf",
            Fill::Interpolate => "interpolate",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = match self.fill {
            Fill::Locf => Argument::Any,
            Fill::Interpolate => Argument::Number,
        };
        coerce(&format!("{}(aggregate)", self.name()), &[wanted], 1, given)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(given[0].clone())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = self.name();
        plan_err!("{name} stands only in a SELECT that groups by time_bucket_gapfill")
    }
}
