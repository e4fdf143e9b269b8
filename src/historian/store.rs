//! The archive itself: takes points, cuts them into segments, writes segments in the background.
//!
//! A point's way: *pending* until its epoch is closed, then in the *open* segment, then in a
//! *sealed* one, then in files. It is readable from the second station on, and changes from
//! memory to file in the one moment in which the manifest is swapped.

use super::aside::Aside;
use super::chronicle::{self, Chronicle, Entry, Line, News};
use super::chunk::{Chunk, Note, Segment};
use super::error::Error;
use super::manifest::Manifest;
use super::names::Names;
use super::pins::Pins;
use super::places::Places;
use super::remote::{self, StoreSettings};
use super::replaced;
use super::shared::{Shared, State};
use super::telemetry::Telemetry;
use crate::base::fs::{Fs, RealFs};
use crate::model::{Document, Duration, Epoch, Rows, Timestamp, TypeId};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use tokio::sync::watch;
use tracing::error;

/// When points are cut into files, and how many may wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment with this many points is written.
    pub cut_points: usize,
    /// A segment that takes this much memory is written.
    pub cut_bytes: usize,
    /// A segment whose first points are this old by the ticks is written, unless one is being
    /// written already.
    pub cut_after: Duration,
    /// Beyond this many hot points `accept` waits for the writer.
    pub hot_points_max: usize,
    /// Beyond this much memory of hot points `accept` waits for the writer.
    pub hot_bytes_max: usize,
    /// So many files of one day and of about the same size become one, in the background; 0 merges
    /// nothing.
    pub merge_files: usize,
    /// The chronicle tells where the source's clock was to within this.
    pub clock_error: Duration,
    /// The store behind the archive. Without one that is told, that which the manifest names is
    /// read, and no file moves.
    pub store: Option<StoreSettings>,
    /// How long the writer pauses after it failed.
    pub retry_after: std::time::Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cut_points: 2_000_000,
            cut_bytes: 256 << 20,
            cut_after: Duration(60_000_000),
            hot_points_max: 16_000_000,
            hot_bytes_max: 1 << 30,
            merge_files: 8,
            clock_error: Duration(1_000_000),
            store: None,
            retry_after: std::time::Duration::from_secs(1),
        }
    }
}

