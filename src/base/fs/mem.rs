//! A file system in memory that crashes and fails when it is told to.
//!
//! It models what a disk promises and no more: bytes are durable after [`File::sync`], names after
//! [`Fs::sync_dir`], directories at once. After a failed sync the bytes it should have kept are
//! lost although later syncs succeed, as with a page cache that marks failed pages clean.

use super::{File, Fs};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk in memory. Clones share the disk.
#[derive(Clone, Default)]
pub struct MemFs(Arc<Mutex<Disk>>);

/// The operations that can be counted and made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// [`Fs::create`].
    Create,
    /// [`Fs::open`].
    Open,
    /// [`Fs::rename`].
    Rename,
    /// [`Fs::remove`].
    Remove,
    /// [`Fs::sync_dir`].
    SyncDir,
    /// [`File::append`].
    Append,
    /// [`File::read_at`].
    Read,
    /// [`File::truncate`].
    Truncate,
    /// [`File::sync`].
    Sync,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An input/output error; nothing was done.
    Io,
    /// No space left; nothing was done.
    NoSpace,
    /// An append writes this many bytes, then there is no space left. As [`Fault::NoSpace`] for
    /// other operations.
    Short(usize),
    /// An append writes this many bytes, then an input/output error comes. As [`Fault::Io`] for
    /// other operations.
    ShortIo(usize),
}

/// What a crash leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process died: everything written is there.
    Process,
    /// The power went: everything that was not synced is gone.
    Power,
    /// The power went in the middle of writing: of what was not synced, any 512-byte blocks are
    /// there and others are zero or missing. The seed picks which.
    Torn(u64),
    /// The power went while the disk was writing in order: of what was not synced, only the first
    /// so many operations are there. [`MemFs::unsynced`] says how many there are.
    Prefix(usize),
}

#[derive(Default)]
struct Disk {
    /// Handles of an older generation are stale: they were open at a crash.
    generation: u64,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// What was done since, and is not durable.
    unsynced: Vec<Unsynced>,
    dirs: BTreeSet<PathBuf>,
    capacity: Option<u64>,
    counts: BTreeMap<Op, u64>,
    /// How many operations there is power for; `None` when it does not go.
    power: Option<u64>,
    faults: Vec<(Op, u64, Fault)>,
}

#[derive(Clone, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes of `data` before this place need no writing at the next sync.
    clean: usize,
}

/// An operation that is not durable yet.
enum Unsynced {
    /// Bytes were written at a place of a file.
    Bytes(usize, usize, Vec<u8>),
    /// A file was cut.
    Length(usize, usize),
    /// Names came, went (`None`) or changed hands, all at once.
    Names(Vec<(PathBuf, Option<usize>)>),
}

struct MemFile {
    disk: Arc<Mutex<Disk>>,
    generation: u64,
    inode: usize,
}

impl MemFs {
    /// An empty disk without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the `nth` operation of this kind from now on fail; 1 is the next one.
    pub fn inject(&self, op: Op, nth: u64, fault: Fault) {
        let mut disk = lock(&self.0);
        let at = disk.count(op) + nth;
        disk.faults.push((op, at, fault));
    }

    /// Lets the power go after so many more operations: all later ones fail and do nothing, until
    /// [`MemFs::crash`] brings it back.
    pub fn cut_power_after(&self, operations: u64) {
        lock(&self.0).power = Some(operations);
    }

    /// Forgets all faults that have not come yet.
    pub fn heal(&self) {
        let mut disk = lock(&self.0);
        disk.faults.clear();
        disk.power = None;
    }

