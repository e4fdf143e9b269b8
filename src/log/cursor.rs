//! A walk through the frames of one segment, checking each.

use super::error::Error;
use super::format::{
    ALIGNMENT, FRAME_HEADER, FRAME_MAGIC, Flaw, FrameHeader, SEGMENT_HEADER, SegmentHeader,
};
use super::segment::{Segment, fill};
use crate::base::fs::{File, Fs};
use crate::model::Epoch;
use std::path::PathBuf;

/// The place before a frame of a segment.
pub(super) struct Cursor {
    pub file: Box<dyn File>,
    pub path: PathBuf,
    /// Where the next frame begins.
    pub offset: u64,
    /// The checksum of the segment's header, from which those of frame headers start.
    pub seed: u32,
    /// The header checksum of the frame before; that of the segment before at the start.
    pub chain: u32,
    /// The epoch of the frame before, in this or an earlier segment.
    pub last: Option<Epoch>,
    pub header: SegmentHeader,
    /// The length of the file when it was last asked for; it may grow.
    length: u64,
    /// The header that was read and whose payload was not, with its checksum.
    ahead: Option<(FrameHeader, u32)>,
}

/// What stands at the cursor.
pub(super) enum Step {
    /// A frame with a good header, whose payload is there. Next: `payload` or `skip`.
    Frame(FrameHeader),
    /// The end of the file.
    End,
    /// Not a frame.
    Flaw(Flaw),
}

impl Cursor {
    /// Opens a segment and reads its header. The inner error is a flaw of the header; the length
    /// of the file comes with it.
    pub(super) fn open(
        fs: &dyn Fs,
        segment: &Segment,
        last: Option<Epoch>,
    ) -> Result<Result<Self, (Flaw, u64)>, Error> {
        let path = segment.path.clone();
        let file = fs.open(&path).map_err(Error::io("open", &path))?;
        let length = file.len().map_err(Error::io("read", &path))?;
        let mut bytes = vec![0; SEGMENT_HEADER];
        let count = fill(&*file, 0, &mut bytes).map_err(Error::io("read", &path))?;
        let (header, seed) = match SegmentHeader::decode(&bytes[..count]) {
            Ok((header, _)) if header.base != segment.base => return Ok(Err((Flaw::Name, length))),
            Ok(decoded) => decoded,
            Err(Flaw::Version(version)) => return Err(Error::Version { path, version }),
            Err(flaw) => return Ok(Err((flaw, length))),
        };
        let chain = header.follows.unwrap_or(0);
        let offset = SEGMENT_HEADER as u64;
        Ok(Ok(Self { file, path, offset, seed, chain, last, header, length, ahead: None }))
    }

    /// Reads the header of the next frame.
    pub(super) fn next(&mut self) -> Result<Step, Error> {
        let mut bytes = [0; FRAME_HEADER];
        let count = self.fill(self.offset, &mut bytes)?;
        if count == 0 {
            return Ok(Step::End);
        }
        let (header, crc) = match FrameHeader::decode(&bytes[..count], self.seed) {
            Ok(decoded) => decoded,
            Err(Flaw::Version(version)) => {
                return Err(Error::Version { path: self.path.clone(), version });
            }
            Err(flaw) => return Ok(Step::Flaw(flaw)),
        };
        if header.chain != self.chain {
            return Ok(Step::Flaw(Flaw::Chain));
        }
        if self.last.is_some_and(|last| header.epoch <= last) || header.epoch < self.header.base {
            return Ok(Step::Flaw(Flaw::Epoch));
        }
        // Memory is taken for a payload only when the file is long enough to hold it.
        let room = |length: u64| length.saturating_sub(self.offset + FRAME_HEADER as u64);
        if header.length > room(self.length) {
            self.length = self.file.len().map_err(Error::io("read", &self.path))?;
        }
        if header.length > room(self.length) {
            return Ok(Step::Flaw(Flaw::Incomplete));
        }
        self.ahead = Some((header, crc));
        Ok(Step::Frame(header))
    }

    /// Reads and checks the payload of the frame that `next` found, then moves on to the next
    /// frame. `buffer` has the length of the payload. Does not move on when there is a flaw.
    pub(super) fn payload(&mut self, buffer: &mut [u8]) -> Result<Result<(), Flaw>, Error> {
        let Some((header, _)) = self.ahead else { return Ok(Err(Flaw::Incomplete)) };
        let count = self.fill(self.offset + FRAME_HEADER as u64, buffer)?;
        if (count as u64) < header.length {
            return Ok(Err(Flaw::Incomplete));
        }
        if crc32c::crc32c(buffer) != header.payload_crc {
            return Ok(Err(Flaw::PayloadChecksum));
        }
        self.skip();
        Ok(Ok(()))
    }

    /// Moves on to the next frame without a look at the payload.
    pub(super) fn skip(&mut self) {
        if let Some((header, crc)) = self.ahead.take() {
            self.offset += FRAME_HEADER as u64 + header.length;
            self.chain = crc;
            self.last = Some(header.epoch);
        }
    }

    /// Whether a later frame of this segment begins anywhere behind the cursor. Frames are written
    /// one at a time, each after the one before is durable: so if there is one, what stands at the
    /// cursor was durable too.
    pub(super) fn has_later_frame(&self) -> Result<bool, Error> {
        const CHUNK: usize = 1 << 20;
        let mut bytes = vec![0; CHUNK];
        let mut start = self.offset + 1;
        loop {
            let count = self.fill(start, &mut bytes)?;
            if count < FRAME_HEADER {
                return Ok(false);
            }
            for at in 0..=count - FRAME_HEADER {
                if bytes[at] != FRAME_MAGIC[0] {
                    continue;
                }
                let decoded = FrameHeader::decode(&bytes[at..at + FRAME_HEADER], self.seed);
                let Ok((header, _)) = decoded else { continue };
                if self.last.is_none_or(|last| header.epoch > last) {
                    return Ok(true);
                }
            }
            start += (count - FRAME_HEADER + 1) as u64;
        }
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        fill(&*self.file, offset, buffer).map_err(Error::io("read", &self.path))
    }
}

const _: () =
    assert!(SEGMENT_HEADER.is_multiple_of(ALIGNMENT) && FRAME_HEADER.is_multiple_of(ALIGNMENT));