/// The telemetry archive in one directory. One at a time may be open on it.
///
/// `apply_document`, `accept`, `superseded` and `close_epoch` are called by one thread in the
/// order of epochs, documents of an epoch before its points; everything else by anybody.
pub struct Historian {
    pub(super) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Historian {
    /// Opens the archive, makes an empty one where there is none, and starts the writer. Files
    /// that no manifest names are removed: their points are still in the log.
    pub fn open(directory: &Path, options: Options) -> Result<Self, Error> {
        Self::open_on(Arc::new(RealFs), directory, options)
    }

    /// [`Historian::open`] on another file system than the machine's.
    pub fn open_on(fs: Arc<dyn Fs>, directory: &Path, options: Options) -> Result<Self, Error> {
        let mut manifest = Manifest::open(&fs, directory)?;
        let store = remote::open(&fs, directory, &mut manifest, options.store.as_ref())?;
        let replaced = match &manifest.replaced {
            Some(file) => replaced::read(&*fs, &directory.join(&file.path), file.sum())?,
            None => Vec::new(),
        };
        // Until it is heard of again.
        let tick = manifest.clock.map(|line| Timestamp(line.at(manifest.archived_epoch)));
        let tick = tick.unwrap_or(Timestamp::MIN);
        let state = State {
            names: Arc::default(),
            pending: Vec::new(),
            pending_notes: Vec::new(),
            pending_deleted: Vec::new(),
            pending_news: Vec::new(),
            clock: manifest.clock,
            open: Segment::default(),
            sealed: VecDeque::new(),
            files: Arc::new(manifest.files.clone()),
            older: Arc::new(manifest.older.clone()),
            replaced: Arc::new(replaced),
            closed: manifest.archived_epoch,
            manifest,
            pins: Pins::default(),
            aside: Aside::default(),
            hot_points: 0,
            hot_bytes: 0,
            failures: 0,
            failure: String::new(),
            tick,
            store_failure: String::new(),
            stopping: false,
        };
        let epochs = watch::Sender::new(state.closed);
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let directory = directory.to_owned();
        let commit = Mutex::default();
        let places = Places { fs, directory, store };
        let shared = Arc::new(Shared { places, options, state, commit, changed, epochs });
        let mut historian = Self { shared, threads: Vec::new() };
        historian.start("historian-writer", Shared::write_segments)?;
        if historian.shared.options.merge_files > 0 {
            historian.start("historian-merger", Shared::merge_files)?;
        }
        let settings = historian.shared.options.store.as_ref();
        if settings.is_some_and(|settings| settings.after.is_some()) {
            historian.start("historian-mover", Shared::move_files)?;
        }
        Ok(historian)
    }

    fn start(&mut self, name: &str, run: fn(&Shared)) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || run(&shared));
        let failed = Error::io("start the threads of", self.directory());
        self.threads.push(thread.map_err(failed)?);
        Ok(())
    }

    /// Takes over names from a catalog document. Before the points that need them.
    pub fn apply_document(&self, document: &Document) -> Result<(), Error> {
        Arc::make_mut(&mut self.shared.lock().names).apply_document(document)
    }

    /// Takes accepted points of an epoch: new keys and corrections, each key at most once.
    ///
    /// Points of archived epochs are dropped: a replay of the log brings them again. Blocks while
    /// more points are hot than the limits allow and the writer is at work on some.
    pub fn accept(&self, epoch: Epoch, rows: Rows) -> Result<(), Error> {
        let mut state = self.shared.lock();
        if epoch <= state.manifest.archived_epoch || rows.is_empty() {
            return Ok(());
        }
        let Some(asset_type) = rows.asset_type else { return Ok(()) };
        let slots = state.names.slots(asset_type).ok_or(Error::UnknownType(asset_type))?;
        let slots = Arc::clone(slots);
        check_names("asset", &rows.assets, |id| state.names.asset(id).is_some())?;
        check_names("device", &rows.devices, |id| state.names.device(id).is_some())?;
        let chunk = Chunk::new(epoch, rows, slots);
        let options = &self.shared.options;
        while state.hot_points + chunk.points > options.hot_points_max
            || state.hot_bytes + chunk.bytes > options.hot_bytes_max
        {
            if state.stopping {
                return Err(Error::Closed);
            }
            if state.sealed.is_empty() && !self.shared.seal(&mut state) {
                break;
            }
            state = self.shared.wait(state);
        }
        state.hot_points += chunk.points;
        state.hot_bytes += chunk.bytes;
        state.pending.push(Arc::new(chunk));
        Ok(())
    }

    /// Takes keys among the accepted points of the epoch whose value of an earlier epoch was
    /// replaced: `(type, asset, slot, event time)`.
    pub fn superseded(&self, epoch: Epoch, keys: &[(TypeId, u32, u32, i64)]) -> Result<(), Error> {
        let mut state = self.shared.lock();
        if epoch <= state.manifest.archived_epoch {
            return Ok(());
        }
        let notes = notes(epoch, keys, &state.names)?;
        state.pending_notes.extend(notes);
        Ok(())
    }

    /// Takes keys whose values up to and with the epoch were deleted. Files keep the points; the
    /// list of replaced points says that they do not count.
    pub fn deleted(&self, epoch: Epoch, keys: &[(TypeId, u32, u32, i64)]) -> Result<(), Error> {
        let mut state = self.shared.lock();
        if epoch <= state.manifest.archived_epoch {
            return Ok(());
        }
        let notes = notes(epoch, keys, &state.names)?;
        state.hot_bytes += size_of_val(&notes[..]);
        state.pending_deleted.extend(notes);
        Ok(())
    }

    /// Takes what is new of the plant at an epoch, in the order in which it took effect.
    ///
    /// News of archived epochs are dropped: a replay of the log brings them again.
    pub fn chronicle(&self, epoch: Epoch, news: impl IntoIterator<Item = News>) {
        let mut state = self.shared.lock();
        if epoch > state.manifest.archived_epoch {
            state.pending_news.extend(news.into_iter().map(|news| Entry { epoch, news }));
        }
    }

    /// Notes where the source's clock is at an epoch, unless that is known. Before the epoch is closed.
    pub fn clock(&self, epoch: Epoch, clock: Timestamp) {
        let mut state = self.shared.lock();
        let error = self.shared.options.clock_error.0;
        let is_known = state.clock.is_some_and(|line| line.tells(epoch, clock, error));
        if clock == Timestamp::MIN || epoch <= state.manifest.archived_epoch || is_known {
            return;
        }
        state.clock = Some(Line::new(epoch, clock));
        state.pending_news.push(Entry { epoch, news: News::Clock(clock) });
    }

    /// Whether nothing is known of the plant: nothing was, or there was no chronicle then.
    pub fn knows_nothing(&self) -> bool {
        let state = self.shared.lock();
        let mut segments = state.sealed.iter().map(Arc::as_ref).chain([&state.open]);
        state.manifest.chronicle.is_empty() && segments.all(|segment| segment.news.is_empty())
    }

    /// What the plant was at an epoch. Fails when that is not known any more, or not yet
    /// ([`Error::NotClosed`]). Blocks: it reads files.
    pub fn plant(&self, as_of: Epoch) -> Result<Chronicle, Error> {
        // While it is held, files that are named stay.
        let _commit = self.shared.commit();
        let state = self.shared.lock();
        if as_of > state.closed {
            return Err(Error::NotClosed { asked: as_of, closed: state.closed });
        }
        let segments = || state.sealed.iter().map(Arc::as_ref).chain([&state.open]);
        let hot: Vec<Entry> = segments().flat_map(|segment| &segment.news).cloned().collect();
        let files = state.manifest.chronicle.clone();
        drop(state);
        let mut entries = chronicle::read(&*self.places().fs, self.directory(), &files)?;
        entries.extend(hot);
        let begins = entries.iter().find(|entry| entry.news == News::Begins);
        if let Some(known_from) = begins.map(|entry| entry.epoch).filter(|from| as_of < *from) {
            return Err(Error::NotKnown { asked: as_of, known_from });
        }
        entries.retain(|entry| entry.epoch <= as_of);
        Ok(Chronicle { entries })
    }

    /// Says that the epoch is complete: its points become readable. Also for epochs without
    /// points.
    pub fn close_epoch(&self, epoch: Epoch, tick: Timestamp) {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        if epoch <= state.closed {
            return;
        }
        state.closed = epoch;
        state.open.clock = last_clock(&state.pending_news).or(state.open.clock);
        state.open.news.append(&mut state.pending_news);
        state.tick = state.tick.max(tick);
        let notes = (&mut state.pending_notes, &mut state.pending_deleted);
        state.open.close_epoch(epoch, tick, &mut state.pending, notes);
        let options = &self.shared.options;
        let waited =
            state.open.first_tick.is_some_and(|first| tick.0 - first.0 >= options.cut_after.0);
        let full = state.open.points >= options.cut_points || state.open.bytes >= options.cut_bytes;
        if full || (waited && state.sealed.is_empty()) {
            self.shared.seal(state);
        }
        drop(guard);
        self.shared.epochs.send_replace(epoch);
    }

    /// Tells of every closed epoch; whoever is slow hears of the last one only.
    pub fn epochs(&self) -> watch::Receiver<Epoch> {
        self.shared.epochs.subscribe()
    }

    /// The last closed epoch: what [`Historian::snapshot`] can tell about.
    pub fn epoch(&self) -> Epoch {
        self.shared.lock().closed
    }

    /// All points of epochs up to this one are in files.
    pub fn archived_epoch(&self) -> Epoch {
        self.shared.lock().manifest.archived_epoch
    }

    /// The number of points in memory.
    pub fn hot_points(&self) -> usize {
        self.shared.lock().hot_points
    }

    /// The memory that they take, and the most that they may, in bytes.
    pub fn hot_bytes(&self) -> (usize, usize) {
        (self.shared.lock().hot_bytes, self.shared.options.hot_bytes_max)
    }

    /// The directory of the archive.
    pub fn directory(&self) -> &Path {
        &self.shared.places.directory
    }

    /// Writes all points of closed epochs and waits until they are in files. Fails when the
    /// writer fails meanwhile; it will try again by itself.
    pub fn flush(&self) -> Result<(), Error> {
        let mut state = self.shared.lock();
        self.shared.seal(&mut state);
        let Some(target) = state.sealed.back().map(|segment| segment.last_epoch) else {
            return Ok(());
        };
        let failures = state.failures;
        while state.manifest.archived_epoch < target {
            if state.stopping {
                return Err(Error::Closed);
            }
            if state.failures > failures {
                return Err(Error::Writer(state.failure.clone()));
            }
            state = self.shared.wait(state);
        }
        Ok(())
    }

    /// All points of closed epochs up to this one. [`Error::Passed`] when the archive has moved
    /// beyond it, so that older values are gone: ask again for a newer epoch.
    pub fn snapshot(&self, up_to: Epoch) -> Result<Telemetry, Error> {
        let state = self.shared.lock();
        if state.manifest.archived_epoch > up_to {
            let archived = state.manifest.archived_epoch;
            return Err(Error::Passed { asked: up_to, archived });
        }
        Ok(self.shared.telemetry(&state, up_to, |_| true))
    }

    /// Opens the files of snapshots.
    pub(super) fn places(&self) -> &Places {
        &self.shared.places
    }

    /// All files, also of later epochs, and the hot points of epochs up to this one that are in
    /// chunks which are wanted.
    pub(super) fn at(
        &self,
        as_of: Epoch,
        wanted: impl Fn(&Chunk) -> bool,
    ) -> Result<Telemetry, Error> {
        let state = self.shared.lock();
        if as_of > state.closed {
            return Err(Error::NotClosed { asked: as_of, closed: state.closed });
        }
        Ok(self.shared.telemetry(&state, as_of, wanted))
    }
}