    /// Limits the bytes of all files together; an append past the limit writes what fits and
    /// fails with "no space". `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.0).capacity = bytes;
    }

    /// How often an operation was tried since the disk was made.
    pub fn count(&self, op: Op) -> u64 {
        lock(&self.0).count(op)
    }

    /// How many operations were tried since the disk was made.
    pub fn operations(&self) -> u64 {
        lock(&self.0).counts.values().sum()
    }

    /// Crashes: what is lost is lost, and every open handle fails from now on.
    pub fn crash(&self, crash: Crash) {
        let mut disk = lock(&self.0);
        disk.generation += 1;
        disk.faults.clear();
        disk.power = None;
        let mut random = match crash {
            Crash::Torn(seed) => seed,
            _ => 0,
        };
        let keep_names = match crash {
            Crash::Process => true,
            Crash::Power => false,
            Crash::Torn(_) => draw(&mut random).is_multiple_of(2),
            Crash::Prefix(operations) => {
                disk.apply(operations);
                true
            }
        };
        disk.unsynced.clear();
        for inode in &mut disk.inodes {
            match crash {
                Crash::Process => continue,
                Crash::Power => inode.data = inode.durable.clone(),
                Crash::Prefix(_) => {}
                Crash::Torn(_) => inode.data = inode.torn(&mut random),
            }
            inode.durable = inode.data.clone();
            inode.clean = inode.data.len();
        }
        if keep_names {
            disk.durable_names = disk.names.clone();
        } else {
            disk.names = disk.durable_names.clone();
        }
    }

    /// The number of operations that a power cut now would lose.
    pub fn unsynced(&self) -> usize {
        lock(&self.0).unsynced.len()
    }

    /// The contents of a file, synced or not; `None` when there is no such file.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = lock(&self.0);
        disk.names.get(path).map(|inode| disk.inodes[*inode].data.clone())
    }

    /// Puts a file there as if it had always been there: name and bytes are durable.
    pub fn set_contents(&self, path: &Path, bytes: &[u8]) {
        let mut disk = lock(&self.0);
        let inode = disk.inodes.len();
        disk.inodes.push(Inode { data: bytes.into(), durable: bytes.into(), clean: bytes.len() });
        disk.names.insert(path.into(), inode);
        disk.durable_names.insert(path.into(), inode);
        let dirs = path.ancestors().skip(1).map(PathBuf::from).collect::<Vec<_>>();
        disk.dirs.extend(dirs);
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        lock(&self.0).names.keys().cloned().collect()
    }

    fn file(&self, disk: &Disk, inode: usize) -> Box<dyn File> {
        let generation = disk.generation;
        Box::new(MemFile { disk: Arc::clone(&self.0), generation, inode })
    }
}

impl Disk {
    fn count(&self, op: Op) -> u64 {
        self.counts.get(&op).copied().unwrap_or(0)
    }

    /// Counts an operation and tells how it fails, if it does.
    fn begin(&mut self, op: Op) -> Option<Fault> {
        let count = self.counts.entry(op).or_default();
        *count += 1;
        let now = *count;
        match &mut self.power {
            Some(0) => return Some(Fault::Io),
            Some(left) => *left -= 1,
            None => {}
        }
        let hit = self.faults.iter().position(|(of, at, _)| *of == op && *at == now)?;
        Some(self.faults.swap_remove(hit).2)
    }

    fn check(&mut self, op: Op) -> io::Result<()> {
        self.begin(op).map_or(Ok(()), |fault| Err(fault.error()))
    }

