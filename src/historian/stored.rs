//! A file of the archive as the Parquet reader wants it.

use super::error::Error;
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
    file: Arc<Mutex<Box<dyn File>>>,
    length: u64,
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
        Ok(Self { file: Arc::new(Mutex::new(opened)), length })
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).read_at(at, buffer)
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
