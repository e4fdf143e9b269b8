//! Metric values out of any column that can hold them, a column at a time.

use super::detect::{is_text, plain_type};
use crate::ingest::route::TEXT_BYTES_MAX;
use crate::model::DataType;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType as Arrow, Float64Type, Int64Type};
use arrow::error::ArrowError;
use std::sync::Arc;

/// A column of a metric's own type, and the rows whose values did not fit: they are null.
pub(super) struct Converted {
    pub column: ArrayRef,
    pub bad: Vec<u32>,
}

/// Whether no column of this Arrow type can be a metric of this type.
pub(super) fn mismatch(found: &Arrow, data_type: DataType) -> Option<String> {
    let found = plain_type(found);
    let fits = match data_type {
        _ if *found == Arrow::Null => true,
        DataType::Double | DataType::Integer => found.is_numeric() || is_text(found),
        DataType::Bool => *found == Arrow::Boolean || found.is_numeric() || is_text(found),
        DataType::String => is_text(found),
    };
    (!fits).then(|| format!("expected {data_type}, found a column of type {found}"))
}

/// Converts a column for which [`mismatch`] found nothing.
pub(super) fn convert(source: &ArrayRef, data_type: DataType) -> Result<Converted, ArrowError> {
    let rows = source.len();
    if *source.data_type() == Arrow::Null {
        return Ok(Converted { column: new_null_array(&data_type.arrow(), rows), bad: Vec::new() });
    }
    let text = is_text(source.data_type());
    let source = match source.data_type() {
        Arrow::Dictionary(_, values) => &cast(source, values)?,
        _ => source,
    };
    let column: ArrayRef = match data_type {
        DataType::Double => cast(source, &Arrow::Float64)?,
        DataType::Integer if text || source.data_type().is_integer() => {
            cast(source, &Arrow::Int64)?
        }
        DataType::Integer => {
            let numbers = cast(source, &Arrow::Float64)?;
            let whole = |number: f64| {
                (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0)
                    .then_some(number as i64)
            };
            Arc::new(numbers.as_primitive::<Float64Type>().unary_opt::<_, Int64Type>(whole))
        }
        DataType::Bool if text || *source.data_type() == Arrow::Boolean => {
            cast(source, &Arrow::Boolean)?
        }
        DataType::Bool => {
            let numbers = cast(source, &Arrow::Float64)?;
            let bit = |number: Option<f64>| match number {
                Some(0.0) => Some(false),
                Some(1.0) => Some(true),
                _ => None,
            };
            Arc::new(BooleanArray::from_iter(numbers.as_primitive::<Float64Type>().iter().map(bit)))
        }
        DataType::String => cast(source, &Arrow::Utf8)?,
    };
    refuse(source, column)
}

/// Finds the rows that lost their value and those whose value no metric may have.
fn refuse(source: &ArrayRef, column: ArrayRef) -> Result<Converted, ArrowError> {
    let forbidden = forbidden(&column);
    if forbidden.is_none() && column.null_count() == source.null_count() {
        return Ok(Converted { column, bad: Vec::new() });
    }
    let is_forbidden = |row| forbidden.as_ref().is_some_and(|rows: &BooleanArray| rows.value(row));
    let bad = (0..source.len())
        .filter(|row| source.is_valid(*row) && (column.is_null(*row) || is_forbidden(*row)))
        .map(|row| row as u32)
        .collect();
    let column = match &forbidden {
        Some(forbidden) => nullif(&column, forbidden)?,
        None => column,
    };
    Ok(Converted { column, bad })
}

/// Floats that are not finite, texts that are too long; `None` when there are none.
fn forbidden(column: &ArrayRef) -> Option<BooleanArray> {
    match column.data_type() {
        Arrow::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            let finite = values.iter().all(|value| value.is_finite());
            (!finite).then(|| values.iter().map(|value| Some(!value.is_finite())).collect())
        }
        Arrow::Utf8 => {
            let offsets = column.as_string::<i32>().offsets();
            let long = |ends: &[i32]| ends[1] - ends[0] > TEXT_BYTES_MAX as i32;
            let any = offsets.windows(2).any(long);
            any.then(|| offsets.windows(2).map(|ends| Some(long(ends))).collect())
        }
        _ => None,
    }
}
