//! The list of files that make up the archive: what it names is in, everything else is not.

use super::durable;
use super::error::Error;
use crate::model::Epoch;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use tracing::warn;

const FORMAT_VERSION: u32 = 1;
const NAME: &str = "manifest.json";
/// The folder of the files, in the archive's directory.
pub(super) const FOLDER: &str = "telemetry";

/// One file of the archive. Never changed once a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveFile {
    /// Path from the archive's directory, with `/`.
    pub path: String,
    /// Number of points.
    pub rows: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// The earliest event time in microseconds.
    pub min_event_time: i64,
    /// The latest event time in microseconds.
    pub max_event_time: i64,
    /// The first epoch of the points.
    pub min_epoch: u64,
    /// The last epoch of the points.
    pub max_epoch: u64,
}

/// What is in the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub format_version: u32,
    /// All points of epochs up to this one are in the files.
    pub archived_epoch: Epoch,
    /// The list of replaced points, when there are any.
    pub replaced: Option<String>,
    pub files: Vec<ArchiveFile>,
}

/// Whether one of the files may hold a point of this event time.
pub(super) fn may_hold(files: &[ArchiveFile], event_time: i64) -> bool {
    files.iter().any(|file| (file.min_event_time..=file.max_event_time).contains(&event_time))
}

impl Manifest {
    /// Reads the manifest of a directory, checks its files and removes what it does not name.
    /// An empty directory gets an empty manifest.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(NAME);
        let folder = directory.join(FOLDER);
        durable::create_dir(directory)?;
        if !path.exists() {
            if folder.exists() && !files_below(&folder)?.is_empty() {
                return Err(Error::NoManifest { path: directory.into() });
            }
            let empty = Self { format_version: FORMAT_VERSION, ..Self::default() };
            empty.write(directory)?;
        }
        durable::create_dir(&folder)?;
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let damaged = |reason| Error::Manifest { path: path.clone(), reason };
        let manifest: Self = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if manifest.format_version != FORMAT_VERSION {
            let version = manifest.format_version;
            return Err(damaged(format!("format version {version}, known is {FORMAT_VERSION}")));
        }
        for file in &manifest.files {
            check(&directory.join(&file.path), file.bytes)?;
        }
        manifest.remove_orphans(directory)?;
        Ok(manifest)
    }

    /// Makes this the manifest of the directory, durably and in one step.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join(NAME);
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::Manifest { path: path.clone(), reason: e.to_string() })?;
        durable::replace(&path, text.as_bytes())
    }

    /// Files that were written but never named: a crash came between file and manifest. Their
    /// points are still in the log.
    fn remove_orphans(&self, directory: &Path) -> Result<(), Error> {
        let mut named: HashSet<PathBuf> =
            self.files.iter().map(|file| directory.join(&file.path)).collect();
        named.extend(self.replaced.iter().map(|name| directory.join(name)));
        named.insert(directory.join(NAME));
        let mut found = files_below(&directory.join(FOLDER))?;
        found.extend(files_in(directory)?);
        for path in found {
            if !named.contains(&path) {
                warn!(path = %path.display(), "removing archive file that no manifest names");
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

fn check(path: &Path, expected: u64) -> Result<(), Error> {
    let found = match fs::metadata(path) {
        Ok(metadata) if metadata.len() == expected => return Ok(()),
        Ok(metadata) => format!("{} bytes long", metadata.len()),
        Err(error) => error.to_string(),
    };
    Err(Error::File { path: path.into(), found, expected })
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = files_in(folder)?;
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if path.is_dir() {
            files.extend(files_in(&path)?);
        }
    }
    Ok(files)
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}
