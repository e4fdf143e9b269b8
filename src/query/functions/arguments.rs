//! What the arguments of functions may be, and constants among them.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_err};

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// An instant.
    Time,
    /// A number, read as a double.
    Number,
    /// A whole number.
    Whole,
    /// A span of time: an interval, or a text that is one.
    Span,
    /// A text.
    Text,
    /// An instant or the name of a time zone.
    TimeOrText,
    /// Something of any type.
    Any,
}

/// The type of instants.
pub(super) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// An instant as a value.
pub(super) fn at(micros: Option<i64>) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(micros, Some("UTC".into()))
}

impl Argument {
    /// The type that a value of this type is turned into, if it can be such an argument.
    fn accepts(self, given: &DataType) -> Option<DataType> {
        let text = matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let null = given.is_null();
        let time = matches!(given, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
        match self {
            Self::Any => Some(given.clone()),
            Self::Time => (time || text || null).then(instant),
            Self::Number => (given.is_numeric() || null).then_some(DataType::Float64),
            Self::Whole => (given.is_integer() || null).then_some(DataType::Int64),
            Self::Text => (text || null).then_some(DataType::Utf8),
            Self::TimeOrText if text || null => Some(DataType::Utf8),
            Self::TimeOrText => time.then(instant),
            Self::Span if text || null => Some(DataType::Utf8),
            Self::Span => matches!(given, DataType::Interval(_) | DataType::Duration(_))
                .then_some(DataType::Interval(IntervalUnit::MonthDayNano)),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Time => "a time",
            Self::Number => "a number",
            Self::Whole => "a whole number",
            Self::Span => "an interval or a text such as '5 minutes'",
            Self::Text => "a text",
            Self::TimeOrText => "a time or the name of a time zone",
            Self::Any => "a value",
        }
    }
}

/// The types that these arguments are turned into; all behind the first `required` may be left out.
pub(super) fn coerce(
    usage: &str,
    wanted: &[Argument],
    required: usize,
    given: &[DataType],
) -> Result<Vec<DataType>> {
    if given.len() < required || given.len() > wanted.len() {
        return plan_err!("{} arguments, write {usage}", given.len());
    }
    let one = |(at, (wanted, given)): (usize, (&Argument, &DataType))| {
        wanted.accepts(given).map_or_else(
            || {
                let (place, expected) = (at + 1, wanted.expected());
                plan_err!("argument {place} is {given}, not {expected}: write {usage}")
            },
            Ok,
        )
    };
    wanted.iter().zip(given).enumerate().map(one).collect()
}
