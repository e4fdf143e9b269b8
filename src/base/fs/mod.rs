//! The file system as the log and the archive see it, so that tests can break it.
//!
//! [`RealFs`] is the disk, [`MemFs`] is its twin in memory: it forgets what was not synced when it
//! is told to crash, and fails on demand. Nothing here knows what the bytes mean.

mod mem;
mod real;

pub use mem::{Crash, Fault, MemFs, Op};
pub use real::RealFs;

use std::io;
use std::path::{Path, PathBuf};

/// A directory tree with explicit durability: nothing is durable until it is synced.
pub trait Fs: Send + Sync + 'static {
    /// Creates a directory and its parents.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names of the entries of a directory (without the directory's own path), sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Creates a file that must not exist, open for appending and reading.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens an existing file for appending and reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Renames a file, replacing the target in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Whether there is such a directory.
    fn is_dir(&self, path: &Path) -> bool;
    /// Whether there is such a file or directory.
    fn exists(&self, path: &Path) -> bool;
}

/// An open file.
pub trait File: Send {
    /// Writes all bytes at the end. After an error some of the bytes may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes at an offset; 0 at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts the file to a length.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Makes the contents durable (fdatasync). After an error nothing is known about what was
    /// written since the last success, and a second try proves nothing.
    fn sync(&mut self) -> io::Result<()>;
}
