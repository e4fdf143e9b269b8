//! Times at even distances.

use super::given::refused;
use crate::query::error::Error;
use crate::query::functions::{Buckets, Width};
use datafusion::common::Result;

/// Intervals of one answer, of each series.
pub const INTERVALS_MAX: usize = 100_000;

/// Intervals that follow each other over a range: each from its own beginning to the next one's.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    steps: Steps,
    /// Where the next interval begins.
    next: i64,
    end: i64,
}

#[derive(Clone, Debug)]
enum Steps {
    Buckets(Buckets),
    /// So many microseconds each.
    Even(i64),
}

/// `5min`, `1hour`, `1day`, `15m`, `PT15M`.
pub(super) fn interval(text: &str) -> Result<Width, Error> {
    Width::parse(text).map_err(|_| {
        let hint = "give one like 5min, 1hour, 1day, 15m or PT15M";
        refused(format!("parameter 'aggregation' is '{text}', no interval"), hint)
    })
}

impl Grid {
    /// Intervals that count from somewhere else than the start: the first is that of the start, or
    /// the first that begins in the range.
    pub fn of(mut buckets: Buckets, (start, end): (i64, i64), with_first: bool) -> Result<Self> {
        let mut next = buckets.start(start)?;
        if next < start && !with_first {
            next = buckets.next(next)?;
        }
        Ok(Self { steps: Steps::Buckets(buckets), next, end })
    }

    /// The range in so many equal parts, fewer when a part would be less than a microsecond.
    pub fn even(start: i64, end: i64, parts: usize) -> Self {
        let span = i128::from(end) - i128::from(start);
        let width = (span + parts as i128 - 1) / parts.max(1) as i128;
        let width = i64::try_from(width).unwrap_or(i64::MAX).max(1);
        Self { steps: Steps::Even(width), next: start, end }
    }

    /// The beginning of the next interval, while it is in the range.
    pub fn peek(&self) -> Option<i64> {
        (self.next < self.end).then_some(self.next)
    }

    /// Goes on to the interval after that.
    pub fn advance(&mut self) -> Result<()> {
        self.next = match &mut self.steps {
            Steps::Buckets(buckets) => buckets.next(self.next)?,
            Steps::Even(width) => self.next.saturating_add(*width),
        };
        Ok(())
    }

    /// The end of the range.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Refuses more than [`INTERVALS_MAX`] intervals.
    pub fn check(mut self) -> Result<(), Error> {
        for _ in 0..INTERVALS_MAX {
            if self.peek().is_none() {
                return Ok(());
            }
            self.advance().map_err(|error| Error::from_datafusion(&error))?;
        }
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Error::limit(
                format!("more than {INTERVALS_MAX} intervals"),
                "take a wider interval or a shorter range",
            )),
        }
    }
}
