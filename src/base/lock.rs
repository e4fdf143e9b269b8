//! One process, one data directory: an exclusive lock that ends with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The name of the lock file in its directory.
pub const FILE: &str = "lock";

/// An exclusive lock on a data directory, held until it is dropped or the process ends.
///
/// The file stays behind and means nothing by itself: what counts is the lock on it.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else holds it.
    #[error(
        "lock {}: the data directory is in use by process {pid}; stop it or choose another directory with --data", directory.display()
    )]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// The process id in the lock file, `unknown` when it is not there yet.
        pid: String,
    },
    /// The lock file cannot be made, read or written.
    #[error("lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DirectoryLock {
    /// Locks a directory, which is created when it is not there. Does not wait.
    pub fn acquire(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(FILE);
        let failed = |source| Error::Io { path: path.clone(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The text only helps the reader: without it the answer is still right.
                let _ = file.read_to_string(&mut pid);
                let pid = match pid.trim() {
                    "" => "unknown".into(),
                    pid => pid.to_owned(),
                };
                return Err(Error::InUse { directory: directory.into(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let pid = std::process::id();
        let mut write = || {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{pid}")
        };
        // A full disk must not keep the engine from reading: the lock holds without the text.
        if let Err(error) = write() {
            tracing::warn!(path = %path.display(), %error, "process id not written to lock file");
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let first = DirectoryLock::acquire(&path).unwrap();
        let error = DirectoryLock::acquire(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
        drop(first);
        DirectoryLock::acquire(&path).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(DirectoryLock::acquire(&file), Err(Error::Io { .. })));
    }
}
