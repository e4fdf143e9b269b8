//! A file of the archive as the Parquet reader wants it.

use super::error::Error;
use super::remote::Blocks;
use crate::base::fs::{File, Fs};
use crate::model::ArchiveFile;
use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// An open file. Reads are positioned; clones share the file.
#[derive(Clone)]
pub(super) struct Stored {
    source: Source,
    length: u64,
}

/// Where the bytes are.
#[derive(Clone)]
enum Source {
    Local(Arc<Mutex<Box<dyn File>>>),
    Store(Arc<Blocks>),
}

/// Reads on from a place of a file.
pub(super) struct ReadOn {
    stored: Stored,
    at: u64,
}

impl Stored {
    /// Opens a file, which must be as long as the manifest says.
    pub(super) fn open(fs: &dyn Fs, path: &Path, file: &ArchiveFile) -> Result<Self, Error> {
        let opened = fs.open(path).map_err(Error::io("open", path))?;
        let length = opened.len().map_err(Error::io("measure", path))?;
        if length != file.bytes {
            let found = format!("{length} bytes long");
            return Err(Error::File { path: path.into(), found, expected: file.bytes });
        }
        Ok(Self { source: Source::Local(Arc::new(Mutex::new(opened))), length })
    }

    /// A file on the store, of this length. It is not looked at before it is read.
    pub(super) fn on_store(blocks: Blocks, length: u64) -> Self {
        Self { source: Source::Store(Arc::new(blocks)), length }
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.source {
            Source::Local(file) => {
                file.lock().unwrap_or_else(PoisonError::into_inner).read_at(at, buffer)
            }
            Source::Store(blocks) => {
                let left = self.length.saturating_sub(at);
                let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let bytes = blocks.bytes(at, count).map_err(io::Error::other)?;
                buffer[..count].copy_from_slice(&bytes);
                Ok(count)
            }
        }
    }
}

impl Length for Stored {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Stored {
    type T = BufReader<ReadOn>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::new(ReadOn { stored: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        // A damaged file may ask for more than there is memory.
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are not there")));
        }
        if let Source::Store(blocks) = &self.source {
            let bytes = blocks.bytes(start, length);
            return bytes.map_err(|error| ParquetError::External(Box::new(error)));
        }
        let mut bytes = vec![0; length];
        let mut place = ReadOn { stored: self.clone(), at: start };
        place.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl Read for ReadOn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stored.read_at(self.at, buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}
