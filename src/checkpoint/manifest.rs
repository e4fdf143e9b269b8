//! The manifest: what belongs to a checkpoint, with lengths and checksums.
//!
//! One line of JSON and one line with its CRC-32C in hexadecimal digits, so that a person can
//! read it and a flipped bit anywhere in it is noticed.

use crate::model::{Epoch, Timestamp};
use serde::{Deserialize, Serialize};

/// The format of all parts together. A change of anything that is written raises it.
pub const FORMAT_VERSION: u32 = 6;

/// What is known of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Everything up to this epoch is in it.
    pub epoch: Epoch,
    /// When it was asked for, by the wall clock.
    pub taken_at: Timestamp,
    /// How long it took until all of it was durable, in microseconds.
    pub micros: u64,
    /// Its files.
    pub parts: Vec<PartEntry>,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartEntry {
    /// What it holds; the end of the file's name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The CRC-32C of its bytes.
    pub crc: u32,
}

/// What a manifest's bytes are.
pub(super) enum Read {
    Good(Taken),
    /// Written by another version of the program.
    Foreign(u32),
    Damaged(String),
}

#[derive(Deserialize)]
struct Versioned {
    format_version: u32,
}

impl Taken {
    /// The bytes of all parts together.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    pub(super) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        bytes.extend(last_line(&bytes).into_bytes());
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8], epoch: Epoch) -> Read {
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        let (text, check) = bytes.split_at(end);
        if check != last_line(text).as_bytes() {
            return Read::Damaged("the manifest's checksum is wrong".into());
        }
        match serde_json::from_slice::<Versioned>(text) {
            Ok(read) if read.format_version != FORMAT_VERSION => {
                return Read::Foreign(read.format_version);
            }
            _ => {}
        }
        match serde_json::from_slice::<Self>(text) {
            Ok(taken) if taken.epoch == epoch => Read::Good(taken),
            Ok(taken) => Read::Damaged(format!("the manifest is of epoch {}", taken.epoch)),
            Err(error) => Read::Damaged(error.to_string()),
        }
    }
}

fn last_line(text: &[u8]) -> String {
    format!("{:08x}\n", crc32c::crc32c(text))
}
