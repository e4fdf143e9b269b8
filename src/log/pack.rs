//! Frames as bytes, for those who send them elsewhere.

use super::error::Error;
use super::payload::{self, Content};
use crate::model::{Epoch, Frame, Timestamp};
use arrow::buffer::Buffer;

/// The content of a frame: all but its epoch and its tick.
pub fn pack(frame: &Frame) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    payload::encode(frame, &mut bytes)?;
    Ok(bytes)
}

/// The frame that has this content. The error says what is wrong with it.
pub fn unpack(epoch: Epoch, tick: Timestamp, content: &[u8]) -> Result<Frame, String> {
    // What is copied into a buffer is aligned.
    Ok(payload::decode(Buffer::from(content))?.frame(epoch, tick))
}

impl Content {
    /// The frame with this epoch and tick.
    pub(super) fn frame(self, epoch: Epoch, tick: Timestamp) -> Frame {
        let Self { documents, dead_letters, batches, edits, pages, expiry } = self;
        Frame { epoch, tick, documents, batches, dead_letters, edits, pages, expiry }
    }
}
