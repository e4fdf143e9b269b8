//! The list of files that make up the archive: what it names is in, everything else is not.

use super::chronicle::Line;
use super::durable::{self, Sum};
use super::error::Error;
use super::pins::Gone;
use crate::base::fs::Fs;
use crate::model::{ArchiveFile, Epoch, Place, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

/// Gauge, label `place` (`local`, `store`): files of telemetry.
pub const FILES: &str = "millstream_archive_files";
/// Gauge, label `place`: their bytes.
pub const BYTES: &str = "millstream_archive_bytes";

const FORMAT_VERSION: u32 = 6;
/// Archives of this version are read too. Before version 3 there were no files with older values, and
/// lists of replaced points had only the latest entry of each key; before version 4 no files were
/// merged; before version 5 there was no chronicle, and before version 6 all files were in the directory
/// and nothing expired.
const OLDEST_VERSION: u32 = 2;
const NAME: &str = "manifest.json";
/// The folder of the files, in the archive's directory.
pub(super) const FOLDER: &str = "telemetry";

/// What is in the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub format_version: u32,
    /// All points of epochs up to this one are in the files.
    pub archived_epoch: Epoch,
    /// The list of replaced points, when there are any.
    pub replaced: Option<ListFile>,
    /// The values that `telemetry` is made of. In each file a key is once.
    pub files: Vec<ArchiveFile>,
    /// Values that were replaced by such that became files together with them. In each file a key
    /// may be more than once, with different epochs.
    #[serde(default)]
    pub older: Vec<ArchiveFile>,
    /// How often files were merged: new ones are named by it.
    #[serde(default)]
    pub merged: u64,
    /// What the plant was, oldest first, up to the epoch that the points are archived to.
    #[serde(default)]
    pub chronicle: Vec<ListFile>,
    /// Where the clock was noted last.
    #[serde(default)]
    pub clock: Option<Line>,
    /// What is on the store behind the archive.
    #[serde(default)]
    pub store: Option<OnStore>,
    /// What has been removed because it was old.
    #[serde(default)]
    pub expired: Option<Expired>,
    /// What was before this time was said to expire, or was about to be.
    #[serde(default)]
    pub announced: Option<Timestamp>,
}

/// The store behind the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnStore {
    /// What the archive is called there: all its files are below.
    pub id: String,
    /// Where the store was when it was opened last.
    pub url: String,
    /// Files that may be there and have no name: they are being written, or are to go.
    pub unnamed: Vec<String>,
}

/// Days of telemetry that were removed, all of them together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expired {
    /// All of them were before this event time.
    pub before: Timestamp,
    /// All of their points came up to this epoch.
    pub received: Epoch,
    /// From this epoch on nobody asks for them, and no replay begins before it.
    pub settled: Epoch,
    /// How many days.
    pub days: u64,
    /// How many files.
    pub files: u64,
    /// The bytes of those.
    pub bytes: u64,
    /// Their points; a key as often as it had another value.
    pub points: u64,
    /// What those who recompute views have to know of them.
    pub(super) carried: Option<ListFile>,
}

/// A file beside the Parquet files: the list of replaced points, or a part of the chronicle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListFile {
    pub path: String,
    pub bytes: u64,
    pub crc32c: u32,
}

/// The manifest as it is written: its text, and the CRC-32C of its text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    crc32c: u32,
    manifest: Box<RawValue>,
}

/// Whether one of the files may hold a point of this event time.
pub(super) fn may_hold(files: &[ArchiveFile], event_time: i64) -> bool {
    files.iter().any(|file| (file.min_event_time..=file.max_event_time).contains(&event_time))
}

impl ArchiveFile {
    pub(super) fn sum(&self) -> Sum {
        Sum { bytes: self.bytes, crc32c: self.crc32c }
    }
}

impl ListFile {
    pub(super) fn sum(&self) -> Sum {
        Sum { bytes: self.bytes, crc32c: self.crc32c }
    }
}

impl OnStore {
    /// For an archive that has no file there yet.
    pub(super) fn begin() -> Self {
        let id = uuid::Uuid::now_v7().to_string();
        Self { id, url: String::new(), unnamed: Vec::new() }
    }
}

impl Manifest {
    /// Reads the manifest of a directory, checks its files and removes what it does not name.
    /// An empty directory gets an empty manifest.
    pub(super) fn open(fs: &Arc<dyn Fs>, directory: &Path) -> Result<Self, Error> {
        let path = directory.join(NAME);
        let folder = directory.join(FOLDER);
        durable::create_dir(&**fs, directory)?;
        if !fs.exists(&path) {
            if fs.exists(&folder) && !files_below(&**fs, &folder)?.is_empty() {
                return Err(Error::NoManifest { path: directory.into() });
            }
            let empty = Self { format_version: FORMAT_VERSION, ..Self::default() };
            empty.write(fs, directory)?;
        }
        durable::create_dir(&**fs, &folder)?;
        let manifest = Self::parse(&durable::read(&**fs, &path)?)
            .map_err(|reason| Error::Manifest { path, reason })?;
        for file in manifest.all().filter(|file| file.place == Place::Local) {
            check(&**fs, &directory.join(&file.path), file.bytes)?;
        }
        for file in manifest.chronicle.iter().chain(manifest.beside()) {
            check(&**fs, &directory.join(&file.path), file.bytes)?;
        }
        // The process may have died between the manifest's rename and the sync that makes it
        // durable: what only the one before it names goes after that.
        durable::sync_dir(&**fs, directory)?;
        manifest.remove_orphans(&**fs, directory)?;
        Ok(manifest)
    }

