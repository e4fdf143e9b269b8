//! History as applications fetch it: points of a few metrics in a range of event time, as they were
//! recorded, or as values in between and summaries that are computed of them.
//!
//! OPC UA is the reference: Part 11 for what is recorded and its bounds, Part 13 for values in
//! between and aggregates. What is told is told of *series*, one metric of one asset each, one after
//! the other. Points come from plans over `telemetry` like those of SQL, in the order of their
//! times; each mode is a machine that takes one point after the other and keeps but a few.
//!
//! A point is *usable* when its quality is good. Bad ones never enter a computation; uncertain ones
//! do when `treatUncertainAsBad=false` says so (Part 13, 4.2.1.2: they are bad otherwise), and what
//! is made of them is uncertain.

mod given;
mod request;
mod grid;
mod point;
mod rows;
mod machine;
mod recorded;
mod sampled;
mod plot;
mod summary;
mod plans;
mod series;
mod run;
mod range;

pub use given::METRICS_MAX;
pub use grid::INTERVALS_MAX;
pub use range::Range;
pub use request::{Boundary, Mode, Retrieval, SERIES_MAX, Source};
