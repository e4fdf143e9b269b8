//! Event times out of any column that can hold them.

use super::detect::{Error, is_text, plain_type};
use crate::model::Timestamp;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};

/// Event times of a column, microseconds UTC.
#[derive(Clone, Debug)]
pub struct Times {
    /// One for each row; any number where the row has none.
    pub micros: ScalarBuffer<i64>,
    /// Which rows have a time that can be read; `None`: all.
    pub valid: Option<NullBuffer>,
}

impl Times {
    /// Whether a row has a time.
    pub fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.is_valid(row))
    }
}

/// Whether [`times`] takes columns of a type.
pub(super) fn readable(data_type: &DataType) -> bool {
    let data_type = plain_type(data_type);
    is_text(data_type)
        || data_type.is_integer()
        || data_type.is_floating()
        || matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// Reads a column of event times. `name` is the column's, for the error. Microsecond timestamps
/// are not copied.
pub fn times(name: &str, column: &ArrayRef) -> Result<Times, Error> {
    let failed = |e: arrow::error::ArrowError| Error::Convert {
        column: name.into(),
        message: e.to_string(),
    };
    let data_type = plain_type(column.data_type()).clone();
    let column = match column.data_type() {
        DataType::Dictionary(..) => &cast(column, &data_type).map_err(failed)?,
        _ => column,
    };
    let micros: Int64Array = match &data_type {
        DataType::Timestamp(unit, _) => {
            let raw = column.to_data().into_builder().data_type(DataType::Int64).build();
            let raw = Int64Array::from(raw.map_err(failed)?);
            match unit {
                TimeUnit::Second => raw.unary_opt(|time| time.checked_mul(1_000_000)),
                TimeUnit::Millisecond => raw.unary_opt(|time| time.checked_mul(1_000)),
                TimeUnit::Microsecond => raw,
                TimeUnit::Nanosecond => raw.unary(|time| time.div_euclid(1_000)),
            }
        }
        DataType::Date32 | DataType::Date64 => {
            let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
            let time = cast(column, &timestamp).map_err(failed)?;
            time.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>()
        }
        number if number.is_integer() => {
            let number = cast(column, &DataType::Int64).map_err(failed)?;
            let number = number.as_primitive::<Int64Type>();
            number.unary_opt(|time| Timestamp::from_integer(time).map(|time| time.0))
        }
        number if number.is_floating() => {
            let number = cast(column, &DataType::Float64).map_err(failed)?;
            let number = number.as_primitive::<Float64Type>();
            number.unary_opt(|time| Timestamp::from_number(time).map(|time| time.0))
        }
        text if is_text(text) => {
            let texts = cast(column, &DataType::Utf8).map_err(failed)?;
            let texts = texts.as_string::<i32>().iter();
            PrimitiveArray::from_iter(texts.map(|text| parse(text?)))
        }
        other => {
            let expected = "a timestamp, a date, an epoch number or a text";
            let found = other.to_string();
            return Err(Error::Type { column: name.into(), found, expected });
        }
    };
    let (_, micros, valid) = micros.into_parts();
    Ok(Times { micros, valid: valid.filter(|valid| valid.null_count() > 0) })
}

/// Microseconds of a text: as everywhere, and without an offset as UTC, which files often mean.
fn parse(text: &str) -> Option<i64> {
    if let Ok(number) = text.trim().parse() {
        return Timestamp::from_integer(number).map(|time| time.0);
    }
    if let Ok(time) = Timestamp::parse(text) {
        return Some(time.0);
    }
    let civil: jiff::civil::DateTime = text.trim().parse().ok()?;
    let instant = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(instant.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Date32Array, DictionaryArray, Float64Array, Int32Array, LargeStringArray, StringArray,
        StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
        TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
    };
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    fn check(column: impl Array + 'static, expected: &[Option<i64>]) {
        let column: ArrayRef = Arc::new(column);
        let times = times("time", &column).unwrap();
        let found: Vec<_> =
            (0..column.len()).map(|row| times.is_valid(row).then_some(times.micros[row])).collect();
        assert_eq!(found, expected, "{}", column.data_type());
    }

    #[test]
    fn any_column_of_times_is_read() {
        let second = Some(1_772_323_205_000_000);
        check(TimestampSecondArray::from(vec![1_772_323_205]), &[second]);
        check(
            TimestampMillisecondArray::from(vec![Some(1_772_323_205_000), None]),
            &[second, None],
        );
        check(TimestampMicrosecondArray::from(vec![1_772_323_205_000_000]), &[second]);
        let zoned = TimestampNanosecondArray::from(vec![1_772_323_205_000_000_000, -1]);
        check(zoned.with_timezone("+02:00"), &[second, Some(-1)]);
        check(TimestampSecondArray::from(vec![i64::MAX]), &[None]);
        check(Int32Array::from(vec![1_772_323_205]), &[second]);
        check(UInt64Array::from(vec![1_772_323_205_000, u64::MAX]), &[second, None]);
        check(Float64Array::from(vec![1_772_323_205.0, f64::NAN]), &[second, None]);
        check(Date32Array::from(vec![1]), &[Some(86_400_000_000)]);
        let texts = vec![
            Some("2026-03-01T00:00:05Z"),
            Some("2026-03-01T01:00:05+01:00"),
            Some("2026-03-01 00:00:05"),
            Some("1772323205"),
            Some("soon"),
            None,
        ];
        let expected = [second, second, second, second, None, None];
        check(StringArray::from(texts.clone()), &expected);
        check(LargeStringArray::from(texts.clone()), &expected);
        check(StringViewArray::from(texts.clone()), &expected);
        check(texts.into_iter().collect::<DictionaryArray<Int32Type>>(), &expected);
    }
}
