//! Reading frames back, one at a time.

use super::cursor::{Cursor, Step};
use super::error::Error;
use super::format::{Flaw, SEGMENT_HEADER};
use super::payload;
use super::segment::{self, Segment};
use crate::base::fs::Fs;
use crate::model::{Epoch, Frame};
use arrow::buffer::MutableBuffer;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

/// Reads the frames of a log from an epoch on (that epoch included), in order.
///
/// Works while the log is being written. It sees frames as soon as they are written: to see only
/// what is durable, limit it with [`Reader::up_to`].
pub fn read(fs: &Arc<dyn Fs>, dir: &Path, from: Epoch) -> Result<Reader, Error> {
    let listing = segment::list(&**fs, dir)?;
    let mut segments = VecDeque::from(listing.segments);
    // A segment is over before `from` when the next one begins at or before it.
    while segments.get(1).is_some_and(|next| next.base <= from) {
        segments.pop_front();
    }
    Ok(Reader {
        fs: Arc::clone(fs),
        dir: dir.into(),
        from,
        up_to: None,
        segments,
        gaps: listing.gaps,
        cursor: None,
        failed: false,
    })
}

/// An iterator over frames that holds one frame at a time.
///
/// `None` means that there is nothing more *now*: when the log has grown, the next call goes on.
/// After an error it is over.
pub struct Reader {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    from: Epoch,
    up_to: Option<Epoch>,
    /// Segments behind the one that is being read.
    segments: VecDeque<Segment>,
    gaps: Vec<Epoch>,
    cursor: Option<Cursor>,
    failed: bool,
}

/// Where a step led.
enum Found {
    Frame(Frame),
    Nothing,
    Again,
}

impl Reader {
    /// Ends before the first frame with a later epoch.
    pub fn up_to(mut self, epoch: Epoch) -> Self {
        self.up_to = Some(epoch);
        self
    }

    fn step(&mut self) -> Result<Found, Error> {
        let Some(cursor) = &mut self.cursor else { return self.next_segment() };
        let header = match cursor.next()? {
            Step::Frame(header) => header,
            Step::End => return self.at_end(None),
            Step::Flaw(flaw) => return self.at_end(Some(flaw)),
        };
        if self.up_to.is_some_and(|up_to| header.epoch > up_to) {
            return Ok(Found::Nothing);
        }
        if header.epoch < self.from {
            cursor.skip();
            return Ok(Found::Again);
        }
        let offset = cursor.offset;
        // `next` has seen that the file is that long. Allocated aligned, so that the batches can
        // stay in it.
        let mut buffer = MutableBuffer::from_len_zeroed(header.length as usize);
        if let Err(flaw) = cursor.payload(buffer.as_slice_mut())? {
            return self.at_end(Some(flaw));
        }
        match payload::decode(buffer.into()) {
            Ok(content) => Ok(Found::Frame(content.frame(header.epoch, header.tick))),
            Err(what) => Err(Error::Corrupt { path: cursor.path.clone(), offset, what }),
        }
    }

    /// At the end of what can be read of a segment: on to the next one if there is one.
    fn at_end(&mut self, flaw: Option<Flaw>) -> Result<Found, Error> {
        let Some(cursor) = &self.cursor else { return Ok(Found::Nothing) };
        if self.segments.is_empty() {
            let listing = segment::list(&*self.fs, &self.dir)?;
            let base = cursor.header.base;
            self.segments.extend(listing.segments.into_iter().filter(|next| next.base > base));
            self.gaps = listing.gaps;
            if !self.segments.is_empty() {
                // The segment was closed meanwhile: look once more for what came before that.
                return Ok(Found::Again);
            }
            let Some(flaw) = flaw.filter(|flaw| *flaw != Flaw::Incomplete) else {
                return Ok(Found::Nothing);
            };
            if cursor.has_later_frame()? {
                return Err(corrupt(cursor, flaw));
            }
            warn!(segment = %cursor.path.display(), offset = cursor.offset, "torn tail not read");
            return Ok(Found::Nothing);
        }
        match flaw {
            Some(flaw) => Err(corrupt(cursor, flaw)),
            None => self.next_segment(),
        }
    }

    fn next_segment(&mut self) -> Result<Found, Error> {
        if self.segments.is_empty() && self.cursor.is_none() {
            self.segments = segment::list(&*self.fs, &self.dir)?.segments.into();
        }
        let Some(segment) = self.segments.front() else { return Ok(Found::Nothing) };
        let last = self.cursor.as_ref().and_then(|cursor| cursor.last);
        let cursor = match Cursor::open(&*self.fs, segment, last)? {
            Ok(cursor) => cursor,
            // The writer is about to begin it, or died when it did, and may take another name.
            Err((_, length)) if self.segments.len() == 1 && length <= SEGMENT_HEADER as u64 => {
                self.segments.clear();
                return Ok(Found::Nothing);
            }
            Err((flaw, _)) => {
                let path = segment.path.clone();
                return Err(Error::Corrupt { path, offset: 0, what: flaw.text() });
            }
        };
        if let Some(before) = &self.cursor
            && cursor.header.follows != Some(before.chain)
            && !self.gaps.contains(&segment.base)
        {
            return Err(Error::Gap { path: segment.path.clone() });
        }
        self.segments.pop_front();
        self.cursor = Some(cursor);
        Ok(Found::Again)
    }
}

impl Iterator for Reader {
    type Item = Result<Frame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            match self.step() {
                Ok(Found::Frame(frame)) => return Some(Ok(frame)),
                Ok(Found::Nothing) => return None,
                Ok(Found::Again) => {}
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

fn corrupt(cursor: &Cursor, flaw: Flaw) -> Error {
    Error::Corrupt { path: cursor.path.clone(), offset: cursor.offset, what: flaw.text() }
}
