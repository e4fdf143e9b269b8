//! Points as they came, with what is around them.

use super::machine::Machine;
use super::point::{Edges, Point, Usable};
use super::request::Boundary;
use super::rows::Told;
use super::sampled::value_at;
use crate::model::Quality;
use datafusion::common::Result;

/// Passes points on, at most so many, between those of the bounds.
pub(super) struct Recorded {
    before: Option<Told>,
    after: Option<Told>,
    left: usize,
    cut: bool,
}

impl Recorded {
    pub fn new(limit: usize, before: Option<Told>, after: Option<Told>) -> Self {
        Self { before, after, left: limit, cut: false }
    }
}

/// What is told of a bound, given what is next to it: nothing when a point is there at that time.
///
/// `outside` is ReadRaw with `returnBounds` (OPC 10000-11, 6.5.3): the nearest point whatever its
/// quality, and without one a row of the bound's time with `Bad_BoundNotFound`. `interpolated` is
/// the interpolated bounding value (OPC 10000-13, 3.1.8).
pub(super) fn bound(
    boundary: Boundary,
    (time, is_start): (i64, bool),
    edges: &Edges,
    (sloped, usable): (bool, Usable),
) -> Option<Told> {
    let there = edges.after.any.as_ref().is_some_and(|point| point.time == time);
    match boundary {
        Boundary::Inside => None,
        Boundary::Outside | Boundary::Interpolated if there && is_start => None,
        Boundary::Outside => {
            let side = if is_start { &edges.before } else { &edges.after };
            let missing = || Told::missing(time, Quality::BOUND_NOT_FOUND);
            Some(side.any.clone().map_or_else(missing, Told::raw))
        }
        Boundary::Interpolated => Some(value_at(time, edges, sloped, usable)),
    }
}

impl Machine for Recorded {
    type Row = Told;

    fn push(&mut self, point: Point, out: &mut Vec<Told>) -> Result<()> {
        out.extend(self.before.take());
        match self.left {
            0 => self.cut = true,
            _ => {
                self.left -= 1;
                out.push(Told::raw(point));
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Told>) -> Result<()> {
        out.extend(self.before.take());
        if !self.cut {
            out.extend(self.after.take());
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.cut
    }
}
