//! The write-ahead log: frames are appended, made durable, read back from an epoch, recovered.
//!
//! A directory of segments, each a file of checksummed frames. One process writes, any number read.
//! The log knows nothing of what a frame means: it does not look into batches, gives no ids, keeps
//! no clock, starts no thread and is never cut by itself: [`Log::cut`] removes the segments at its
//! beginning that are not needed any more. Group commit is the committer's work.
//!
//! Damage is told apart. A *torn tail*, the unfinished write of a crash at the end of the last
//! segment, was never acknowledged and is cut off. A bad frame anywhere else was once durable: the
//! log refuses to open, unless it is told to salvage what is left.

mod error;
mod format;
mod payload;
mod pack;
mod edits;
mod segment;
mod cursor;
mod mark;
mod horizon;
mod cut;
mod recovery;
mod salvage;
mod writer;
mod reader;

#[cfg(test)]
mod tests;

pub use cut::begin;
pub use error::Error;
pub use pack::{pack, unpack};
pub use reader::{Reader, read};
pub use recovery::{Loss, Recovery};
pub use writer::{BYTES, FRAMES, Log, Options, SEGMENTS};
