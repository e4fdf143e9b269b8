//! Files that are there as a whole or not at all, also after a power cut.

use super::error::Error;
use crate::base::fs::{File, Fs};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file must be: enough to notice that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// Its length.
    pub bytes: u64,
    /// The CRC-32C of its bytes.
    pub crc32c: u32,
}

/// A file that is written beside its place. It goes when it is dropped before it is published.
pub(super) struct Beside {
    fs: Arc<dyn Fs>,
    beside: PathBuf,
    path: PathBuf,
    file: Box<dyn File>,
    sum: Sum,
    published: bool,
}

impl Beside {
    /// Begins a file, anew when a failure left one there.
    pub(super) fn create(fs: &Arc<dyn Fs>, path: &Path) -> Result<Self, Error> {
        let beside = path.with_extension("tmp");
        if fs.exists(&beside) {
            fs.remove(&beside).map_err(Error::io("remove", &beside))?;
        }
        let file = fs.create(&beside).map_err(Error::io("create", &beside))?;
        let sum = Sum { bytes: 0, crc32c: 0 };
        let (fs, path) = (Arc::clone(fs), path.to_owned());
        Ok(Self { fs, beside, path, file, sum, published: false })
    }

    /// Syncs the file, renames it into place and syncs the directory. After an error the file may
    /// be in place all the same.
    pub(super) fn publish(mut self) -> Result<Sum, Error> {
        self.file.sync().map_err(Error::io("sync", &self.beside))?;
        self.fs.rename(&self.beside, &self.path).map_err(Error::io("rename", &self.path))?;
        self.published = true;
        if let Some(parent) = self.path.parent() {
            sync_dir(&*self.fs, parent)?;
        }
        Ok(self.sum)
    }
}

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.append(bytes)?;
        self.sum.bytes += bytes.len() as u64;
        self.sum.crc32c = crc32c::crc32c_append(self.sum.crc32c, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Beside {
    /// On a full disk, what could not be finished would take the space of what can.
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = self.fs.remove(&self.beside)
        {
            tracing::warn!(path = %self.beside.display(), %error, "unfinished file stays");
        }
    }
}

/// Puts these bytes in the place of a file, in one step.
pub(super) fn replace(fs: &Arc<dyn Fs>, path: &Path, bytes: &[u8]) -> Result<Sum, Error> {
    let mut file = Beside::create(fs, path)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.publish()
}

/// All bytes of a file.
pub(super) fn read(fs: &dyn Fs, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    pieces(fs, path, |piece| bytes.extend_from_slice(piece))?;
    Ok(bytes)
}

/// What a file is.
pub(super) fn sum(fs: &dyn Fs, path: &Path) -> Result<Sum, Error> {
    let mut sum = Sum { bytes: 0, crc32c: 0 };
    pieces(fs, path, |piece| {
        sum.bytes += piece.len() as u64;
        sum.crc32c = crc32c::crc32c_append(sum.crc32c, piece);
    })?;
    Ok(sum)
}

fn pieces(fs: &dyn Fs, path: &Path, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
    const PIECE: usize = 1 << 20;
    let file = fs.open(path).map_err(Error::io("open", path))?;
    let length = file.len().map_err(Error::io("measure", path))?;
    let mut buffer = vec![0; usize::try_from(length).unwrap_or(PIECE).clamp(1, PIECE)];
    let mut at = 0;
    loop {
        match file.read_at(at, &mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(()),
            count => {
                take(&buffer[..count]);
                at += count as u64;
            }
        }
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    fs.sync_dir(path).map_err(Error::io("sync", path))
}

/// Creates a directory and makes its entry durable; nothing happens when it exists.
pub(super) fn create_dir(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    if fs.is_dir(path) {
        return Ok(());
    }
    fs.create_dir_all(path).map_err(Error::io("create", path))?;
    match path.parent() {
        Some(parent) => sync_dir(fs, parent),
        None => Ok(()),
    }
}
