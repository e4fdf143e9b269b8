//! Floating-point numbers as PostgreSQL writes them: the fewest digits that say which one it is, and
//! an exponent where it is large or small.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

/// Numbers with an exponent up to these are written without one.
const DOUBLE: i32 = 15;
const SINGLE: i32 = 6;

/// The text of a value that is a floating-point number or a list of them; `None` for others.
pub(super) fn text(values: &ArrayRef, at: usize) -> Option<String> {
    match values.data_type() {
        DataType::Float64 => Some(double(values.as_primitive::<Float64Type>().value(at))),
        DataType::Float32 => Some(single(values.as_primitive::<Float32Type>().value(at))),
        DataType::List(item) if item.data_type().is_floating() => {
            let items = values.as_list::<i32>().value(at);
            let item = |at| match items.is_null(at) {
                true => Some("NULL".to_owned()),
                false => text(&items, at),
            };
            let items = (0..items.len()).map(item).collect::<Option<Vec<String>>>()?;
            Some(format!("{{{}}}", items.join(",")))
        }
        _ => None,
    }
}

fn double(number: f64) -> String {
    written(number.is_nan(), number.is_infinite(), &format!("{number:e}"), DOUBLE)
}

fn single(number: f32) -> String {
    written(number.is_nan(), number.is_infinite(), &format!("{number:e}"), SINGLE)
}

/// The number of a text like `-1.25e-7`, which has the fewest digits.
fn written(nan: bool, infinite: bool, text: &str, most: i32) -> String {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    if nan {
        return "NaN".into();
    }
    if infinite {
        return format!("{sign}Infinity");
    }
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..most).contains(&exponent) {
        let by = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{by}{:02}", exponent.unsigned_abs());
    }
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    match digits.len() <= whole {
        true => format!("{sign}{digits}{}", "0".repeat(whole - digits.len())),
        false => format!("{sign}{}.{}", &digits[..whole], &digits[whole..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_postgresql_writes_them() {
        // As `SELECT x::float8` says in PostgreSQL 16.
        let cases = [
            (43.0, "43"),
            (-0.0, "-0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1_699_999_800.0, "1699999800"),
            (100_000_000_000_000.0, "100000000000000"),
            (1e15, "1e+15"),
            (123_456_789_012_345.67, "123456789012345.67"),
            (1.2345678901234568e17, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-0.000123, "-0.000123"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (number, expected) in cases {
            assert_eq!(double(number), expected);
        }
        for (number, expected) in
            [(0.1, "0.1"), (100_000.0, "100000"), (1e6, "1e+06"), (16_777_216.0, "1.6777216e+07")]
        {
            assert_eq!(single(number), expected);
        }
    }

    #[test]
    fn every_text_says_its_number() {
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            let number = f64::from_bits(bits);
            if number.is_finite() {
                let read: f64 = double(number).parse().unwrap();
                assert_eq!(read.to_bits(), number.to_bits(), "{number:e}");
            }
        }
    }
}
