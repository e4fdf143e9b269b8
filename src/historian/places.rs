//! Where the files of the archive are.

use super::durable::{self, Sum};
use super::error::Error;
use super::stored::Stored;
use crate::base::fs::Fs;
use crate::model::ArchiveFile;
use std::path::PathBuf;
use std::sync::Arc;

/// Opens files, wherever they are. Cheap to clone.
#[derive(Clone)]
pub(super) struct Places {
    pub fs: Arc<dyn Fs>,
    /// The archive's directory.
    pub directory: PathBuf,
}

impl Places {
    /// What errors call a file.
    pub fn name(&self, file: &ArchiveFile) -> PathBuf {
        self.directory.join(&file.path)
    }

    /// Opens a file, which must be as long as the manifest says.
    pub fn open(&self, file: &ArchiveFile) -> Result<Stored, Error> {
        Stored::open(&*self.fs, &self.name(file), file)
    }

    /// Reads a file and compares it with what the manifest says: [`Error::Damaged`] when it is
    /// something else.
    pub fn check(&self, file: &ArchiveFile) -> Result<(), Error> {
        let path = self.name(file);
        let found: Sum = durable::sum(&*self.fs, &path)?;
        (found == file.sum()).then_some(()).ok_or(Error::Damaged { path })
    }
}
