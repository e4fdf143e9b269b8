//! The dataflow: renders the asset graph to timely and differential, and steps the workers.
//!
//! No SQL text, no async, no clock and no I/O in here: a pure function of the frames of the log.

pub mod asset;
