//! The named queries that there are: a folder of files, read again when it changes.

use super::header::{NamedQuery, read};
use crate::catalog::Problem;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The longest file.
const FILE_BYTES: u64 = 64 << 10;

/// The named queries. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Library(Arc<RwLock<Arc<[NamedQuery]>>>);

impl Library {
    /// A library of these queries.
    pub fn new(queries: Vec<NamedQuery>) -> Self {
        let library = Self::default();
        library.replace(queries);
        library
    }

    /// All queries by name.
    pub fn list(&self) -> Arc<[NamedQuery]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The query of this name.
    pub fn get(&self, name: &str) -> Option<NamedQuery> {
        self.list().iter().find(|query| query.name == name).cloned()
    }

    /// Takes these queries in place of the ones that there were.
    pub fn replace(&self, mut queries: Vec<NamedQuery>) {
        queries.sort_by(|a, b| a.name.cmp(&b.name));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = queries.into();
    }
}

/// Reads the `.sql` files of a folder by name: the good ones, and every problem.
pub fn read_folder(folder: &Path) -> (Vec<NamedQuery>, Vec<Problem>) {
    let (mut queries, mut problems) = (Vec::new(), Vec::new());
    let in_file = |path: &Path, message: String| Problem {
        file: Some(path.to_string_lossy().into()),
        ..Problem::at("", message)
    };
    let mut files: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) => return (queries, vec![in_file(folder, error.to_string())]),
    };
    files.retain(|path| path.extension().is_some_and(|ending| ending == "sql"));
    files.sort();
    for path in files {
        let text = match text(&path) {
            Ok(text) => text,
            Err(message) => {
                problems.push(in_file(&path, message));
                continue;
            }
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        match read(&name, &path.to_string_lossy(), &text) {
            Ok(query) => queries.push(query),
            Err(found) => problems.extend(found),
        }
    }
    (queries, problems)
}

fn text(path: &Path) -> Result<String, String> {
    let bytes = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > FILE_BYTES {
        return Err(format!("the file has {bytes} bytes, the limit is {FILE_BYTES}"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}
