//! The dataflow: renders the asset graph to timely and differential and steps its workers.
//!
//! ```text
//!  frames -> feeder ==slices==> inputs of each worker
//!
//!  documents --> catalog (joins) --news, broadcast--+------------------+
//!                                                   v                  v
//!  batches --------------------------------------> resolve ==rows==> assess ==> fleet
//!                                                   | (by asset)       |          |
//!  dead letters, documents ------------------------>+-----> capture <--+----------+
//!                                                              v
//!                                                     outputs: changes, frontier
//! ```
//!
//! Everything here is a pure function of the frames: no SQL text, no async, no clock that data
//! could see, no files, no randomness. The timely timestamp is the epoch of a frame. The state of
//! one asset type lives in [`asset`], which knows nothing of timely.

pub mod asset;
mod engine;
mod feeder;
mod worker;
mod shared;
mod graph;
mod rows;
mod catalog;
mod resolve;
mod assess;
mod checkpoint;
mod cluster;
mod parcels;
mod score;
mod fleet;
mod capture;
mod stats;
mod retelling;
mod memory;
mod error;
#[cfg(test)]
mod tests;

pub use asset::Held;
pub use checkpoint::{Checkpoints, Marker, Piece, Saved};
pub use cluster::{Cluster, Heard, Place};
pub use engine::{Engine, MAX_WORKERS};
pub use error::Error;
pub use feeder::{MAX_EPOCHS_IN_FLIGHT, MAX_POINTS_IN_FLIGHT};
pub use memory::Meter;
pub use retelling::Retelling;
pub use score::OrderedScore;
pub use stats::OperatorStats;
