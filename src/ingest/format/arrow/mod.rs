//! Arrow IPC stream bodies (`application/vnd.apache.arrow.stream`): record batches whose columns
//! follow the rules of [`super::columns`].
//!
//! Bodies are strangers' bytes: sizes are checked before anything is allocated, and a panic of
//! the reader costs the sender the body, not us the process.

mod decode;
mod sizes;

pub use decode::{Error, decode};
pub use sizes::{DECODED_BYTES_MAX, ROWS_MAX};
