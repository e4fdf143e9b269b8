//! When a recorded moment is due, and how far a replay is.

use crate::model::Timestamp;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Gaps of a recording longer than this are jumped over: nobody watches an empty month.
pub const GAP: Duration = Duration::from_secs(60);

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This many recorded seconds a second, greater than 0.
    Times(f64),
    /// As fast as the engine takes it.
    Max,
}

/// Tells when each moment of a recording is due.
#[derive(Debug)]
pub struct Pace {
    speed: Speed,
    last: Option<Timestamp>,
    /// Recorded time that was played, gaps left out, in microseconds.
    played: f64,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// 0 to 1.
    pub part: f64,
    /// Time left at the speed so far; `None` before anything was played.
    pub left: Option<Duration>,
}

impl Pace {
    /// A pace that starts with the first moment it is asked for.
    pub fn new(speed: Speed) -> Self {
        Self { speed, last: None, played: 0.0 }
    }

    /// How long after the start of the replay the moment is due. Moments before the last one are
    /// due at once: the order of a recording is kept, late rows stay late.
    pub fn due(&mut self, moment: Timestamp) -> Duration {
        if let Some(last) = self.last {
            let step = (moment.0 - last.0).max(0) as f64;
            self.played += step.min(GAP.as_micros() as f64);
        }
        self.last = Some(self.last.map_or(moment, |last| last.max(moment)));
        match self.speed {
            Speed::Max => Duration::ZERO,
            Speed::Times(times) => Duration::from_secs_f64(self.played / 1e6 / times),
        }
    }
}

impl Progress {
    /// Progress from the rows that were fed, of all, after this time.
    pub fn of(fed: u64, all: u64, elapsed: Duration) -> Self {
        let part = if all == 0 { 1.0 } else { (fed as f64 / all as f64).min(1.0) };
        let left = (part > 0.0).then(|| elapsed.mul_f64((1.0 - part) / part));
        Self { part, left }
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.trim_end_matches('x').parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Self::Times(times)),
            _ => Err(format!(
                "'{text}' is no speed: give a number greater than 0 (1, 10, 0.5) or max"
            )),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}x"),
            Self::Max => f.write_str("max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_read() {
        assert_eq!("10".parse(), Ok(Speed::Times(10.0)));
        assert_eq!("0.5x".parse(), Ok(Speed::Times(0.5)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for text in ["0", "-1", "fast", "NaN", ""] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    #[test]
    fn gaps_are_jumped_over_and_late_rows_are_due_at_once() {
        let mut pace = Pace::new(Speed::Times(10.0));
        let seconds = |s: i64| Timestamp(s * 1_000_000);
        assert_eq!(pace.due(seconds(1_000)), Duration::ZERO);
        assert_eq!(pace.due(seconds(1_010)), Duration::from_secs(1));
        assert_eq!(pace.due(seconds(1_005)), Duration::from_secs(1));
        assert_eq!(pace.due(seconds(9_000_000)), Duration::from_secs(7));
    }
}
