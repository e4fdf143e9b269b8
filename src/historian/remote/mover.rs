//! Files that are old move to the store, one after the other, in the background.

use super::super::aside::Aside;
use super::super::error::Error;
use super::super::manifest::Manifest;
use super::super::merge::to_merge;
use super::super::pins::Gone;
use super::super::shared::{Shared, State};
use super::Remote;
use crate::base::backoff::Backoff;
use crate::model::{ArchiveFile, Duration, Epoch, Place, Timestamp};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Counter: files that moved to the store.
pub const MOVED: &str = "millstream_archive_moved_total";
/// Counter: their bytes.
pub const MOVED_BYTES: &str = "millstream_archive_moved_bytes_total";
/// Counter: files that could not be moved, or removed there.
pub const FAILURES: &str = "millstream_archive_move_failures_total";

/// Time passes without anybody saying so.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
const DAY: i64 = 86_400_000_000;

/// Says which files are old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Age {
    /// How old they have to be.
    pub after: Duration,
    /// The source's clock.
    pub tick: Timestamp,
    /// The newest epoch.
    pub epoch: Epoch,
}

impl Age {
    /// Whether the day of a file has been over for so long, and its last point has been here for so
    /// long.
    pub fn is_due(&self, file: &ArchiveFile) -> bool {
        let day_end = file.max_event_time.div_euclid(DAY).saturating_add(1).saturating_mul(DAY);
        let here = self.epoch.0.saturating_sub(file.max_epoch).saturating_mul(1_000);
        day_end.saturating_add(self.after.0) <= self.tick.0
            && i64::try_from(here).unwrap_or(i64::MAX) >= self.after.0
    }
}

