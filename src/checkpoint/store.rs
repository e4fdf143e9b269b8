//! The directory of checkpoints.

use super::error::Error;
use super::manifest::{FORMAT_VERSION, PartEntry, Read, Taken};
use super::part::{self, Part};
use crate::base::fs::Fs;
use crate::model::{Epoch, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{info, warn};

/// How many checkpoints are kept: when the newest cannot be read, the one before it can.
pub const KEPT: usize = 2;

const MANIFEST: &str = "manifest";
const TEMPORARY: &str = "tmp";

/// The checkpoints of one data directory. One at a time may be open on it.
pub struct Store {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// Oldest first.
    kept: Vec<Taken>,
    discarded: Vec<Taken>,
}

/// A checkpoint that is being written. It is there when [`Store::publish`] has taken it; when it
/// is dropped instead, its files go with it.
pub struct Draft {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    epoch: Epoch,
    parts: Vec<PartEntry>,
    /// Files that go when the draft does.
    files: Vec<PathBuf>,
}

impl Store {
    /// Opens the directory, which is made when it is not there, and reads the manifests. What an
    /// interrupted write has left is removed, and so is a checkpoint whose manifest is damaged;
    /// one of another version of the program is left alone and not listed.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, Error> {
        if !fs.exists(dir) {
            fs.create_dir_all(dir).map_err(Error::io("create", dir))?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                fs.sync_dir(parent).map_err(Error::io("sync", parent))?;
            }
        }
        let mut store = Self { fs, dir: dir.into(), kept: Vec::new(), discarded: Vec::new() };
        let (mut foreign, mut left) = (Vec::new(), Vec::new());
        let files = store.files()?;
        for (epoch, _) in files.iter().filter(|(_, end)| end == MANIFEST) {
            match store.manifest(*epoch)? {
                Read::Good(taken) => store.kept.push(taken),
                Read::Foreign(version) => {
                    warn!(%epoch, version, known = FORMAT_VERSION, "checkpoint of another version of the program not used");
                    foreign.push(*epoch);
                }
                Read::Damaged(what) => warn!(%epoch, what, "damaged checkpoint removed"),
            }
        }
        for (epoch, end) in files {
            let named = store.kept.iter().any(|taken| taken.epoch == epoch && taken.names(&end));
            if !named && !foreign.contains(&epoch) {
                left.push(path(&store.dir, epoch, &end));
            }
        }
        store.remove(left)?;
        Ok(store)
    }

    /// What is there, oldest first. The files behind it were not looked at.
    pub fn kept(&self) -> &[Taken] {
        &self.kept
    }

    /// A part of a checkpoint, checked against the manifest.
    pub fn read(&self, epoch: Epoch, name: &str) -> Result<Vec<u8>, Error> {
        let missing = |what: &str| Error::Missing { what: what.into(), epoch };
        let taken = self.kept.iter().find(|taken| taken.epoch == epoch);
        let taken = taken.ok_or_else(|| missing("checkpoint"))?;
        let entry = taken.parts.iter().find(|part| part.name == name);
        let entry = entry.ok_or_else(|| missing(name))?;
        part::read(&*self.fs, &path(&self.dir, epoch, name), entry, epoch)
    }

    /// What was discarded since the store was opened.
    pub fn discarded(&self) -> &[Taken] {
        &self.discarded
    }

    /// Removes a checkpoint that cannot be used.
    pub fn discard(&mut self, epoch: Epoch) -> Result<(), Error> {
        let taken = self.kept.iter().find(|taken| taken.epoch == epoch).cloned();
        self.discarded.extend(taken);
        self.forget(epoch)
    }

    fn forget(&mut self, epoch: Epoch) -> Result<(), Error> {
        let Some(at) = self.kept.iter().position(|taken| taken.epoch == epoch) else {
            return Ok(());
        };
        let taken = self.kept.remove(at);
        // Without its manifest it is none any more, whatever else is still there.
        self.remove(vec![path(&self.dir, epoch, MANIFEST)])?;
        self.remove(taken.parts.iter().map(|part| path(&self.dir, epoch, &part.name)).collect())
    }

    /// Begins a checkpoint.
    pub fn begin(&self, epoch: Epoch) -> Draft {
        let (fs, dir) = (Arc::clone(&self.fs), self.dir.clone());
        Draft { fs, dir, epoch, parts: Vec::new(), files: Vec::new() }
    }

    /// Keeps those of these epochs only. What goes is nobody's: others do not have it.
    pub fn retain(&mut self, epochs: &[Epoch]) -> Result<(), Error> {
        let others: Vec<Epoch> = self.kept.iter().map(|taken| taken.epoch).collect();
        others.into_iter().filter(|epoch| !epochs.contains(epoch)).try_for_each(|epoch| {
            info!(%epoch, "checkpoint removed that not all processes have");
            self.forget(epoch)
        })
    }

    /// Takes back a checkpoint that was not written everywhere.
    pub fn withdraw(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.forget(epoch)
    }

    /// Makes a draft whose parts are all finished the newest checkpoint. Those before it stay until
    /// [`Store::prune`].
    pub fn publish(
        &mut self,
        mut draft: Draft,
        taken_at: Timestamp,
        micros: u64,
    ) -> Result<&Taken, Error> {
        let parts = std::mem::take(&mut draft.parts);
        let (format_version, epoch) = (FORMAT_VERSION, draft.epoch);
        let taken = Taken { format_version, epoch, taken_at, micros, parts };
        let (temporary, manifest) =
            (path(&self.dir, epoch, TEMPORARY), path(&self.dir, epoch, MANIFEST));
        let bytes = taken.encode().map_err(std::io::Error::other);
        let bytes = bytes.map_err(Error::io("write", &manifest))?;
        draft.files.push(temporary.clone());
        let create = || -> std::io::Result<()> {
            let mut file = self.fs.create(&temporary)?;
            file.append(&bytes)?;
            file.sync()?;
            // The names of the parts are durable before the manifest's.
            self.fs.sync_dir(&self.dir)?;
            self.fs.rename(&temporary, &manifest)
        };
        create().map_err(Error::io("write", &manifest))?;
        draft.files.push(manifest);
        self.fs.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
        draft.files.clear();
        info!(%epoch, bytes = taken.bytes(), micros, "checkpoint taken");
        self.kept.push(taken);
        Ok(&self.kept[self.kept.len() - 1])
    }

    /// Removes those that are more than [`KEPT`], oldest first. An error is only told in the
    /// program's log.
    pub fn prune(&mut self) {
        while self.kept.len() > KEPT {
            let oldest = self.kept[0].epoch;
            if let Err(error) = self.forget(oldest) {
                warn!(%error, "old checkpoint stays");
            }
        }
    }

    /// The files with names of ours: epoch and what they hold.
    fn files(&self) -> Result<Vec<(Epoch, String)>, Error> {
        let names = self.fs.list(&self.dir).map_err(Error::io("list", &self.dir))?;
        let split = |name: PathBuf| {
            let (digits, end) = name.to_str()?.split_once('.')?;
            let epoch = digits.parse().ok().filter(|_| digits.len() == 20)?;
            Some((Epoch(epoch), end.to_owned()))
        };
        Ok(names.into_iter().filter_map(split).collect())
    }

    fn manifest(&self, epoch: Epoch) -> Result<Read, Error> {
        let path = path(&self.dir, epoch, MANIFEST);
        let file = self.fs.open(&path).map_err(Error::io("open", &path))?;
        let length = file.len().map_err(Error::io("read", &path))?;
        let mut bytes = vec![0; length.min(1 << 20) as usize];
        let mut done = 0;
        while done < bytes.len() {
            match file.read_at(done as u64, &mut bytes[done..]).map_err(Error::io("read", &path))? {
                0 => break,
                count => done += count,
            }
        }
        Ok(Taken::decode(&bytes[..done], epoch))
    }

    fn remove(&self, paths: Vec<PathBuf>) -> Result<(), Error> {
        let any = !paths.is_empty();
        for path in paths.iter().filter(|path| self.fs.exists(path)) {
            self.fs.remove(path).map_err(Error::io("remove", path))?;
        }
        match any {
            true => self.fs.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir)),
            false => Ok(()),
        }
    }
}

impl Taken {
    fn names(&self, end: &str) -> bool {
        end == MANIFEST || self.parts.iter().any(|part| part.name == end)
    }
}

impl Draft {
    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Begins a part; give it back to [`Draft::add`] when all is written.
    pub fn part(&mut self, name: &str) -> Result<Part, Error> {
        let path = path(&self.dir, self.epoch, name);
        // A draft of the same epoch that failed and could not be cleared away.
        if self.fs.exists(&path) {
            self.fs.remove(&path).map_err(Error::io("remove", &path))?;
        }
        self.files.push(path.clone());
        Part::create(&*self.fs, path, name)
    }

    /// Makes a part durable and counts it in.
    pub fn add(&mut self, part: Part) -> Result<(), Error> {
        self.parts.push(part.finish()?);
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for path in &self.files {
            // What stays is removed when the store is opened.
            let _ = self.fs.remove(path);
        }
    }
}

/// Twenty digits hold every epoch, so names sort as epochs do.
fn path(dir: &Path, epoch: Epoch, end: &str) -> PathBuf {
    dir.join(format!("{:020}.{end}", epoch.0))
}
