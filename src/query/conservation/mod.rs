//! Recounts that nothing got lost between the log and `telemetry`.
//!
//! It reads the log, in a cluster those of all processes, finds by the documents in it which keys each accepted point has to have in
//! telemetry, and looks each of them up there. It shares the catalog and the units with the
//! dataflow, and nothing else: neither its counters nor its state are asked.
//!
//! What is refused before it is acknowledged is in no log, so it cannot be recounted: whoever sent
//! it was told.

mod routes;
mod recount;
mod report;

pub(super) use recount::recount;
pub use recount::{Frames, FramesRead};
pub use report::Conservation;