    /// All files, wherever they are.
    pub(super) fn all(&self) -> impl Iterator<Item = &ArchiveFile> {
        self.files.iter().chain(&self.older)
    }

    /// Whether anything may be on the store.
    pub(super) fn uses_store(&self) -> bool {
        let unnamed = self.store.as_ref().is_some_and(|store| !store.unnamed.is_empty());
        unnamed || self.all().any(|file| file.place == Place::Store)
    }

    /// Takes files out. Those on the store have no name there from then on.
    pub(super) fn take_out(&mut self, is_out: impl Fn(&ArchiveFile) -> bool) -> Vec<Gone> {
        let mut gone = Vec::new();
        for files in [&mut self.files, &mut self.older] {
            let (out, left) = std::mem::take(files).into_iter().partition(&is_out);
            *files = left;
            gone.extend(
                out.into_iter().map(|ArchiveFile { path, place, .. }| Gone { path, place }),
            );
        }
        for Gone { path, .. } in gone.iter().filter(|gone| gone.place == Place::Store) {
            self.on_store().unnamed.push(path.clone());
        }
        gone
    }

    /// The store, which is known.
    pub(super) fn on_store(&mut self) -> &mut OnStore {
        self.store.get_or_insert_with(OnStore::begin)
    }

    /// How many files there are in a place, their bytes and their points.
    pub(super) fn count(&self, place: Place) -> (u64, u64, u64) {
        let files = self.all().filter(|file| file.place == place);
        files.fold((0, 0, 0), |sum, file| (sum.0 + 1, sum.1 + file.bytes, sum.2 + file.rows))
    }

    /// Tells everybody what there is.
    pub(super) fn measure(&self) {
        for place in [Place::Local, Place::Store] {
            let (files, bytes, _) = self.count(place);
            metrics::gauge!(FILES, "place" => place.name()).set(files as f64);
            metrics::gauge!(BYTES, "place" => place.name()).set(bytes as f64);
        }
    }

    /// The files beside the telemetry.
    fn beside(&self) -> impl Iterator<Item = &ListFile> {
        let carried = self.expired.iter().filter_map(|expired| expired.carried.as_ref());
        self.replaced.iter().chain(carried)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let sealed: Sealed = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let text = sealed.manifest.get();
        let found = crc32c::crc32c(text.as_bytes());
        if found != sealed.crc32c {
            let said = sealed.crc32c;
            return Err(format!("its checksum is {found}, but it says {said}"));
        }
        let mut manifest: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let version = std::mem::replace(&mut manifest.format_version, FORMAT_VERSION);
        if !(OLDEST_VERSION..=FORMAT_VERSION).contains(&version) {
            let known = format!("{OLDEST_VERSION} to {FORMAT_VERSION}");
            return Err(format!("format version {version}, known are {known}"));
        }
        Ok(manifest)
    }

    /// Makes this the manifest of the directory, durably and in one step. After an error the
    /// directory has either this one or the one before.
    pub(super) fn write(&self, fs: &Arc<dyn Fs>, directory: &Path) -> Result<(), Error> {
        let path = directory.join(NAME);
        let sealed = || {
            let text = serde_json::to_string_pretty(self)?;
            let crc32c = crc32c::crc32c(text.as_bytes());
            serde_json::to_vec(&Sealed { crc32c, manifest: RawValue::from_string(text)? })
        };
        let text = sealed().map_err(|e: serde_json::Error| Error::Manifest {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        durable::replace(fs, &path, &text).map(drop)
    }

    /// Files that were written but never named: a crash came between file and manifest. Their
    /// points are still in the log.
    fn remove_orphans(&self, fs: &dyn Fs, directory: &Path) -> Result<(), Error> {
        let mut named: HashSet<PathBuf> =
            self.all().map(|file| directory.join(&file.path)).collect();
        let lists = self.beside().chain(&self.chronicle);
        named.extend(lists.map(|file| directory.join(&file.path)));
        named.insert(directory.join(NAME));
        let mut found = files_below(fs, &directory.join(FOLDER))?;
        found.extend(entries(fs, directory)?.0);
        for path in found {
            if !named.contains(&path) {
                warn!(path = %path.display(), "removing archive file that no manifest names");
                fs.remove(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

fn check(fs: &dyn Fs, path: &Path, expected: u64) -> Result<(), Error> {
    let found = match fs.open(path).and_then(|file| file.len()) {
        Ok(length) if length == expected => return Ok(()),
        Ok(length) => format!("{length} bytes long"),
        Err(error) => error.to_string(),
    };
    Err(Error::File { path: path.into(), found, expected })
}

/// The files of a folder and of the folders in it.
fn files_below(fs: &dyn Fs, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let (mut files, folders) = entries(fs, folder)?;
    for folder in folders {
        files.extend(entries(fs, &folder)?.0);
    }
    Ok(files)
}

/// The files and the folders in a folder.
fn entries(fs: &dyn Fs, folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let names = fs.list(folder).map_err(Error::io("list", folder))?;
    let (folders, files) =
        names.iter().map(|name| folder.join(name)).partition(|path| fs.is_dir(path));
    Ok((files, folders))
}
