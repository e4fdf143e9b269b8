//! `time_bucket_gapfill`: every bucket of a time range, with rows or without, for each combination
//! of the other keys of `GROUP BY`; `locf` and `interpolate` say what stands in the gaps.
//!
//! A rule of the analyzer takes the call out of the aggregate, which then groups by `time_bucket`,
//! and puts a node above it that adds the missing rows. So filters, joins and orders above see the
//! filled rows, and below nothing has changed.

mod calls;
mod range;
mod rule;
mod node;
mod planner;
mod exec;
mod filling;
mod filler;
mod out;

pub(super) use calls::{Gapfill, InGaps};
pub(in crate::query) use planner::Planner;
pub(super) use rule::FillGaps;

/// Rows that one query may add.
pub(super) const ROWS_ADDED_MAX: usize = 1_000_000;

/// What stands in the gaps of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fill {
    /// The value of the bucket before: null stays null.
    Locf,
    /// A straight line between the buckets before and after, null where one of them is missing.
    Interpolate,
}
