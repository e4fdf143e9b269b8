//! Millstream keeps every metric, health score, threshold state and aggregate of a plant exactly
//! up to date while its telemetry is still arriving, and answers SQL over now and over history
//! with the same answers.
//!
//! `ARCHITECTURE.md` beside the manifest is the map. Modules stand here from the lowest floor to
//! the highest; a room imports only from lower floors.

pub mod base;
pub mod model;
pub mod expr;
pub mod health;
pub mod log;
pub mod checkpoint;
pub mod catalog;
pub mod dataflow;
pub mod historian;
pub mod ingest;
pub mod views;
pub mod query;
pub mod replay;
pub mod serve;
pub mod app;
pub mod cli;
