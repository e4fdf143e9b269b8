//! Aggregates of intervals.
//!
//! `count`, `mean`, `min`, `max`, `first` and `last` are of the usable points in the interval (OPC
//! 10000-13: Count, Average, Minimum, Maximum, Start and End). `time_mean` is weighted by the time
//! that values held (TimeAverage2 with stepped simple bounding values): each until the next point,
//! the one before the interval from its beginning on; time under an unusable point is left out.
//! `percent_good` is the share of the time under usable points.
//!
//! The quality goes by time too, with the limits of 100 that are the default there: good when all of
//! the time is, bad when none is, else `Uncertain_DataSubNormal`; also when points are uncertain,
//! and when the series ends before the interval does, so that the last value only may still hold.

use super::grid::Grid;
use super::machine::Machine;
use super::point::{Edges, Point, Usable};
use super::rows::Summed;
use crate::model::Quality;
use datafusion::common::Result;

/// Sums up each interval of a grid.
pub(super) struct Summary {
    grid: Grid,
    usable: Usable,
    start: i64,
    open: Option<Interval>,
    /// Up to where time is counted.
    cursor: i64,
    status: Status,
    newest: Option<i64>,
    /// Whether there are points behind the range.
    goes_on: bool,
}

/// What holds since the last point.
#[derive(Clone, Copy)]
enum Status {
    Nothing,
    Bad,
    Usable { value: Option<f64>, good: bool },
}

struct Interval {
    from: i64,
    until: i64,
    told: Summed,
    values: u64,
    sum: f64,
    area: f64,
    area_time: i64,
    good_time: i64,
    bad: bool,
    uncertain: bool,
}

impl Summary {
    pub fn new(grid: Grid, start: i64, usable: Usable, edges: &Edges) -> Self {
        let before = edges.before.any.as_ref();
        Self {
            grid,
            usable,
            start,
            open: None,
            cursor: start,
            status: before.map_or(Status::Nothing, |point| Status::of(point, usable)),
            newest: before.map(|point| point.time),
            goes_on: edges.after.any.is_some(),
        }
    }

    /// The interval at hand, or the next one.
    fn open(&mut self) -> Result<Option<&mut Interval>> {
        if self.open.is_none() {
            let Some(begin) = self.grid.peek() else { return Ok(None) };
            self.grid.advance()?;
            let until = self.grid.peek().unwrap_or(self.grid.end());
            self.open = Some(Interval::new(begin, begin.max(self.start), until));
        }
        Ok(self.open.as_mut())
    }

    /// Counts the time up to an instant in the interval at hand.
    fn pass(&mut self, to: i64) -> Result<()> {
        let (status, span) = (self.status, to - self.cursor);
        let Some(interval) = self.open()? else { return Ok(()) };
        if span > 0 {
            interval.pass(status, span);
        }
        self.cursor = to;
        Ok(())
    }

    /// Closes all intervals that end at a time or before.
    fn close(&mut self, time: i64, at_end: bool, out: &mut Vec<Summed>) -> Result<()> {
        while let Some(until) = self.open()?.map(|interval| interval.until) {
            if until > time {
                break;
            }
            self.pass(until)?;
            let reached = !at_end || self.goes_on || self.newest.is_none_or(|last| last >= until);
            out.extend(self.open.take().map(|interval| interval.told(reached)));
        }
        Ok(())
    }
}

impl Status {
    fn of(point: &Point, usable: Usable) -> Self {
        match usable.is(point) {
            true => Self::Usable { value: point.value, good: point.quality.is_good() },
            false => Self::Bad,
        }
    }
}

impl Interval {
    fn new(begin: i64, from: i64, until: i64) -> Self {
        let told = Summed { start: begin, ..Summed::default() };
        Self {
            from,
            until,
            told,
            values: 0,
            sum: 0.0,
            area: 0.0,
            area_time: 0,
            good_time: 0,
            bad: false,
            uncertain: false,
        }
    }

    fn pass(&mut self, status: Status, span: i64) {
        match status {
            Status::Nothing => {}
            Status::Bad => self.bad = true,
            Status::Usable { value, good } => {
                self.good_time += span;
                self.uncertain |= !good;
                if let Some(value) = value {
                    self.area += value * span as f64;
                    self.area_time += span;
                }
            }
        }
    }

    fn take(&mut self, point: Point) {
        self.told.count += 1;
        self.told.text = point.text;
        let Some(value) = point.value else { return };
        self.values += 1;
        self.sum += value;
        self.told.min = Some(self.told.min.map_or(value, |min| min.min(value)));
        self.told.max = Some(self.told.max.map_or(value, |max| max.max(value)));
        self.told.first.get_or_insert(value);
        self.told.last = Some(value);
    }

    fn told(self, reached: bool) -> Summed {
        let time = self.until - self.from;
        let quality = match self.good_time {
            0 if self.told.count == 0 && self.bad => Quality::BAD,
            0 if self.told.count == 0 => Quality::NO_DATA,
            good if good == time && !self.uncertain && reached => Quality::GOOD,
            _ => Quality::SUB_NORMAL,
        };
        let share = |sum: f64, of: f64| (of > 0.0).then(|| sum / of);
        Summed {
            mean: share(self.sum, self.values as f64),
            time_mean: share(self.area, self.area_time as f64),
            percent_good: 100.0 * self.good_time as f64 / time as f64,
            quality,
            ..self.told
        }
    }
}

impl Machine for Summary {
    type Row = Summed;

    fn push(&mut self, point: Point, out: &mut Vec<Summed>) -> Result<()> {
        self.close(point.time, false, out)?;
        self.pass(point.time)?;
        self.newest = Some(point.time);
        self.status = Status::of(&point, self.usable);
        if let (Status::Usable { .. }, Some(interval)) = (self.status, self.open()?) {
            interval.take(point);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Summed>) -> Result<()> {
        self.close(self.grid.end(), true, out)
    }
}
