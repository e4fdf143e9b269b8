//! What the archive's threads share, and the one that writes segments.

use super::aside::Aside;
use super::chronicle::{self, Entry, Line};
use super::chunk::{Chunk, Note, Segment};
use super::durable::Sum;
use super::error::Error;
use super::manifest::{ListFile, Manifest, may_hold};
use super::names::Names;
use super::pins::Pins;
use super::places::Places;
use super::remote::Age;
use super::replaced::{self, Replaced};
use super::store::Options;
use super::telemetry::Telemetry;
use super::writer;
use crate::model::{ArchiveFile, Epoch, Timestamp};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{debug, error, warn};

/// What the archive, its writer and its merger share.
pub(super) struct Shared {
    pub places: Places,
    pub options: Options,
    pub state: Mutex<State>,
    /// Held by whoever changes the manifest, from reading what it is.
    pub commit: Mutex<()>,
    pub changed: Condvar,
    /// The last closed epoch, for those who wait for it.
    pub epochs: watch::Sender<Epoch>,
}

/// What changes.
pub(super) struct State {
    pub names: Arc<Names>,
    pub pending: Vec<Arc<Chunk>>,
    pub pending_notes: Vec<Note>,
    pub pending_deleted: Vec<Note>,
    pub pending_news: Vec<Entry>,
    /// Where the clock was noted last, in files or not.
    pub clock: Option<Line>,
    pub open: Segment,
    pub sealed: VecDeque<Arc<Segment>>,
    pub manifest: Manifest,
    /// Files that no manifest names any more.
    pub pins: Pins,
    /// Files that are not merged for now.
    pub aside: Aside,
    pub files: Arc<Vec<ArchiveFile>>,
    pub older: Arc<Vec<ArchiveFile>>,
    pub replaced: Arc<Vec<Replaced>>,
    pub closed: Epoch,
    pub hot_points: usize,
    pub hot_bytes: usize,
    pub failures: u64,
    pub failure: String,
    /// The newest tick.
    pub tick: Timestamp,
    /// Why files do not move; empty when they do.
    pub store_failure: String,
    pub stopping: bool,
}