impl Shared {
    /// Moves files as long as the archive is open.
    pub fn move_files(&self) {
        let Some(remote) = &self.places.store else { return };
        let mut backoff = Backoff::new("archive store");
        let mut is_away = false;
        loop {
            self.remove_retired();
            let state = self.lock();
            if state.stopping {
                return;
            }
            let age = state.age(&self.options);
            state.manifest.measure();
            drop(state);
            let moved = self.clear(remote).and_then(|()| match age {
                Some(age) => self.move_once(age),
                None => Ok(false),
            });
            match moved {
                Ok(more) => {
                    if std::mem::take(&mut is_away) {
                        tracing::info!(store = remote.url(), "archive files move again");
                    }
                    backoff.reset();
                    let mut state = self.lock();
                    state.store_failure.clear();
                    if !more && !state.stopping {
                        drop(self.wait_for(state, LOOK_EVERY));
                    }
                }
                Err(Error::Closed) => return,
                Err(failure) if self.leave(&failure) => {
                    metrics::counter!(FAILURES).increment(1);
                    tracing::error!(%failure, "file of the archive not moved; others are");
                }
                Err(failure) => {
                    metrics::counter!(FAILURES).increment(1);
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!(%failure, "archive files not moved; trying again");
                    }
                    let mut state = self.lock();
                    state.store_failure = failure.to_string();
                    let pause = backoff.wait();
                    let waited = self.changed.wait_timeout_while(state, pause, |s| !s.stopping);
                    drop(waited.unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }

    /// Moves one file. False when there is none.
    pub fn move_once(&self, age: Age) -> Result<bool, Error> {
        let Some(remote) = &self.places.store else { return Ok(false) };
        let mut state = self.lock();
        state.aside.try_again(Instant::now());
        let Some(file) = pick(&state.manifest, self.options.merge_files, &state.aside, age) else {
            return Ok(false);
        };
        state.aside.take([file.path.as_str()]);
        drop(state);
        let begun = Instant::now();
        let moved = self.move_file(remote, &file);
        self.lock().aside.give_back([file.path.as_str()]);
        moved?;
        metrics::counter!(MOVED).increment(1);
        metrics::counter!(MOVED_BYTES).increment(file.bytes);
        let (bytes, milliseconds) = (file.bytes, begun.elapsed().as_millis() as u64);
        tracing::debug!(path = file.path, bytes, milliseconds, "archive file moved");
        Ok(true)
    }

    fn move_file(&self, remote: &Arc<Remote>, file: &ArchiveFile) -> Result<(), Error> {
        let there = ArchiveFile { path: path(file), place: Place::Store, ..file.clone() };
        self.name_as_it_may_be(&there.path)?;
        let local = self.places.name(file);
        remote.write(&*self.places.fs, (&local, file.sum()), &there.path)?;
        remote.check(&there)?;
        let _commit = self.commit();
        let (mut manifest, replaced) = self.named();
        let mut all = manifest.files.iter_mut().chain(&mut manifest.older);
        // Who has removed it meanwhile has named what is there as well.
        let Some(named) = all.find(|named| *named == file) else { return Ok(()) };
        let path = there.path.clone();
        *named = there;
        manifest.on_store().unnamed.retain(|unnamed| *unnamed != path);
        self.write_manifest(&manifest)?;
        let mut state = self.lock();
        state.name(manifest, replaced);
        state.pins.retire(vec![Gone::local(&file.path)]);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Writes down what will be on the store without being named.
    fn name_as_it_may_be(&self, path: &str) -> Result<(), Error> {
        let _commit = self.commit();
        let (mut manifest, replaced) = self.named();
        let unnamed = &mut manifest.on_store().unnamed;
        if unnamed.iter().any(|known| known == path) {
            return Ok(());
        }
        unnamed.push(path.into());
        self.write_manifest(&manifest)?;
        self.lock().name(manifest, replaced);
        Ok(())
    }

    /// Removes what is on the store and has no name, but for what is still to move or is read.
    pub fn clear(&self, remote: &Remote) -> Result<(), Error> {
        let gone = self.lock().on_store_without_name();
        if gone.is_empty() {
            return Ok(());
        }
        gone.iter().try_for_each(|path| remote.remove(path))?;
        let _commit = self.commit();
        let (mut manifest, replaced) = self.named();
        manifest.on_store().unnamed.retain(|path| !gone.contains(path));
        self.write_manifest(&manifest)?;
        self.lock().name(manifest, replaced);
        Ok(())
    }
}

impl State {
    /// What is on the store, has no name, and neither moves there nor is read.
    fn on_store_without_name(&self) -> Vec<String> {
        let unnamed = self.manifest.store.iter().flat_map(|store| &store.unnamed);
        let mut gone: Vec<String> = unnamed.filter(|path| !self.pins.hold(path)).cloned().collect();
        if !gone.is_empty() {
            let local = self.manifest.all().filter(|file| file.place == Place::Local);
            let moving: HashSet<String> = local.map(path).collect();
            gone.retain(|path| !moving.contains(path));
        }
        gone
    }
}

/// What a file is called on the store: two that differ are never called the same.
fn path(file: &ArchiveFile) -> String {
    let stem = file.path.trim_end_matches(".parquet");
    format!("{stem}-{:08x}.parquet", file.crc32c)
}

/// The first file that is old and need not be merged any more.
fn pick(manifest: &Manifest, least: usize, aside: &Aside, age: Age) -> Option<ArchiveFile> {
    let to_merge = to_merge(manifest, least, aside, Some(age));
    let waits = |file: &ArchiveFile| to_merge.iter().any(|path| *path == file.path);
    let is_local = |file: &ArchiveFile| file.place == Place::Local && aside.is_free(&file.path);
    manifest.all().find(|file| is_local(file) && age.is_due(file) && !waits(file)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(day: i64, number: u64, rows: u64) -> ArchiveFile {
        let path = format!("telemetry/day={day}/{number}.parquet");
        let (first, last) = (day * DAY, day * DAY + DAY - 1);
        let (min_epoch, max_epoch) = (number, number);
        let (min_event_time, max_event_time) = (first, last);
        let file = ArchiveFile::new(path);
        ArchiveFile { rows, min_event_time, max_event_time, min_epoch, max_epoch, ..file }
    }

    #[test]
    fn a_file_is_old_when_its_day_and_its_receipt_are() {
        let age = |after: i64, tick: i64, epoch: u64| Age {
            after: Duration(after),
            tick: Timestamp(tick),
            epoch: Epoch(epoch),
        };
        let file = file(3, 7_000, 1);
        assert!(age(0, 4 * DAY, 7_000).is_due(&file));
        assert!(!age(0, 4 * DAY - 1, 7_000).is_due(&file), "the day goes on");
        assert!(!age(5_000, 4 * DAY + 4_999, 7_005).is_due(&file));
        assert!(!age(5_000, 4 * DAY + 5_000, 7_004).is_due(&file), "came just now");
        assert!(age(5_000, 4 * DAY + 5_000, 7_005).is_due(&file));
        assert!(!age(0, i64::MIN, 9_000).is_due(&file), "the time is not known");
    }

    #[test]
    fn a_file_moves_when_nothing_is_left_to_merge_it_with() {
        let age = Age { after: Duration(0), tick: Timestamp(8 * DAY), epoch: Epoch(9) };
        let mut manifest = Manifest::default();
        let picked = |manifest: &Manifest, least: usize, aside: &Aside| {
            pick(manifest, least, aside, age).map(|file| file.path)
        };
        let mut aside = Aside::default();
        manifest.files.extend([file(1, 1, 10), file(1, 2, 900_000), file(9, 3, 10)]);
        assert_eq!(picked(&manifest, 8, &aside), None, "the two are merged before");
        assert_eq!(picked(&manifest, 0, &aside), Some(manifest.files[0].path.clone()));
        // What another is at work on neither moves nor keeps the others waiting.
        aside.take([manifest.files[0].path.as_str()]);
        assert_eq!(picked(&manifest, 8, &aside), Some(manifest.files[1].path.clone()));
        manifest.older.push(file(1, 4, 10));
        manifest.files[1].place = Place::Store;
        assert_eq!(picked(&manifest, 8, &aside), Some(manifest.older[0].path.clone()));
        manifest.older[0].place = Place::Store;
        assert_eq!(picked(&manifest, 8, &aside), None, "day 9 goes on");
    }
}