    /// Goes back to what is durable and repeats the first so many operations that are not.
    fn apply(&mut self, operations: usize) {
        self.inodes.iter_mut().for_each(|inode| inode.data.clone_from(&inode.durable));
        self.names.clone_from(&self.durable_names);
        for operation in self.unsynced.drain(..).take(operations) {
            match operation {
                Unsynced::Bytes(inode, at, bytes) => {
                    let data = &mut self.inodes[inode].data;
                    data.resize(data.len().max(at + bytes.len()), 0);
                    data[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                Unsynced::Length(inode, length) => self.inodes[inode].data.resize(length, 0),
                Unsynced::Names(names) => {
                    for (name, inode) in names {
                        match inode {
                            Some(inode) => self.names.insert(name, inode),
                            None => self.names.remove(&name),
                        };
                    }
                }
            }
        }
    }

    fn used(&self) -> u64 {
        let inodes = self.names.values().map(|inode| self.inodes[*inode].data.len() as u64);
        inodes.sum()
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Inode {
    /// Brings the durable bytes up to `data`, believing that those before `clean` are there.
    fn sync(&mut self) {
        self.durable.resize(self.clean, 0);
        self.durable.extend_from_slice(&self.data[self.clean..]);
        self.clean = self.data.len();
    }

    fn torn(&self, random: &mut u64) -> Vec<u8> {
        const BLOCK: usize = 512;
        let (shorter, longer) =
            (self.data.len().min(self.durable.len()), self.data.len().max(self.durable.len()));
        // Half of the time all of the length is there, and half of the time every block.
        let length = match draw(random) % 2 {
            0 => longer,
            _ => shorter + (draw(random) as usize) % (longer - shorter + 1),
        };
        let every_block = draw(random).is_multiple_of(2);
        let mut bytes = vec![0; length];
        for start in (0..length).step_by(BLOCK) {
            let source = match draw(random) % 3 {
                0 if !every_block => &self.durable,
                _ => &self.data,
            };
            let end = (start + BLOCK).min(length).min(source.len()).max(start.min(source.len()));
            let piece = &source[start.min(source.len())..end];
            bytes[start..start + piece.len()].copy_from_slice(piece);
        }
        bytes
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Io | Self::ShortIo(_) => io::Error::other("injected input/output error"),
            Self::NoSpace | Self::Short(_) => io::ErrorKind::StorageFull.into(),
        }
    }
}

impl MemFile {
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = lock(&self.disk);
        if disk.generation != self.generation {
            return Err(io::Error::other("the file was open when the disk crashed"));
        }
        Ok(disk)
    }
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Create,
        Self::Open,
        Self::Rename,
        Self::Remove,
        Self::SyncDir,
        Self::Append,
        Self::Read,
        Self::Truncate,
        Self::Sync,
    ];
}

impl Fs for MemFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        lock(&self.0).dirs.extend(path.ancestors().map(PathBuf::from));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = lock(&self.0);
        if !disk.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entries = disk.names.keys().chain(&disk.dirs);
        let inside = entries.filter(|entry| entry.parent() == Some(path));
        let mut names = Vec::new();
        for name in inside.filter_map(|entry| entry.file_name()) {
            names.push(PathBuf::from(name));
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut disk = lock(&self.0);
        disk.check(Op::Create)?;
        if disk.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if path.parent().is_some_and(|parent| !disk.dirs.contains(parent)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = disk.inodes.len();
        disk.inodes.push(Inode::default());
        disk.names.insert(path.into(), inode);
        disk.unsynced.push(Unsynced::Names(vec![(path.into(), Some(inode))]));
        Ok(self.file(&disk, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut disk = lock(&self.0);
        disk.check(Op::Open)?;
        let inode = disk.find(path)?;
        Ok(self.file(&disk, inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = lock(&self.0);
        disk.check(Op::Rename)?;
        let inode = disk.find(from)?;
        disk.names.remove(from);
        disk.names.insert(to.into(), inode);
        let names = vec![(from.into(), None), (to.into(), Some(inode))];
        disk.unsynced.push(Unsynced::Names(names));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = lock(&self.0);
        disk.check(Op::Remove)?;
        disk.find(path)?;
        disk.names.remove(path);
        disk.unsynced.push(Unsynced::Names(vec![(path.into(), None)]));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = lock(&self.0);
        disk.check(Op::SyncDir)?;
        let Disk { names, durable_names, unsynced, .. } = &mut *disk;
        durable_names.retain(|name, _| name.parent() != Some(path));
        for (name, inode) in names.iter().filter(|(name, _)| name.parent() == Some(path)) {
            durable_names.insert(name.clone(), *inode);
        }
        unsynced.retain_mut(|operation| {
            let Unsynced::Names(names) = operation else { return true };
            names.retain(|(name, _)| name.parent() != Some(path));
            !names.is_empty()
        });
        Ok(())
    }

    fn is_dir(&self, path: &Path) -> bool {
        lock(&self.0).dirs.contains(path)
    }

    fn exists(&self, path: &Path) -> bool {
        let disk = lock(&self.0);
        disk.names.contains_key(path) || disk.dirs.contains(path)
    }
}

impl File for MemFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk()?;
        let fault = disk.begin(Op::Append);
        let free = disk.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used()));
        let mut fits = bytes.len().min(usize::try_from(free).unwrap_or(usize::MAX));
        match fault {
            Some(Fault::Io | Fault::NoSpace) => fits = 0,
            Some(Fault::Short(some) | Fault::ShortIo(some)) => fits = fits.min(some),
            None => {}
        }
        let data = &mut disk.inodes[self.inode].data;
        let at = data.len();
        data.extend_from_slice(&bytes[..fits]);
        if fits > 0 {
            disk.unsynced.push(Unsynced::Bytes(self.inode, at, bytes[..fits].into()));
        }
        match fault {
            Some(fault) => Err(fault.error()),
            None if fits < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk()?;
        disk.check(Op::Read)?;
        let data = &disk.inodes[self.inode].data;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        let count = buffer.len().min(data.len() - start);
        buffer[..count].copy_from_slice(&data[start..start + count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk()?.inodes[self.inode].data.len() as u64)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut disk = self.disk()?;
        disk.check(Op::Truncate)?;
        let inode = &mut disk.inodes[self.inode];
        let length = usize::try_from(length).map_err(io::Error::other)?;
        inode.data.resize(length, 0);
        inode.clean = inode.clean.min(length);
        disk.unsynced.push(Unsynced::Length(self.inode, length));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk()?;
        if disk.power == Some(0) {
            return disk.check(Op::Sync);
        }
        let fault = disk.begin(Op::Sync);
        // Also after a failure: nothing of it comes later.
        disk.unsynced.retain(|operation| match operation {
            Unsynced::Bytes(inode, ..) | Unsynced::Length(inode, _) => *inode != self.inode,
            Unsynced::Names(_) => true,
        });
        let inode = &mut disk.inodes[self.inode];
        if let Some(fault) = fault {
            inode.clean = inode.data.len();
            return Err(fault.error());
        }
        inode.sync();
        Ok(())
    }
}

/// A test that panicked while it held the disk does not make the disk unusable.
fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next number of the splitmix64 sequence.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
