//! Recordings: Parquet, Arrow IPC files and streams, CSV; several of them replayed as one stream
//! in the order of event time.
//!
//! **Order.** A recording is played in the order in which it would have arrived. A file that was
//! written as points came in tells that order itself, late points included; a file that is sorted
//! by device or metric does not. So by default ([`Order::Auto`]) a file of which more than a tenth
//! of the rows are *late* (their time is less than that of a row before) is sorted by event time,
//! rows of equal time in the order of the file; any other file keeps its order, and a late row
//! comes when its neighbours in the file come. [`Order::Keep`] and [`Order::Sort`] decide it for
//! all files.
//!
//! **Memory.** Files stream through. Sorting happens in memory up to a limit
//! ([`Settings::sort_bytes`], shared by all files), beyond it in sorted runs on disk.
//!
//! **Steps.** A step holds rows of one file that span at most [`Settings::span`] of event time.
//! Steps of several files come in the order of their spans; inside a span, file by file.
//!
//! Nothing here knows devices or the catalog: steps are record batches as the file has them, and
//! [`crate::ingest::format::columns`] makes telemetry of them.

mod error;
mod open;
mod scan;
mod sort;
mod merge;

pub use error::Error;
pub use merge::{Order, Replay, Settings, Source, Step};
pub use open::{Batches, Format, Recording};
pub use scan::Scan;

#[cfg(test)]
mod tests;