impl Drop for Historian {
    /// Stops the writer after the segment it is at, and merging. Hot points are not written: the log
    /// has them.
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        if let Some(store) = &self.shared.places.store {
            store.close();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a thread of the archive panicked");
            }
        }
    }
}

/// Where the clock was noted last among these.
fn last_clock(news: &[Entry]) -> Option<Line> {
    news.iter().rev().find_map(|entry| match entry.news {
        News::Clock(clock) => Some(Line::new(entry.epoch, clock)),
        _ => None,
    })
}

/// Keys as notes of an epoch.
fn notes(
    epoch: Epoch,
    keys: &[(TypeId, u32, u32, i64)],
    names: &Names,
) -> Result<Vec<Note>, Error> {
    let note = |(asset_type, asset, slot, event_time): &(TypeId, u32, u32, i64)| {
        let slots = names.slots(*asset_type).ok_or(Error::UnknownType(*asset_type))?;
        let metric = slots.metrics.get(*slot as usize).copied();
        let metric = metric.ok_or(Error::UnknownType(*asset_type))?;
        Ok(Note { epoch, asset: *asset, metric, event_time: *event_time })
    };
    keys.iter().map(note).collect()
}

fn check_names(kind: &'static str, ids: &[u32], known: impl Fn(u32) -> bool) -> Result<(), Error> {
    let mut last = None;
    for id in ids.iter().copied() {
        if last != Some(id) && !known(id) {
            return Err(Error::UnknownName { kind, id });
        }
        last = Some(id);
    }
    Ok(())
}
