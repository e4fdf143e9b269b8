//! Checkpoints on disk: written whole or not at all, checked when they are read, two of them kept.
//!
//! A checkpoint is a handful of files named after its epoch, and a manifest that says how long
//! each is and what its checksum is. The manifest comes last, in one step: before that there is no
//! checkpoint. This room knows no engine and does not look into the files.

mod error;
mod manifest;
mod part;
mod store;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use manifest::{FORMAT_VERSION, PartEntry, Taken};
pub use part::Part;
pub use store::{Draft, KEPT, Store};
