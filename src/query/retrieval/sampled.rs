//! Values at even times: the aggregate `Interpolative` of OPC 10000-13, 5.4.3.4, which is the
//! interpolated bounding value (3.1.8) at the beginning of each interval.
//!
//! A usable point at the very time is told as it is. Else, on slopes, the value is on the straight
//! line between the usable points around; in steps it is that of the usable point before. Unusable
//! points in between (in steps: up to the time) make it `Uncertain_DataSubNormal`, and so does an
//! uncertain point that it is made of. Behind the newest point, on slopes behind the newest usable
//! one, the value before goes on as `Uncertain_DataSubNormal` (stepped extrapolation). Before the
//! first usable point there is none: `Bad_NoData`.

use super::grid::Grid;
use super::machine::Machine;
use super::point::{Edges, Nearest, Point, Usable};
use super::rows::{Origin, Told};
use crate::model::Quality;
use datafusion::common::Result;

/// Tells values at the times of a grid.
pub(super) struct Sampled {
    grid: Grid,
    sloped: bool,
    usable: Usable,
    /// The usable point that came last.
    last: Option<Point>,
    /// Whether an unusable one came after it.
    spoiled: bool,
    /// The time of the point that came last.
    newest: Option<i64>,
    after: Nearest,
}

impl Sampled {
    pub fn new(grid: Grid, sloped: bool, usable: Usable, edges: Edges) -> Self {
        let spoiled = is_spoiled(&edges.before);
        let Edges { before, after } = edges;
        let newest = before.any.map(|point| point.time);
        Self { grid, sloped, usable, last: before.usable, spoiled, newest, after }
    }

    /// The value before the next point: that is usable, or any point in steps.
    fn before_next(&self, time: i64, next: &Point) -> Told {
        match self.sloped {
            true => between(time, self.last.as_ref(), Some(next), self.spoiled),
            false => held(time, self.last.as_ref(), self.spoiled, Origin::Interpolated),
        }
    }
}

/// Whether the nearest point is an unusable one.
fn is_spoiled(nearest: &Nearest) -> bool {
    nearest.any.as_ref().map(|point| point.time) != nearest.usable.as_ref().map(|point| point.time)
}

/// The value on the line between two usable points.
fn between(time: i64, before: Option<&Point>, after: Option<&Point>, spoiled: bool) -> Told {
    let (Some(before), Some(after)) = (before, after) else {
        return held(time, before, true, Origin::Extrapolated);
    };
    let mut told = held(time, Some(before), spoiled, Origin::Interpolated);
    if let (Some(from), Some(to)) = (before.value, after.value) {
        let part = (time - before.time) as f64 / (after.time - before.time) as f64;
        told.point.value = Some(from + (to - from) * part);
    }
    if !after.quality.is_good() {
        told.point.quality = Quality::SUB_NORMAL;
    }
    told
}

/// The value that holds since a usable point.
fn held(time: i64, before: Option<&Point>, spoiled: bool, origin: Origin) -> Told {
    let Some(before) = before else { return Told::missing(time, Quality::NO_DATA) };
    let good = before.quality.is_good() && !spoiled && origin == Origin::Interpolated;
    let quality = if good { Quality::GOOD } else { Quality::SUB_NORMAL };
    Told { point: Point { time, quality, ..before.clone() }, origin }
}

/// The value at a time, given what is before it, and at it or behind.
pub(super) fn value_at(time: i64, edges: &Edges, sloped: bool, usable: Usable) -> Told {
    let (before, after) = (&edges.before, &edges.after);
    if let Some(point) = after.usable.as_ref().filter(|point| point.time == time) {
        return Told::raw(point.clone());
    }
    if sloped {
        let spoiled = is_spoiled(before) || is_spoiled(after);
        return between(time, before.usable.as_ref(), after.usable.as_ref(), spoiled);
    }
    let at = after.any.as_ref().filter(|point| point.time == time && !usable.is(point));
    let spoiled = is_spoiled(before) || at.is_some();
    let origin = if after.any.is_some() { Origin::Interpolated } else { Origin::Extrapolated };
    held(time, before.usable.as_ref(), spoiled, origin)
}

impl Machine for Sampled {
    type Row = Told;

    fn push(&mut self, point: Point, out: &mut Vec<Told>) -> Result<()> {
        let usable = self.usable.is(&point);
        if usable || !self.sloped {
            while let Some(time) = self.grid.peek().filter(|time| *time < point.time) {
                out.push(self.before_next(time, &point));
                self.grid.advance()?;
            }
        }
        self.newest = Some(point.time);
        self.spoiled = !usable;
        if usable {
            if self.grid.peek() == Some(point.time) {
                out.push(Told::raw(point.clone()));
                self.grid.advance()?;
            }
            self.last = Some(point);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Told>) -> Result<()> {
        let spoiled = self.spoiled || is_spoiled(&self.after);
        while let Some(time) = self.grid.peek() {
            let is_data = self.after.any.is_some() || self.newest.is_some_and(|last| last >= time);
            out.push(match (self.sloped, is_data) {
                (true, _) => between(time, self.last.as_ref(), self.after.usable.as_ref(), spoiled),
                (false, true) => held(time, self.last.as_ref(), self.spoiled, Origin::Interpolated),
                (false, false) => {
                    held(time, self.last.as_ref(), self.spoiled, Origin::Extrapolated)
                }
            });
            self.grid.advance()?;
        }
        Ok(())
    }
}
