//! Where the files of the archive are.

use super::durable;
use super::error::Error;
use super::remote::{Blocks, Remote};
use super::stored::Stored;
use crate::base::fs::Fs;
use crate::model::{ArchiveFile, Place};
use std::path::PathBuf;
use std::sync::Arc;

/// Opens files, wherever they are. Cheap to clone.
#[derive(Clone)]
pub(super) struct Places {
    pub fs: Arc<dyn Fs>,
    /// The archive's directory.
    pub directory: PathBuf,
    /// The store behind it.
    pub store: Option<Arc<Remote>>,
}

impl Places {
    /// What errors call a file.
    pub fn name(&self, file: &ArchiveFile) -> PathBuf {
        match (file.place, &self.store) {
            (Place::Store, Some(store)) => store.name(&file.path).into(),
            _ => self.directory.join(&file.path),
        }
    }

    /// Opens a file, which must be as long as the manifest says.
    pub fn open(&self, file: &ArchiveFile) -> Result<Stored, Error> {
        match file.place {
            Place::Local => Stored::open(&*self.fs, &self.name(file), file),
            Place::Store => {
                let blocks = Blocks::new(self.store(file)?, &file.path, file.bytes);
                Ok(Stored::on_store(blocks, file.bytes))
            }
        }
    }

    /// Reads a file and compares it with what the manifest says: [`Error::Damaged`] when it is
    /// something else.
    pub fn check(&self, file: &ArchiveFile) -> Result<(), Error> {
        if file.place == Place::Store {
            return self.store(file)?.check(file);
        }
        let path = self.name(file);
        let found = durable::sum(&*self.fs, &path)?;
        (found == file.sum()).then_some(()).ok_or(Error::Damaged { path })
    }

    fn store(&self, file: &ArchiveFile) -> Result<&Arc<Remote>, Error> {
        self.store.as_ref().ok_or_else(|| Error::NoStore { path: file.path.clone() })
    }
}
