//! What is said on a connection before it is a link, and about documents.

use crate::model::{Kind, NewDocument};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// The dataflow between two processes with so many workers each.
    Link { workers: usize },
    /// Documents to be published.
    Documents,
    /// Frames of the log.
    Frames,
}

/// The first words of whoever connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub magic: [u8; 8],
    pub version: String,
    pub processes: usize,
    pub process: usize,
    pub purpose: Purpose,
}

/// The answer to a [`Hello`]: why not, if not.
pub type Welcome = Result<(), String>;

/// Documents for process 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publish {
    pub documents: Vec<NewDocument>,
}

/// What became of documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Published {
    /// They are durable, at this epoch.
    Committed(u64),
    /// Some were refused: index, kind, key, problem.
    Refused(Vec<(usize, Kind, Arc<str>, String)>),
    /// Not now, and why.
    Away(String),
}

/// Which frames of a log are wanted: from an epoch to another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Want {
    pub from: u64,
    pub up_to: u64,
}

/// Some of the frames that are wanted, from the first on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    pub frames: Vec<Packed>,
    pub is_last: bool,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    pub epoch: u64,
    pub tick: i64,
    #[serde(with = "crate::base::serial::bytes")]
    pub content: Vec<u8>,
}

/// What every first word begins with.
pub const MAGIC: [u8; 8] = *b"mill-1\r\n";
/// The most bytes of a [`Hello`] and a [`Welcome`].
pub const HELLO_BYTES: usize = 4 << 10;
/// The most bytes of documents, and of what became of them.
pub const DOCUMENTS_BYTES: usize = 64 << 20;
/// The most bytes of a chunk of frames: one is as large as a frame may be.
pub const FRAMES_BYTES: usize = 80 << 20;
/// How long a step of such a conversation may take.
pub const WITHIN: Duration = Duration::from_secs(5);

/// Sends a length and the bytes of a message.
pub fn send<T: Serialize>(stream: &mut TcpStream, message: &T) -> io::Result<()> {
    let body = bincode::serialize(message).map_err(io::Error::other)?;
    let mut bytes = (body.len() as u64).to_le_bytes().to_vec();
    bytes.extend(body);
    stream.write_all(&bytes)
}

/// Receives a message of at most so many bytes.
pub fn receive<T: DeserializeOwned>(stream: &mut TcpStream, limit: usize) -> io::Result<T> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > limit as u64 {
        let text = format!("a message of {length} bytes, the limit is {limit}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    bincode::deserialize(&body).map_err(io::Error::other)
}
