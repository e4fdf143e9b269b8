//! Types of parameters, and their values as people write them.

use crate::model::{Duration, Timestamp};
use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{DataType, ExactNumberInfo, TimezoneInfo};

/// What the value of a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterType {
    /// Any text.
    String,
    /// A number.
    Double,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Bool,
    /// An instant.
    Timestamp,
    /// A span of time, never negative.
    Duration,
}

impl ParameterType {
    /// All types.
    pub const ALL: [Self; 6] =
        [Self::String, Self::Double, Self::Integer, Self::Bool, Self::Timestamp, Self::Duration];

    /// The name in files and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Double => "double",
            Self::Integer => "integer",
            Self::Bool => "bool",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
        }
    }

    /// The type of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// What a value looks like, for people.
    pub fn expected(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Double => "a number",
            Self::Integer => "a whole number",
            Self::Bool => "true or false",
            Self::Timestamp => {
                "a time: RFC 3339 (2025-03-01T12:00:00Z), a date, a number since 1970, now, or \
                 relative to now (now-1h, -P7D, or PT6H for as long ago)"
            }
            Self::Duration => "a duration: ISO 8601 (PT5M) or as people write it (5m, 1h 30m)",
        }
    }

    /// Reads a value; times are relative to `now`. `None` when it is not of the type.
    pub(in crate::query) fn read(self, text: &str, now: Timestamp) -> Option<ScalarValue> {
        let plain = text.trim();
        Some(match self {
            Self::String => ScalarValue::Utf8(Some(text.into())),
            Self::Double => {
                let number = plain.parse().ok().filter(|number: &f64| number.is_finite());
                ScalarValue::Float64(Some(number?))
            }
            Self::Integer => ScalarValue::Int64(Some(plain.parse().ok()?)),
            Self::Bool => ScalarValue::Boolean(Some(plain.parse().ok()?)),
            Self::Timestamp => instant(Some(time(plain, now)?.0)),
            Self::Duration => {
                let nanos = plain.parse::<Duration>().ok()?.0.checked_mul(1_000)?;
                span(Some(IntervalMonthDayNano::new(0, 0, nanos)))
            }
        })
    }

    /// No value.
    pub(super) fn null(self) -> ScalarValue {
        match self {
            Self::String => ScalarValue::Utf8(None),
            Self::Double => ScalarValue::Float64(None),
            Self::Integer => ScalarValue::Int64(None),
            Self::Bool => ScalarValue::Boolean(None),
            Self::Timestamp => instant(None),
            Self::Duration => span(None),
        }
    }

    /// The type in a `PREPARE` statement.
    pub(super) fn sql(self) -> DataType {
        match self {
            Self::String => DataType::Text,
            Self::Double => DataType::Double(ExactNumberInfo::None),
            Self::Integer => DataType::BigInt(None),
            Self::Bool => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(Some(6), TimezoneInfo::Tz),
            Self::Duration => DataType::Interval { fields: None, precision: None },
        }
    }
}

fn instant(micros: Option<i64>) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(micros, Some(ZONE.into()))
}

/// The zone of all times.
pub(super) const ZONE: &str = "UTC";

fn span(span: Option<IntervalMonthDayNano>) -> ScalarValue {
    ScalarValue::IntervalMonthDayNano(span)
}

/// An instant as text or number, a date or time of day in UTC, or relative to now. An ISO 8601
/// duration alone is as long ago.
pub(in crate::query) fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = Timestamp::parse(text) {
        return Some(time);
    }
    if let Ok(civil) = text.parse::<jiff::civil::DateTime>() {
        let instant = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        return Some(Timestamp(instant.timestamp().as_microsecond()));
    }
    let offset = text.strip_prefix("now").unwrap_or(text).trim();
    if offset.is_empty() {
        return (text == "now").then_some(now);
    }
    let (sign, span) = match offset.split_at_checked(1)? {
        ("-", span) => (-1, span),
        ("+", span) => (1, span),
        ("P", _) if offset == text => (-1, offset),
        _ => return None,
    };
    let span: Duration = span.trim().parse().ok()?;
    now.0.checked_add(sign * span.0).map(Timestamp)
}