/// Closes the archive when the writer's thread ends, for whatever reason.
struct Ends<'a>(&'a Shared);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.lock().stopping = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits at most so long.
    pub fn wait_for<'a>(
        &self,
        state: MutexGuard<'a, State>,
        most: Duration,
    ) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, most);
        waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }

    pub fn telemetry(
        &self,
        state: &State,
        up_to: Epoch,
        wanted: impl Fn(&Chunk) -> bool,
    ) -> Telemetry {
        let segments = state.sealed.iter().map(Arc::as_ref).chain([&state.open]);
        let (mut chunks, mut notes, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for segment in segments {
            let counts = |chunk: &&Arc<Chunk>| chunk.epoch <= up_to && wanted(chunk);
            chunks.extend(segment.chunks.iter().filter(counts).cloned());
            notes.extend(segment.notes.iter().filter(|note| note.epoch <= up_to).copied());
            deleted.extend(segment.deleted.iter().filter(|note| note.epoch <= up_to).copied());
        }
        Telemetry {
            epoch: up_to,
            archived: state.manifest.archived_epoch,
            places: self.places.clone(),
            files: Arc::clone(&state.files),
            older: Arc::clone(&state.older),
            replaced: Arc::clone(&state.replaced),
            chunks,
            notes,
            deleted,
            names: Arc::clone(&state.names),
            expired: state.manifest.expired.clone(),
            announced: state.manifest.announced,
            pin: state.pins.pin(),
        }
    }

    /// Hands the open segment to the writer. False when there is nothing to write.
    pub fn seal(&self, state: &mut State) -> bool {
        if state.open.is_empty() {
            return false;
        }
        let segment = std::mem::take(&mut state.open);
        state.sealed.push_back(Arc::new(segment));
        self.changed.notify_all();
        true
    }

    pub fn write_segments(&self) {
        // Also when the writer panics, nobody must wait for it for ever.
        let _ends = Ends(self);
        let mut state = self.lock();
        while !state.stopping {
            let Some(segment) = state.sealed.front().cloned() else {
                state = self.wait(state);
                continue;
            };
            let names = Arc::clone(&state.names);
            drop(state);
            let written = self.write(&segment, &names);
            state = self.lock();
            match written {
                Ok(()) => {}
                Err(failure) => {
                    error!(%failure, "archive writer failed; trying again");
                    state.failures += 1;
                    state.failure = failure.to_string();
                    self.changed.notify_all();
                    let retry = self.options.retry_after;
                    let waited = self.changed.wait_timeout_while(state, retry, |s| !s.stopping);
                    state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
                }
            }
        }
    }

    /// Writes files, then the list of replaced points, then the manifest that names both; with it
    /// the segment leaves memory.
    fn write(&self, segment: &Segment, names: &Names) -> Result<(), Error> {
        let mut written = writer::write(&self.places.fs, &self.places.directory, segment, names)?;
        debug!(files = written.files.len(), points = segment.points, "points archived");
        let _commit = self.commit();
        let (mut manifest, mut replaced) = self.named();
        // Whoever replaced a point need not know whether there was one.
        written.replaced.retain(|point| may_hold(&manifest.files, point.event_time));
        // Of deleted ones a database has to hear, whether a file may hold them or not.
        written.replaced.extend(segment.deleted.iter().filter_map(|note| note.deleted(names)));
        if !written.replaced.is_empty() {
            replaced = Arc::new(merge(&replaced, written.replaced));
            let path = format!("replaced-{}.arrow", segment.last_epoch);
            manifest.replaced = Some(self.write_replaced(path, &replaced)?);
        }
        manifest.archived_epoch = segment.last_epoch;
        let (chronicle, joined) = {
            let Places { fs, directory, .. } = &self.places;
            chronicle::extended(fs, directory, manifest.chronicle, &segment.news)?
        };
        manifest.chronicle = chronicle;
        manifest.clock = segment.clock.or(manifest.clock);
        manifest.files.extend(written.files);
        manifest.older.extend(written.older);
        self.write_manifest(&manifest)?;
        let mut state = self.lock();
        let before = state.name(manifest, replaced);
        state.sealed.pop_front();
        state.hot_points -= segment.points;
        state.hot_bytes -= segment.bytes;
        drop(state);
        self.changed.notify_all();
        // The list of replaced points is read by nobody once it is in memory, the chronicle by nobody
        // who does not hold the lock.
        for old in before.into_iter().chain(joined.into_iter().map(|file| file.path)) {
            self.remove(&old).unwrap_or_else(
                |failure| warn!(%failure, old, "a list that was replaced stays until a restart"),
            );
        }
        Ok(())
    }

    /// Lets nobody else change the manifest while it is held.
    pub fn commit(&self) -> MutexGuard<'_, ()> {
        self.commit.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The manifest as it is, and the list of replaced points.
    pub fn named(&self) -> (Manifest, Arc<Vec<Replaced>>) {
        let state = self.lock();
        (state.manifest.clone(), Arc::clone(&state.replaced))
    }

    /// Makes this the manifest. Whoever does holds the right to.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        manifest.write(&self.places.fs, &self.places.directory)
    }

    /// Removes a file of the archive's directory.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        self.places.fs.remove(&self.places.directory.join(path))
    }

    /// Writes a list of replaced points.
    pub fn write_replaced(&self, path: String, list: &[Replaced]) -> Result<ListFile, Error> {
        let Places { fs, directory, .. } = &self.places;
        let Sum { bytes, crc32c } = replaced::write(fs, &directory.join(&path), list)?;
        Ok(ListFile { path, bytes, crc32c })
    }
}

impl State {
    /// What is old now, when files move at all.
    pub fn age(&self, options: &Options) -> Option<Age> {
        let after = options.store.as_ref()?.after?;
        Some(Age { after, tick: self.tick, epoch: self.closed })
    }

    /// Takes over a manifest that is durable. Gives the list of replaced points that it names no
    /// more.
    pub fn name(&mut self, manifest: Manifest, replaced: Arc<Vec<Replaced>>) -> Option<String> {
        self.files = Arc::new(manifest.files.clone());
        self.older = Arc::new(manifest.older.clone());
        self.replaced = replaced;
        manifest.measure();
        let old = std::mem::replace(&mut self.manifest, manifest).replaced;
        old.filter(|old| self.manifest.replaced.as_ref() != Some(old)).map(|old| old.path)
    }
}

/// Both lists as one, sorted. What replaced values says so itself, by its epoch: there the latest
/// entry of a key is enough. Deletions all stay, because nothing else tells of them.
fn merge(old: &[Replaced], new: Vec<Replaced>) -> Vec<Replaced> {
    let mut all: Vec<Replaced> = old.iter().cloned().chain(new).collect();
    // Merges the run that is sorted already.
    all.sort();
    all.dedup_by(|later, kept| {
        let same = (&later.asset, &later.metric, later.event_time)
            == (&kept.asset, &kept.metric, kept.event_time);
        let one = same && (later == kept || !(later.deleted || kept.deleted));
        if one {
            std::mem::swap(later, kept);
        }
        one
    });
    all
}
