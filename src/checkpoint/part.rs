//! One file of a checkpoint while it is written, and when it is read back.

use super::error::Error;
use super::manifest::PartEntry;
use crate::base::fs::{File, Fs};
use crate::model::Epoch;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes that are collected before they are handed to the disk.
const BUFFER: usize = 1 << 20;

/// A file that is being written. It counts when [`Part::finish`] has succeeded.
pub struct Part {
    file: Box<dyn File>,
    path: PathBuf,
    name: String,
    buffer: Vec<u8>,
    bytes: u64,
    crc: u32,
}

impl Part {
    pub(super) fn create(fs: &dyn Fs, path: PathBuf, name: &str) -> Result<Self, Error> {
        let file = fs.create(&path).map_err(Error::io("create", &path))?;
        let (buffer, name) = (Vec::with_capacity(BUFFER), name.into());
        Ok(Self { file, path, name, buffer, bytes: 0, crc: 0 })
    }

    /// Makes the contents durable.
    pub fn finish(mut self) -> Result<PartEntry, Error> {
        let written = self.flush().and_then(|()| self.file.sync());
        written.map_err(Error::io("write", &self.path))?;
        Ok(PartEntry { name: self.name, bytes: self.bytes, crc: self.crc })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.bytes += bytes.len() as u64;
        self.file.append(bytes)
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        match bytes.len() > BUFFER {
            true => self.put(bytes)?,
            false => self.buffer.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.put(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        written
    }
}

/// The contents of a file, when they are what the manifest says.
pub(super) fn read(
    fs: &dyn Fs,
    path: &Path,
    entry: &PartEntry,
    epoch: Epoch,
) -> Result<Vec<u8>, Error> {
    let damaged = |what: String| Error::Damaged { path: path.into(), epoch, what };
    if !fs.exists(path) {
        return Err(damaged("the file is not there".into()));
    }
    let file = fs.open(path).map_err(Error::io("open", path))?;
    let length = file.len().map_err(Error::io("read", path))?;
    if length != entry.bytes {
        return Err(damaged(format!("{length} bytes, expected {}", entry.bytes)));
    }
    let mut bytes = vec![0; length as usize];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(done as u64, &mut bytes[done..]).map_err(Error::io("read", path))? {
            0 => return Err(damaged(format!("it ends at byte {done}"))),
            count => done += count,
        }
    }
    match crc32c::crc32c(&bytes) {
        crc if crc == entry.crc => Ok(bytes),
        _ => Err(damaged("the checksum is wrong".into())),
    }
}
