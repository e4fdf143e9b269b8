//! The headers of segments and frames, byte by byte. All numbers are little-endian.
//!
//! ```text
//! segment  0 magic "MSTRMLOG" | 8 version | 12 flags (1: follows another) | 16 base epoch
//!          24 chain of the segment before | .. zeros .. | 4092 crc32c of all before
//! frame    0 magic "MSFR" | 4 version | 8 payload length | 16 epoch | 24 tick
//!          32 epoch that was durable when this was written | 40 items | 44 chain
//!          48 crc32c of the payload | 52 zeros | 60 crc32c of all before
//! ```
//!
//! A frame header's checksum starts from the checksum of its segment's header, so a frame of
//! another segment is never taken for one of this. The *chain* is the header checksum of the frame
//! before, over segment borders too, so a frame that is missing does not go unnoticed.

use crate::model::{Epoch, Timestamp};

/// Length of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 4096;
/// Length of a frame's header.
pub(super) const FRAME_HEADER: usize = 64;
/// The first bytes of a frame.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"MSFR";
/// Frames and the parts of a payload start at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"MSTRMLOG";
const VERSION: u32 = 1;
const FOLLOWS: u32 = 1;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The epoch of its first frame.
    pub base: Epoch,
    /// The chain at the end of the segment before; `None` in the first segment of a log.
    pub follows: Option<u32>,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of payload, a multiple of [`ALIGNMENT`].
    pub length: u64,
    pub epoch: Epoch,
    pub tick: Timestamp,
    /// The last epoch that was durable when this was written; 0 when there was none.
    pub durable: Epoch,
    /// Documents, dead letters, edits and rows.
    pub items: u32,
    pub chain: u32,
    pub payload_crc: u32,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The file ends inside.
    Incomplete,
    Magic,
    HeaderChecksum,
    Version(u32),
    /// Not the frame that followed the one before it.
    Chain,
    /// The epoch does not increase.
    Epoch,
    PayloadChecksum,
    /// The segment's header names another epoch than the file's name.
    Name,
}

impl Flaw {
    pub(super) fn text(self) -> String {
        match self {
            Self::Incomplete => "the file ends inside a frame".into(),
            Self::Magic => "no frame begins here".into(),
            Self::HeaderChecksum => "the header's checksum is wrong".into(),
            Self::Version(version) => format!("format version {version} is not known"),
            Self::Chain => "the frame before it is missing".into(),
            Self::Epoch => "the epoch does not follow the one before".into(),
            Self::PayloadChecksum => "the payload's checksum is wrong".into(),
            Self::Name => "the header belongs to a segment of another name".into(),
        }
    }
}

impl SegmentHeader {
    /// The bytes, and the checksum that frames start from.
    pub(super) fn encode(&self) -> (Vec<u8>, u32) {
        let mut bytes = vec![0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        put(&mut bytes, 8, VERSION.to_le_bytes());
        let flags = if self.follows.is_some() { FOLLOWS } else { 0 };
        put(&mut bytes, 12, flags.to_le_bytes());
        put(&mut bytes, 16, self.base.0.to_le_bytes());
        put(&mut bytes, 24, self.follows.unwrap_or(0).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]);
        put(&mut bytes, SEGMENT_HEADER - 4, crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a header; gives the checksum that frames start from with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, u32), Flaw> {
        if bytes.len() < SEGMENT_HEADER {
            return Err(Flaw::Incomplete);
        }
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(Flaw::Magic);
        }
        let crc = u32_at(bytes, SEGMENT_HEADER - 4);
        if crc != crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]) {
            return Err(Flaw::HeaderChecksum);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(Flaw::Version(version));
        }
        let follows = (u32_at(bytes, 12) & FOLLOWS != 0).then(|| u32_at(bytes, 24));
        Ok((Self { base: Epoch(u64_at(bytes, 16)), follows }, crc))
    }
}

impl FrameHeader {
    /// The bytes, and their checksum: the chain of the next frame.
    pub(super) fn encode(&self, seed: u32) -> ([u8; FRAME_HEADER], u32) {
        let mut bytes = [0; FRAME_HEADER];
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        put(&mut bytes, 4, VERSION.to_le_bytes());
        put(&mut bytes, 8, self.length.to_le_bytes());
        put(&mut bytes, 16, self.epoch.0.to_le_bytes());
        put(&mut bytes, 24, self.tick.0.to_le_bytes());
        put(&mut bytes, 32, self.durable.0.to_le_bytes());
        put(&mut bytes, 40, self.items.to_le_bytes());
        put(&mut bytes, 44, self.chain.to_le_bytes());
        put(&mut bytes, 48, self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &bytes[..FRAME_HEADER - 4]);
        put(&mut bytes, FRAME_HEADER - 4, crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a header; gives its checksum with it.
    pub(super) fn decode(bytes: &[u8], seed: u32) -> Result<(Self, u32), Flaw> {
        if bytes.len() < FRAME_HEADER {
            return Err(Flaw::Incomplete);
        }
        if bytes[..4] != FRAME_MAGIC {
            return Err(Flaw::Magic);
        }
        let crc = u32_at(bytes, FRAME_HEADER - 4);
        if crc != crc32c::crc32c_append(seed, &bytes[..FRAME_HEADER - 4]) {
            return Err(Flaw::HeaderChecksum);
        }
        let version = u32_at(bytes, 4);
        if version != VERSION {
            return Err(Flaw::Version(version));
        }
        let header = Self {
            length: u64_at(bytes, 8),
            epoch: Epoch(u64_at(bytes, 16)),
            tick: Timestamp(u64_at(bytes, 24).cast_signed()),
            durable: Epoch(u64_at(bytes, 32)),
            items: u32_at(bytes, 40),
            chain: u32_at(bytes, 44),
            payload_crc: u32_at(bytes, 48),
        };
        Ok((header, crc))
    }
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
