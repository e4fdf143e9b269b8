//! Event time, durations and epochs, each with a type of its own so that they cannot be mixed.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An instant in microseconds since 1970-01-01T00:00:00Z.
///
/// Prints as RFC 3339 in UTC. Used for event times (data) and receive times; the engine's own
/// logical time is [`Epoch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// The engine's logical time: one for each committed log frame, strictly increasing,
/// `max(previous + 1, wall clock in milliseconds)`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// A span of time in microseconds, never negative.
///
/// Written in documents and on the command line as ISO 8601 (`PT30S`, `P14D`) or as a human
/// duration (`250ms`, `1h 30m`). A day is 24 hours; months and years are refused, because their
/// length depends on the calendar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub i64);

/// Why a text or number is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not a timestamp in any accepted form.
    #[error(
        "'{0}' is not a timestamp: give RFC 3339 (2026-03-01T06:00:00Z) or epoch seconds, milliseconds, microseconds or nanoseconds"
    )]
    Timestamp(String),
    /// Not a duration in any accepted form.
    #[error(
        "'{0}' is not a duration: give ISO 8601 (PT30S, P14D) or a human duration (250ms, 1h 30m)"
    )]
    Duration(String),
}

impl Epoch {
    /// The first one that can follow.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Timestamp {
    /// Before every event time.
    pub const MIN: Self = Self(i64::MIN);

    /// Reads RFC 3339 with any offset, or a number as [`Timestamp::from_number`] does.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        if let Ok(number) = text.parse::<f64>() {
            return Self::from_number(number).ok_or_else(|| TimeError::Timestamp(text.into()));
        }
        let parsed: jiff::Timestamp =
            text.parse().map_err(|_| TimeError::Timestamp(text.into()))?;
        Ok(Self(parsed.as_microsecond()))
    }

    /// Reads an epoch number, telling its unit by its magnitude.
    ///
    /// Below 1e11 seconds (until the year 5138), below 1e14 milliseconds, below 1e17
    /// microseconds, else nanoseconds; the same borders on the negative side. `None` when the
    /// number is not finite or does not fit.
    pub fn from_number(number: f64) -> Option<Self> {
        let size = number.abs();
        let micros = match size {
            _ if !number.is_finite() => return None,
            _ if size < 1e11 => number * 1e6,
            _ if size < 1e14 => number * 1e3,
            _ if size < 1e17 => number,
            _ => number / 1e3,
        };
        (micros.abs() < 9.2e18).then_some(Self(micros.round() as i64))
    }

    /// The same as [`Timestamp::from_number`], exact for whole numbers of any size.
    pub fn from_integer(number: i64) -> Option<Self> {
        let size = number.unsigned_abs();
        match size {
            _ if size < 100_000_000_000 => number.checked_mul(1_000_000).map(Self),
            _ if size < 100_000_000_000_000 => number.checked_mul(1_000).map(Self),
            _ if size < 100_000_000_000_000_000 => Some(Self(number)),
            _ => Some(Self(number.div_euclid(1_000))),
        }
    }

    /// The start of the window of this size that holds the instant; windows start at the epoch.
    pub fn window_start(self, size: Duration) -> Self {
        Self(self.0 - self.0.rem_euclid(size.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Duration {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let refused = || TimeError::Duration(text.into());
        let span: jiff::Span = text.trim().parse().map_err(|_| refused())?;
        if span.get_months() != 0 || span.get_years() != 0 {
            return Err(refused());
        }
        let micros = span
            .total(jiff::SpanTotal::from(jiff::Unit::Microsecond).days_are_24_hours())
            .map_err(|_| refused())?;
        if !(0.0..=9e18).contains(&micros) {
            return Err(refused());
        }
        Ok(Self(micros.round() as i64))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", jiff::SignedDuration::from_micros(self.0))
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&jiff::SignedDuration::from_micros(self.0))
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        assert_eq!(Timestamp::parse(input).unwrap().to_string(), expected, "{input}");
    }

    #[test]
    fn timestamps_are_told_apart_by_magnitude() {
        check("2026-03-01T06:00:00Z", "2026-03-01T06:00:00Z");
        check("2026-03-01T07:00:00+01:00", "2026-03-01T06:00:00Z");
        check("1772323200", "2026-03-01T00:00:00Z");
        check("1772323200123", "2026-03-01T00:00:00.123Z");
        check("1772323200123456", "2026-03-01T00:00:00.123456Z");
        check("1772323200123456789", "2026-03-01T00:00:00.123457Z");
        assert!(Timestamp::parse("yesterday").is_err());
        assert!(Timestamp::parse("NaN").is_err());
    }

    #[test]
    fn durations_read_iso_and_human_forms() {
        for (text, micros) in
            [("PT30S", 30_000_000), ("P14D", 14 * 86_400_000_000), ("250ms", 250_000)]
        {
            assert_eq!(text.parse::<Duration>().unwrap().0, micros, "{text}");
        }
        for text in ["P1M", "-PT1S", "soon", ""] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_survive_a_round_trip() {
        let duration = Duration(90_500_000);
        let json = serde_json::to_string(&duration).unwrap();
        assert_eq!(serde_json::from_str::<Duration>(&json).unwrap(), duration);
    }
}
