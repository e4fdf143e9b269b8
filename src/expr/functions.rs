//! The few functions that DataFusion lacks or that mean something else there: JSONata skips what
//! is missing, rounds halves to even, and has no infinities.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, NullBufferBuilder, StringBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType as Arrow, Float64Type};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Expr, Volatility, create_udf};
use std::sync::Arc;

/// A function of numbers that may be missing.
pub(super) type NumberFunction = fn(&[Option<f64>]) -> Option<f64>;

/// `a / b`, missing where `b` is zero.
pub(super) fn quotient(values: &[Option<f64>]) -> Option<f64> {
    let divisor = values[1].filter(|divisor| *divisor != 0.0)?;
    Some(values[0]? / divisor)
}

/// `a % b` with the sign of `a`, missing where `b` is zero.
pub(super) fn remainder(values: &[Option<f64>]) -> Option<f64> {
    let divisor = values[1].filter(|divisor| *divisor != 0.0)?;
    Some(values[0]? % divisor)
}

/// The square root, missing below zero.
pub(super) fn sqrt(values: &[Option<f64>]) -> Option<f64> {
    values[0].map(f64::sqrt)
}

/// `a` to the power of `b`, missing where that is no number.
pub(super) fn power(values: &[Option<f64>]) -> Option<f64> {
    Some(values[0]?.powf(values[1]?))
}

/// Rounded to a number of digits after the point (before it, when negative), halves to even.
pub(super) fn round(values: &[Option<f64>]) -> Option<f64> {
    let (value, digits) = (values[0]?, values[1]?.round_ties_even().clamp(-300.0, 300.0));
    let scale = 10f64.powi(digits.abs() as i32);
    let scaled = if digits < 0.0 { value / scale } else { value * scale };
    if !scaled.is_finite() {
        return Some(value);
    }
    let rounded = scaled.round_ties_even();
    Some(if digits < 0.0 { rounded * scale } else { rounded / scale })
}

/// The least of those that are there.
pub(super) fn min(values: &[Option<f64>]) -> Option<f64> {
    values.iter().flatten().copied().reduce(f64::min)
}

/// The greatest of those that are there.
pub(super) fn max(values: &[Option<f64>]) -> Option<f64> {
    values.iter().flatten().copied().reduce(f64::max)
}

/// The sum of those that are there; missing when none is.
pub(super) fn sum(values: &[Option<f64>]) -> Option<f64> {
    values.iter().flatten().copied().reduce(|a, b| a + b)
}

/// The mean of those that are there; missing when none is.
pub(super) fn average(values: &[Option<f64>]) -> Option<f64> {
    Some(sum(values)? / values.iter().flatten().count() as f64)
}

/// A call of a function of numbers. Results that are not finite are missing.
pub(super) fn call(name: &str, function: NumberFunction, arguments: Vec<Expr>) -> Expr {
    let types = vec![Arrow::Float64; arguments.len()];
    let body = move |arguments: &[ColumnarValue]| each_row(function, arguments);
    create_udf(name, types, Arrow::Float64, Volatility::Immutable, Arc::new(body)).call(arguments)
}

/// A number as text: no more digits than tell it apart, no `.0` behind whole numbers.
pub(super) fn number_text(argument: Expr) -> Expr {
    let body = |arguments: &[ColumnarValue]| {
        let numbers = arguments[0].to_array(1)?;
        let numbers = floats(&numbers)?;
        let mut texts = StringBuilder::with_capacity(numbers.len(), numbers.len() * 8);
        for number in numbers {
            texts.append_option(number.map(|number| number.to_string()));
        }
        let texts: ArrayRef = Arc::new(texts.finish());
        match &arguments[0] {
            ColumnarValue::Array(_) => Ok(ColumnarValue::Array(texts)),
            ColumnarValue::Scalar(_) => {
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?))
            }
        }
    };
    let types = vec![Arrow::Float64];
    create_udf("number_text", types, Arrow::Utf8, Volatility::Immutable, Arc::new(body))
        .call(vec![argument])
}

fn each_row(
    function: NumberFunction,
    arguments: &[ColumnarValue],
) -> Result<ColumnarValue, DataFusionError> {
    let mut values = vec![None; arguments.len()];
    let mut columns = Vec::with_capacity(arguments.len());
    for (value, argument) in values.iter_mut().zip(arguments) {
        match argument {
            ColumnarValue::Array(array) => columns.push(Some(floats(array)?)),
            ColumnarValue::Scalar(ScalarValue::Float64(constant)) => {
                *value = *constant;
                columns.push(None);
            }
            ColumnarValue::Scalar(other) => return Err(not_float(&other.data_type())),
        }
    }
    let result = |values: &[Option<f64>]| function(values).filter(|result| result.is_finite());
    let columns: Vec<(usize, &Float64Array)> =
        columns.into_iter().enumerate().filter_map(|(at, column)| Some((at, column?))).collect();
    let Some(rows) = columns.first().map(|(_, column)| column.len()) else {
        return Ok(ColumnarValue::Scalar(ScalarValue::Float64(result(&values))));
    };
    let read: Vec<(usize, &[f64], Option<&NullBuffer>)> = columns
        .into_iter()
        .map(|(at, column)| {
            let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
            (at, &column.values()[..rows], nulls)
        })
        .collect();
    let mut results = Vec::with_capacity(rows);
    let mut missing = NullBufferBuilder::new(rows);
    for i in 0..rows {
        for (at, column, nulls) in &read {
            let known = nulls.is_none_or(|nulls| nulls.is_valid(i));
            values[*at] = known.then(|| column[i]);
        }
        let result = result(&values);
        missing.append(result.is_some());
        results.push(result.unwrap_or_default());
    }
    Ok(ColumnarValue::Array(Arc::new(Float64Array::new(results.into(), missing.finish()))))
}

fn floats(array: &ArrayRef) -> Result<&Float64Array, DataFusionError> {
    array.as_primitive_opt::<Float64Type>().ok_or_else(|| not_float(array.data_type()))
}

fn not_float(found: &Arrow) -> DataFusionError {
    DataFusionError::Execution(format!("expected a column of float64, found {found}"))
}
