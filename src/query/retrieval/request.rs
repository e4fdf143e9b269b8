//! What is asked for, read from the parameters of an address.

use super::given::{Given, refused};
use super::grid::{Grid, interval};
use crate::model::Timestamp;
use crate::query::error::Error;
use crate::query::functions::{Buckets, Width, Zone};

/// Series of one answer.
pub const SERIES_MAX: usize = 1_000;
/// Recorded points of each series when nothing else is said.
const ROWS: usize = 10_000;
/// Columns of a plot, when nothing else is said and at the most.
const COLUMNS: usize = 300;
const COLUMNS_MAX: usize = 10_000;

/// How points are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As they came.
    Recorded,
    /// Values at even times, on straight lines between points.
    Interpolated,
    /// Values at even times, each holding until the next point.
    Step,
    /// The points that a line on a screen needs.
    Plot,
    /// Aggregates of intervals.
    Summary,
}

/// What is told of the times just outside of the range, in mode `recorded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// Nothing.
    Inside,
    /// The point before and the point behind.
    Outside,
    /// The value at the start and at the end.
    Interpolated,
}

/// Whose points are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An asset's.
    Asset(String),
    /// Those that a device has sent.
    Device {
        /// Its key.
        key: String,
        /// The assets that it feeds now: their points are looked for at all times.
        assets: Vec<String>,
    },
}

/// Points of some metrics in a range of event time.
#[derive(Clone, Debug)]
pub struct Retrieval {
    /// Whose.
    pub source: Source,
    /// Names of metrics; with none all that the source has.
    pub metrics: Vec<String>,
    /// Metrics that have no values in between: true or false, and texts.
    pub discrete: Vec<String>,
    /// How they are told.
    pub mode: Mode,
    /// What is told of the times outside.
    pub boundary: Boundary,
    /// The first event time; without one the newest points are meant.
    pub start: Option<Timestamp>,
    /// The first event time that does not count any more.
    pub end: Timestamp,
    /// Rows of each series at the most.
    pub limit: usize,
    /// Columns of a plot.
    pub columns: usize,
    /// Whether uncertain points are left out of computations.
    pub uncertain_is_bad: bool,
    /// The time as of which telemetry is asked for.
    pub as_of: Option<String>,
    interval: Option<Width>,
    zone: Option<Zone>,
}

const PARAMETERS: [&str; 11] = [
    "metricKey",
    "startTime",
    "endTime",
    "limit",
    "aggregation",
    "mode",
    "boundary",
    "points",
    "timezone",
    "treatUncertainAsBad",
    "asOf",
];

impl Mode {
    const ALL: [Self; 5] =
        [Self::Recorded, Self::Interpolated, Self::Step, Self::Plot, Self::Summary];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Interpolated => "interpolated",
            Self::Step => "step",
            Self::Plot => "plot",
            Self::Summary => "summary",
        }
    }
}

impl Boundary {
    const ALL: [Self; 3] = [Self::Inside, Self::Outside, Self::Interpolated];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
            Self::Interpolated => "interpolated",
        }
    }
}

impl Retrieval {
    /// Reads the parameters of an address; times are relative to `now`. `rows` is the most that one
    /// answer has.
    ///
    /// An interval means a summary, unless a mode is named; what does not go together is refused.
    pub fn read(
        source: Source,
        pairs: &[(String, String)],
        now: Timestamp,
        rows: usize,
    ) -> Result<Self, Error> {
        let given = Given { pairs, now };
        given.check(&PARAMETERS)?;
        let plan = |error| Error::from_datafusion(&error);
        let width = given.text("aggregation").map(interval).transpose()?;
        let zone = given.text("timezone").map(Zone::named).transpose().map_err(plan)?;
        let modes = Mode::ALL.map(|mode| (mode.name(), mode));
        let default = if width.is_some() { Mode::Summary } else { Mode::Recorded };
        let mode = given.one_of("mode", &modes)?.unwrap_or(default);
        let most = if mode == Mode::Recorded { ROWS } else { rows };
        let boundaries = Boundary::ALL.map(|boundary| (boundary.name(), boundary));
        let retrieval = Self {
            source,
            metrics: given.metrics()?,
            discrete: Vec::new(),
            mode,
            boundary: given.one_of("boundary", &boundaries)?.unwrap_or(Boundary::Inside),
            start: given.time("startTime")?,
            end: given.time("endTime")?.unwrap_or(now),
            limit: given.number("limit", rows)?.unwrap_or(most),
            columns: given.number("points", COLUMNS_MAX)?.unwrap_or(COLUMNS),
            uncertain_is_bad: given
                .one_of("treatUncertainAsBad", &[("true", true), ("false", false)])?
                .unwrap_or(true),
            as_of: given.text("asOf").map(str::to_owned),
            interval: width,
            zone,
        };
        retrieval.check(&given)?;
        Ok(retrieval)
    }

    /// Refuses what does not go together.
    fn check(&self, given: &Given) -> Result<(), Error> {
        let mode = self.mode.name();
        let only = |name: &str, modes: &[Mode]| match given.text(name) {
            Some(_) if !modes.contains(&self.mode) => {
                let modes: Vec<&str> = modes.iter().map(|mode| mode.name()).collect();
                let hint = format!("it goes with mode={}", modes.join(" or "));
                Err(refused(format!("parameter '{name}' says nothing in mode '{mode}'"), &hint))
            }
            _ => Ok(()),
        };
        let even = [Mode::Interpolated, Mode::Step, Mode::Summary];
        only("aggregation", &even)?;
        only("timezone", &even)?;
        only("boundary", &[Mode::Recorded])?;
        only("points", &[Mode::Plot])?;
        if matches!(self.mode, Mode::Interpolated | Mode::Step) && self.interval.is_none() {
            let message = format!(
                "parameter 'aggregation' is missing: how far apart are values of mode '{mode}'?"
            );
            return Err(refused(message, "give an interval, such as aggregation=5min"));
        }
        let needs_start = self.mode != Mode::Recorded || self.boundary != Boundary::Inside;
        match self.start {
            None if needs_start => {
                let hint = "give startTime, such as startTime=PT6H or startTime=now-1d";
                return Err(refused("parameter 'startTime' is missing".into(), hint));
            }
            Some(start) if start >= self.end => {
                let message = format!("startTime {start} is not before endTime {}", self.end);
                return Err(refused(message, "the range is from startTime to before endTime"));
            }
            _ => {}
        }
        if self.mode != Mode::Recorded {
            self.grid()?.check()?;
        }
        Ok(())
    }

    /// The range as microseconds; without a start it is all time.
    pub(super) fn range(&self) -> (i64, i64) {
        (self.start.map_or(i64::MIN, |start| start.0), self.end.0)
    }

    /// The intervals: of a summary on the clock (of the zone, else of UTC), of a plot equally wide
    /// ones, else from the start on. All of the range is one when no width is named.
    pub(super) fn grid(&self) -> Result<Grid, Error> {
        let (start, end) = self.range();
        let failed = |error| Error::from_datafusion(&error);
        if self.mode == Mode::Plot {
            return Ok(Grid::even(start, end, self.columns));
        }
        let Some(width) = self.interval else { return Ok(Grid::even(start, end, 1)) };
        let on_clock = self.mode == Mode::Summary;
        let origin = (!on_clock).then_some(start);
        let buckets = Buckets::new(width, origin, self.zone.clone()).map_err(failed)?;
        Grid::of(buckets, (start, end), on_clock).map_err(failed)
    }
}
