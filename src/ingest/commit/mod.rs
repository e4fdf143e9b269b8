//! The committer: makes what the doors hand in durable, in order, many submissions at a time.
//!
//! One thread takes everything that waits, merges it into one frame, appends it to the log, syncs,
//! hands the frame to the dataflow and answers. The sync that is running is the time in which the
//! next frame gathers, so there is no timer. It does not decode, does not know what documents mean
//! (the catalog says so through a closure) and never drops: a full queue is said to be full.

mod submission;
mod committer;
mod worker;
mod merge;

#[cfg(test)]
mod tests;

pub use committer::{Answer, Committer, Error, Passer, State};
pub use submission::{Assign, CommitError, Committed, Limits, Marked, Refusal, Submission, Turn};
pub use worker::{COMMIT_SECONDS, MERGED, QUEUE_BYTES, REFUSED, ROWS};
