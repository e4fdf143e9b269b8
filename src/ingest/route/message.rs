//! One decoded message of a device, still in the words of its sender.

use crate::model::{DataType, Quality, Timestamp};
use std::borrow::Cow;

/// Texts of metrics are cut off here, with a refusal: states are short, and the engine keeps each
/// distinct one for as long as it runs.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Whole numbers up to this size are exact as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What a device said at one event time. Borrows from the bytes that it came in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message<'a> {
    /// The device's key.
    pub device: Option<Cow<'a, str>>,
    /// Names and values. When a name is there twice, the last value counts.
    pub metrics: Vec<(Cow<'a, str>, Scalar<'a>)>,
    /// When it happened. None: when it was received.
    pub event_time: Option<Timestamp>,
    /// The quality of all values.
    pub quality: Quality,
}

/// A value as a payload wrote it.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Double(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A text.
    Text(Cow<'a, str>),
    /// `null`: the metric is not in the message.
    Null,
    /// Something that no metric can be; the text names it.
    Other(&'static str),
}

/// A value of a metric's own type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Typed<'a> {
    Double(f64),
    Integer(i64),
    Bool(bool),
    Text(&'a str),
}

impl Scalar<'_> {
    /// The value as a metric of this type has it, or what is wrong with it.
    ///
    /// Whole numbers serve as doubles; doubles without a fraction serve as integers; 1 and 0 serve
    /// as bools. A null is a programming error: the caller leaves it out.
    pub(super) fn typed(&self, data_type: DataType) -> Result<Typed<'_>, String> {
        match (data_type, self) {
            (DataType::Double, Self::Integer(value)) => Ok(Typed::Double(*value as f64)),
            (DataType::Double, Self::Double(value)) if value.is_finite() => {
                Ok(Typed::Double(*value))
            }
            (DataType::Integer, Self::Integer(value)) => Ok(Typed::Integer(*value)),
            (DataType::Integer, Self::Double(value))
                if value.fract() == 0.0 && value.abs() <= EXACT =>
            {
                Ok(Typed::Integer(*value as i64))
            }
            (DataType::Bool, Self::Bool(value)) => Ok(Typed::Bool(*value)),
            (DataType::Bool, Self::Integer(value @ (0 | 1))) => Ok(Typed::Bool(*value == 1)),
            (DataType::Bool, Self::Double(value)) if *value == 0.0 || *value == 1.0 => {
                Ok(Typed::Bool(*value == 1.0))
            }
            (DataType::String, Self::Text(text)) if text.len() <= TEXT_BYTES_MAX => {
                Ok(Typed::Text(text))
            }
            (DataType::String, Self::Text(text)) => Err(format!(
                "a text of {} bytes is longer than the limit of {TEXT_BYTES_MAX}",
                text.len()
            )),
            (_, Self::Double(value)) if !value.is_finite() => {
                Err(format!("{value} is not a finite number"))
            }
            _ => Err(format!("expected {data_type}, found {}", self.describe())),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Integer(value) => format!("the number {value}"),
            Self::Double(value) => format!("the number {value}"),
            Self::Bool(value) => format!("{value}"),
            Self::Text(text) => {
                let short: String = text.chars().take(40).collect();
                format!("the text '{short}'")
            }
            Self::Null => "null".into(),
            Self::Other(what) => (*what).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data_type: DataType, scalar: Scalar, expected: Result<Typed, &str>) {
        let found = scalar.typed(data_type);
        match expected {
            Ok(typed) => assert_eq!(found, Ok(typed), "{data_type} {scalar:?}"),
            Err(part) => {
                let error = found.expect_err("must be refused");
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn values_fit_or_say_why_not() {
        use DataType::{Bool, Double, Integer, String};
        check(Double, Scalar::Integer(3), Ok(Typed::Double(3.0)));
        check(Double, Scalar::Double(f64::NAN), Err("NaN is not a finite number"));
        check(Double, Scalar::Double(f64::INFINITY), Err("inf is not a finite number"));
        check(Double, Scalar::Text("3".into()), Err("expected double, found the text '3'"));
        check(Double, Scalar::Bool(true), Err("expected double, found true"));
        check(Integer, Scalar::Double(4.0), Ok(Typed::Integer(4)));
        check(Integer, Scalar::Double(4.5), Err("expected integer, found the number 4.5"));
        check(Integer, Scalar::Double(1e300), Err("expected integer"));
        check(Bool, Scalar::Integer(1), Ok(Typed::Bool(true)));
        check(Bool, Scalar::Integer(2), Err("expected bool"));
        check(String, Scalar::Text("open".into()), Ok(Typed::Text("open")));
        check(String, Scalar::Text("x".repeat(2_000).into()), Err("longer than the limit"));
        check(String, Scalar::Other("an array"), Err("found an array"));
    }
}
