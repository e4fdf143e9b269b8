//! The points that a line on so many columns of pixels needs.

use super::grid::Grid;
use super::machine::Machine;
use super::point::{Point, Usable};
use super::rows::Told;
use datafusion::common::Result;

/// Tells the first, last, lowest and highest usable point of each of many equal spans, and the
/// first unusable one, where the line is broken. Points are those that came, each once, in the
/// order of their times; of equally low or high ones the earliest. (What `m4` gives in SQL, over
/// the spans of the range that was asked for, with qualities.)
pub(super) struct Plot {
    grid: Grid,
    usable: Usable,
    /// Where the span at hand ends.
    until: i64,
    span: Span,
}

#[derive(Default)]
struct Span {
    first: Option<Point>,
    last: Option<Point>,
    low: Option<Point>,
    high: Option<Point>,
    bad: Option<Point>,
}

impl Plot {
    pub fn new(grid: Grid, usable: Usable) -> Self {
        Self { grid, usable, until: i64::MIN, span: Span::default() }
    }
}

impl Span {
    fn take(&mut self, point: Point) {
        let beats = |kept: &Option<Point>, wins: fn(f64, f64) -> bool| match kept {
            None => true,
            Some(kept) => match (point.value, kept.value) {
                (Some(value), Some(other)) => wins(value, other),
                _ => false,
            },
        };
        if beats(&self.low, |a, b| a < b) {
            self.low = Some(point.clone());
        }
        if beats(&self.high, |a, b| a > b) {
            self.high = Some(point.clone());
        }
        self.first.get_or_insert_with(|| point.clone());
        self.last = Some(point);
    }

    fn told(&mut self) -> impl Iterator<Item = Told> + use<> {
        let Self { first, last, low, high, bad } = std::mem::take(self);
        let mut points: Vec<Point> = [first, last, low, high, bad].into_iter().flatten().collect();
        points.sort_by_key(|point| point.time);
        points.dedup_by_key(|point| point.time);
        points.into_iter().map(Told::raw)
    }
}

impl Machine for Plot {
    type Row = Told;

    fn push(&mut self, point: Point, out: &mut Vec<Told>) -> Result<()> {
        if point.time >= self.until {
            out.extend(self.span.told());
            while self.grid.peek().is_some_and(|begin| begin <= point.time) {
                self.grid.advance()?;
            }
            self.until = self.grid.peek().unwrap_or(self.grid.end());
        }
        match self.usable.is(&point) {
            true => self.span.take(point),
            false => drop(self.span.bad.get_or_insert(point)),
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Told>) -> Result<()> {
        out.extend(self.span.told());
        Ok(())
    }
}
