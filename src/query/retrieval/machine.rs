//! What makes rows of points.

use super::point::Point;
use super::rows::Row;
use datafusion::common::Result;

/// Takes the points of one series in the order of their times, and gives rows in that order.
pub(super) trait Machine: Send + 'static {
    /// What comes out.
    type Row: Row;

    /// Takes the next point.
    fn push(&mut self, point: Point, out: &mut Vec<Self::Row>) -> Result<()>;

    /// There are no more points.
    fn finish(&mut self, out: &mut Vec<Self::Row>) -> Result<()>;

    /// Whether no more points are wanted.
    fn is_full(&self) -> bool {
        false
    }
}
