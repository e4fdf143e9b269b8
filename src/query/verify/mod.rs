//! Recomputes views from `telemetry` and compares.
//!
//! This is the other road to the same place: it reads accepted points back from the archive,
//! takes each asset's whole series in event-time order and folds it row by row, with nothing of
//! what the engine does to be fast. It shares the compiler of expressions and the scoring
//! functions, and no other code. Fleet views are recomputed by SQL.
//!
//! Documents change while telemetry comes. Each version of an asset type is in force from an
//! event time on, so the series of an asset falls into segments, one for each version; metrics
//! and rules go from one to the next by name, and the clock goes on behind the last.
//!
//! Before that it reads the archive's files and compares their checksums with those that were noted
//! when they were written.
//!
//! Where old telemetry was removed, assets are recomputed from what was noted of them then.
//!
//! What telemetry cannot tell, the comparison leaves open: whether a settled window was revised
//! since. Telemetry of before an asset was removed is not that of the asset which has its key now.
//! Views that are no function of telemetry (dead letters, the catalog) are not looked at.

mod cell;
mod shapes;
mod report;
mod rules;
mod history;
mod plant;
mod points;
mod series;
mod segment;
mod base;
mod level;
mod event;
mod message;
mod follow;
mod score;
mod recompute;
mod compare;
mod read;
mod fleet;
mod run;
mod carry;

#[cfg(test)]
mod tests;

pub(super) use carry::carry;
pub use report::{Difference, Finding, Report};
pub(super) use run::verify;
