//! Recomputes views from `telemetry` and compares.
//!
//! This is the other road to the same place: it reads accepted points back from the archive,
//! takes each asset's whole series in event-time order and folds it row by row, with nothing of
//! what the engine does to be fast. It shares the compiler of expressions and the scoring
//! functions, and no other code. Fleet views are recomputed by SQL.
//!
//! What telemetry cannot tell, the comparison leaves open: whether a settled window was revised
//! since, and what views held before a document changed. Views that are no function of telemetry
//! (dead letters, the catalog) are not looked at.

mod cell;
mod report;
mod rules;
mod series;
mod level;
mod event;
mod recompute;
mod compare;
mod run;

#[cfg(test)]
mod tests;

pub use report::{Difference, Finding, Report};
pub(super) use run::verify;
