//! A folder of documents, laid out as `asset_types/`, `device_types/`, `assets/`, `devices/` and
//! `links/` with YAML files in each.

use super::problem::Problem;
use super::read::{MAX_LIST_BYTES, parse};
use super::yaml::Place;
use crate::model::{Kind, NewDocument};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A document, and where in a folder it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct FileDocument {
    /// The document.
    pub document: NewDocument,
    file: Arc<str>,
    place: Place,
}

impl FileDocument {
    /// A problem of the document as a whole, with its file and place.
    pub fn problem(&self, problem: Problem) -> Problem {
        let (line, column) = self.place;
        Problem {
            file: Some(Arc::clone(&self.file)),
            line: Some(line),
            column: Some(column),
            ..problem
        }
    }
}

/// Reads a folder: the good documents in the order in which they can be published (types first,
/// links last, files by name), and every problem. Folders that are missing are empty.
pub fn read_folder(dir: &Path) -> (Vec<FileDocument>, Vec<Problem>) {
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    let mut first: HashMap<(Kind, Arc<str>), PathBuf> = HashMap::new();
    if !dir.is_dir() {
        problems.push(in_file(dir, "there is no such folder"));
    }
    for kind in Kind::ALL {
        for path in files(&dir.join(kind.name()), &mut problems) {
            let text = match read(&path) {
                Ok(text) => text,
                Err(message) => {
                    problems.push(in_file(&path, message));
                    continue;
                }
            };
            let (parsed, found) = parse(kind, &path.to_string_lossy(), &text);
            problems.extend(found);
            for parsed in parsed {
                let identity = (kind, Arc::clone(&parsed.document.key));
                if let Some(other) = first.get(&identity) {
                    let message = format!(
                        "the key '{}' is in {} already",
                        parsed.document.key,
                        other.display()
                    );
                    let (line, column) = parsed.place;
                    problems.push(Problem {
                        line: Some(line),
                        column: Some(column),
                        ..in_file(&path, message)
                    });
                    continue;
                }
                first.insert(identity, path.clone());
                documents.push(FileDocument {
                    document: parsed.document,
                    file: path.to_string_lossy().into(),
                    place: parsed.place,
                });
            }
        }
    }
    (documents, problems)
}

/// The YAML files of a folder by name.
fn files(dir: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    if !dir.is_dir() {
        return Vec::new();
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            problems.push(in_file(dir, error.to_string()));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml"))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > MAX_LIST_BYTES as u64 {
        return Err(format!("the file has {bytes} bytes, the limit is {MAX_LIST_BYTES}"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

fn in_file(path: &Path, message: impl Into<String>) -> Problem {
    Problem { file: Some(path.to_string_lossy().into()), ..Problem::at("", message) }
}
