//! Where buckets of time begin.

use super::zone::{Zone, civil, local};
use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::{Result, exec_datafusion_err, plan_datafusion_err, plan_err};
use jiff::SignedDuration;

const DAY: i64 = 86_400_000_000;
/// 2000-01-03, a Monday: weeks begin where they should.
const ORIGIN: i64 = 946_857_600_000_000;
/// 2000-01, as months since year 0.
const ORIGIN_MONTH: i64 = 2000 * 12;

/// No bucket is wider: as long as the years that count.
const MONTHS_MAX: i64 = 10_000 * 12;
const WIDTH_MAX: i64 = 10_000 * 366 * DAY;

/// The width of buckets, as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::query) struct Width {
    months: i64,
    days: i64,
    micros: i64,
}

impl Width {
    /// Reads `5 minutes`, `1 month`, `PT5M`.
    pub fn parse(text: &str) -> Result<Self> {
        let span = text.trim().parse::<jiff::Span>().map_err(|_| {
            plan_datafusion_err!("'{text}' is no width: write '5 minutes', '1 day' or 'PT5M'")
        })?;
        let months = i64::from(span.get_years()) * 12 + i64::from(span.get_months());
        let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
        let clock = SignedDuration::try_from(span.years(0).months(0).weeks(0).days(0));
        let micros = clock.ok().and_then(|clock| i64::try_from(clock.as_micros()).ok());
        let micros =
            micros.ok_or_else(|| plan_datafusion_err!("the width '{text}' is too large"))?;
        Ok(Self { months, days, micros })
    }

    /// The width that an interval is. Nanoseconds are cut off.
    pub fn of(interval: IntervalMonthDayNano) -> Self {
        Self {
            months: interval.months.into(),
            days: interval.days.into(),
            micros: interval.nanoseconds / 1_000,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Microseconds on the clock, from a local time on.
    Even { width: i64, origin: i64 },
    /// Months, from one on.
    Months { count: i64, origin: i64 },
}

/// Buckets of one width: the first begins at the origin, and they go on in both directions.
#[derive(Clone, Debug)]
pub(in crate::query) struct Buckets {
    step: Step,
    /// Whether they begin at dates: a day on which clocks change is one bucket all the same.
    dates: bool,
    zone: Option<Zone>,
}

impl Buckets {
    /// Buckets on the clock of the zone, or of UTC. Of an origin of months only year and month
    /// count.
    pub fn new(width: Width, origin: Option<i64>, mut zone: Option<Zone>) -> Result<Self> {
        let Width { months, days, micros } = width;
        if months < 0 || days < 0 || micros < 0 || (months, days, micros) == (0, 0, 0) {
            return plan_err!("the width of buckets must be more than nothing");
        }
        if months > 0 && (days > 0 || micros > 0) {
            return plan_err!("a width of months or years cannot have days or hours too");
        }
        let origin = match (origin, &mut zone) {
            (Some(origin), Some(zone)) => Some(origin + zone.offset(origin)?),
            (origin, _) => origin,
        };
        let step = match months {
            0 => {
                let width = days.checked_mul(DAY).and_then(|days| days.checked_add(micros));
                let width = width.filter(|width| *width <= WIDTH_MAX);
                let width = width.ok_or_else(|| plan_datafusion_err!("the width is too large"))?;
                Step::Even { width, origin: origin.unwrap_or(ORIGIN) }
            }
            count if count > MONTHS_MAX => return plan_err!("the width is too large"),
            count => {
                let origin = origin.map_or(Ok(ORIGIN_MONTH), month);
                Step::Months { count, origin: origin? }
            }
        };
        Ok(Self { step, dates: months > 0 || days > 0, zone })
    }

    /// The beginning of the bucket that a time is in. Never decreases as time goes on.
    pub fn start(&mut self, time: i64) -> Result<i64> {
        let Some(zone) = &mut self.zone else { return self.step.floor(time) };
        let offset = zone.offset(time)?;
        let begun = self.step.floor(time + offset)?;
        let (changed, same_clock) = (zone.since(), begun - offset);
        let Step::Even { width, .. } = self.step else { return zone.instant(begun) };
        // On the clock of the time itself, so that the hour that comes twice is two buckets.
        if !self.dates && same_clock >= changed {
            return Ok(same_clock);
        }
        let start = zone.instant(begun)?;
        // The bucket was over before the clock was set back into it.
        let over = !self.dates && start + width <= changed;
        Ok(if over { changed } else { start })
    }

    /// The beginning of the bucket that comes after the one that begins here.
    pub fn next(&mut self, start: i64) -> Result<i64> {
        let Some(zone) = &mut self.zone else { return self.step.after(start) };
        if self.dates {
            // A bucket that begins after a gap of the clock is the bucket of the gap.
            let begun = self.step.floor(start + zone.offset(start)?)?;
            return zone.instant(self.step.after(begun)?);
        }
        let width = self.step.after(start)? - start;
        match self.start(start + width)? {
            // It is longer than it is wide, because the clock is set back in it.
            same if same == start => self.start(start + 2 * width),
            next => Ok(next),
        }
    }
}

impl Step {
    /// The beginning of the step that a local time is in.
    fn floor(self, time: i64) -> Result<i64> {
        match self {
            Self::Even { width, origin } => {
                let into = time.checked_sub(origin).map(|since| since.rem_euclid(width));
                into.and_then(|into| time.checked_sub(into)).ok_or_else(too_far)
            }
            Self::Months { count, origin } => {
                let since = (month(time)? - origin).div_euclid(count);
                first_of(origin + since * count)
            }
        }
    }

    /// The beginning of the next step.
    fn after(self, begun: i64) -> Result<i64> {
        match self {
            Self::Even { width, .. } => begun.checked_add(width).ok_or_else(too_far),
            Self::Months { count, .. } => first_of(month(begun)? + count),
        }
    }
}

fn too_far() -> datafusion::error::DataFusionError {
    exec_datafusion_err!("a bucket begins before or after all time")
}

/// The month of a local time, counted from year 0.
fn month(time: i64) -> Result<i64> {
    let date = civil(time)?;
    Ok(i64::from(date.year()) * 12 + i64::from(date.month()) - 1)
}

/// The local time at which a month begins.
fn first_of(month: i64) -> Result<i64> {
    let year = i16::try_from(month.div_euclid(12)).map_err(|_| too_far())?;
    let date = jiff::civil::Date::new(year, month.rem_euclid(12) as i8 + 1, 1);
    local(date.map_err(|_| too_far())?.to_datetime(jiff::civil::Time::midnight()))
}
