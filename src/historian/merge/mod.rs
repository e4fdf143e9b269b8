//! Many small files of a day become few large ones, in the background.
//!
//! Every minute leaves a file for each day that points came of. Whoever reads pays for each file, so
//! that files of about the same size are merged when there are some of them, and what comes of it
//! with others of its size later: a point is written anew a few times at most.
//!
//! Files are read in the order in which they are sorted. Of a key that several have, the newest value
//! goes on; the others go to a file with older values, where those find them who ask for the past.
//!
//! A file that cannot be read is left alone, and the others are merged without it.

mod combine;
mod groups;
mod output;
mod source;

use super::error::Error;
use super::pins::Gone;
use super::places::Places;
use super::replaced::Replaced;
use super::shared::{Shared, State};
use crate::model::{ArchiveFile, Place};
use combine::combine;
pub(super) use groups::to_merge;
use groups::{Group, pick};
use output::Output;
use source::Source;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Counter: groups of files that became one.
pub const MERGES: &str = "millstream_archive_merges_total";
/// Counter: points that were written anew for it.
pub const POINTS: &str = "millstream_archive_merged_points_total";
/// Counter: groups that could not be merged.
pub const FAILURES: &str = "millstream_archive_merge_failures_total";

/// How long files that were merged stay at most after their last reader has gone.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked for days that have become old.
const LOOK_FOR_OLD: Duration = Duration::from_secs(5);
const MINUTE: i64 = 60_000_000;
/// How long nothing is merged after it failed, unless a file of the group is to blame.
const PAUSE: Duration = Duration::from_secs(60);

impl Shared {
    /// Merges files as long as the archive is open, and removes those that nobody reads any more.
    pub fn merge_files(&self) {
        let mut seen = None;
        let mut not_before = Instant::now();
        loop {
            self.remove_retired();
            let state = self.lock();
            // Days get old without anything being written.
            let age = state.age(&self.options);
            let minute = age.map(|age| age.tick.0.div_euclid(MINUTE));
            let now = (state.manifest.archived_epoch, state.manifest.merged, minute);
            let pause = not_before.saturating_duration_since(Instant::now());
            if state.stopping {
                return;
            }
            if seen == Some(now) || !pause.is_zero() {
                match (state.pins.is_empty(), pause) {
                    (true, Duration::ZERO) if age.is_some() => {
                        drop(self.wait_for(state, LOOK_FOR_OLD));
                    }
                    (true, Duration::ZERO) => drop(self.wait(state)),
                    (false, Duration::ZERO) => drop(self.wait_for(state, LOOK_AFTER)),
                    (_, pause) => drop(self.wait_for(state, pause.min(LOOK_AFTER))),
                }
                continue;
            }
            drop(state);
            match self.merge_once(self.options.merge_files) {
                Ok(true) => {}
                Ok(false) => seen = Some(now),
                Err(Error::Closed) => return,
                Err(failure) if self.leave(&failure) => {
                    tracing::error!(%failure, "file of the archive not merged; others are");
                }
                Err(failure) => {
                    tracing::error!(%failure, "files of the archive not merged; trying again");
                    not_before = Instant::now() + PAUSE;
                }
            }
        }
    }

    /// Removes files that were merged or moved and that nobody reads any more.
    pub fn remove_retired(&self) {
        let gone = self.lock().pins.free();
        // Those on the store go by another way.
        for Gone { path, .. } in gone.iter().filter(|gone| gone.place == Place::Local) {
            if let Err(failure) = self.remove(path) {
                tracing::warn!(%failure, path, "archive file without a name stays until a restart");
            }
        }
    }

    /// Leaves a file alone that a failure is about. False when it is about none that is named.
    pub fn leave(&self, failure: &Error) -> bool {
        let mut state = self.lock();
        let State { manifest, aside, .. } = &mut *state;
        let told =
            |file: &&ArchiveFile| failure.file().is_some_and(|path| path == self.places.name(file));
        let named = manifest.files.iter().chain(&manifest.older).find(told);
        named.map(|file| aside.leave(&file.path, Instant::now())).is_some()
    }

    /// Merges the files of one group of at least so many. False when there is none.
    pub fn merge_once(&self, least: usize) -> Result<bool, Error> {
        let mut state = self.lock();
        state.aside.try_again(Instant::now());
        let age = state.age(&self.options);
        let Some(group) = pick(&state.manifest, least, &state.aside, age) else {
            return Ok(false);
        };
        state.aside.take(group.files.iter().map(|file| file.path.as_str()));
        drop(state);
        let begun = Instant::now();
        let merged = self.merge(&group);
        self.lock().aside.give_back(group.files.iter().map(|file| file.path.as_str()));
        let points = merged.inspect_err(|failure| {
            if !matches!(failure, Error::Closed) {
                metrics::counter!(FAILURES).increment(1);
            }
        })?;
        metrics::counter!(MERGES).increment(1);
        metrics::counter!(POINTS).increment(points);
        let (files, milliseconds) = (group.files.len(), begun.elapsed().as_millis() as u64);
        tracing::debug!(name = group.name, files, points, milliseconds, "archive files merged");
        Ok(true)
    }

    /// Puts what comes of a group in its place, and says how many points that has.
    fn merge(&self, group: &Group) -> Result<u64, Error> {
        let (newest, older) = self.combine(group)?;
        let points = newest.iter().chain(&older).map(|file| file.rows).sum();
        self.swap(group, newest, older)?;
        Ok(points)
    }

    /// Writes what comes of a group: the file with the newest values, and that with older ones.
    fn combine(&self, group: &Group) -> Result<(Option<ArchiveFile>, Option<ArchiveFile>), Error> {
        let mut sources = Vec::with_capacity(group.files.len());
        for file in &group.files {
            // What is damaged must not become whole by being written anew.
            self.places.check(file)?;
            sources.push(Source::open(&self.places, file)?);
        }
        let output = |ending: &str| {
            let Places { fs, directory, .. } = &self.places;
            Output::new(fs, directory, format!("{}{ending}.parquet", group.name))
        };
        let (mut newest, mut older) = (output(""), output("-older"));
        let go_on = || !self.lock().stopping;
        combine(sources, group.kind, (&mut newest, &mut older), go_on)?;
        Ok((newest.finish()?, older.finish()?))
    }

    /// Names the new files in place of the old ones.
    fn swap(
        &self,
        group: &Group,
        newest: Option<ArchiveFile>,
        older: Option<ArchiveFile>,
    ) -> Result<(), Error> {
        let _commit = self.commit();
        let (mut manifest, mut replaced) = self.named();
        let named = manifest.files.iter().chain(&manifest.older);
        let named: HashSet<&str> = named.map(|file| file.path.as_str()).collect();
        if group.files.iter().any(|file| !named.contains(file.path.as_str())) {
            // Their day has expired meanwhile.
            for file in newest.iter().chain(&older) {
                let path = self.places.directory.join(&file.path);
                self.remove(&file.path).map_err(Error::io("remove", &path))?;
            }
            return Ok(());
        }
        manifest.merged += 1;
        let is_merged = |file: &ArchiveFile| group.files.iter().any(|old| old.path == file.path);
        let mut gone = manifest.take_out(is_merged);
        if let Some(merged) = &newest {
            let needed = |row: &Replaced| is_needed(&manifest.files, merged, row);
            if replaced.iter().any(|row| !needed(row)) {
                replaced = Arc::new(replaced.iter().filter(|row| needed(row)).cloned().collect());
                let path =
                    format!("replaced-{}-{}.arrow", manifest.archived_epoch, manifest.merged);
                manifest.replaced = match replaced.is_empty() {
                    true => None,
                    false => Some(self.write_replaced(path, &replaced)?),
                };
            }
        }
        manifest.files.extend(newest);
        manifest.older.extend(older);
        for files in [&mut manifest.files, &mut manifest.older] {
            files.sort_by_key(|file| file.min_epoch);
        }
        self.write_manifest(&manifest)?;
        let mut state = self.lock();
        gone.extend(state.name(manifest, replaced).map(|path| Gone::local(&path)));
        state.pins.retire(gone);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }
}

/// Whether an entry of the list of replaced points still hides anything, when a merged file takes
/// its place among the others. The merged file has no older value of a key whose newer one it has.
fn is_needed(others: &[ArchiveFile], merged: &ArchiveFile, row: &Replaced) -> bool {
    let holds =
        |file: &ArchiveFile| (file.min_event_time..=file.max_event_time).contains(&row.event_time);
    row.deleted || row.before.0 > merged.max_epoch || !holds(merged) || others.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(day: u8, number: u64, rows: u64) -> ArchiveFile {
        let mut file = ArchiveFile::new(format!("telemetry/day=2026-03-0{day}/{number}.parquet"));
        (file.rows, file.min_epoch, file.max_epoch) = (rows, number, number);
        file
    }

    #[test]
    fn an_entry_goes_when_only_the_merged_file_may_have_its_key() {
        let span = |from: i64, to: i64, epoch: u64| {
            let mut file = file(1, epoch, 10);
            (file.min_event_time, file.max_event_time) = (from, to);
            file
        };
        let (merged, other) = (span(0, 100, 9), span(90, 200, 12));
        let row = |event_time: i64, before: u64, deleted: bool| Replaced {
            asset: "a".into(),
            metric: "m".into(),
            event_time,
            before: crate::model::Epoch(before),
            deleted,
        };
        let needed = |row| is_needed(std::slice::from_ref(&other), &merged, &row);
        assert!(!needed(row(50, 9, false)));
        assert!(needed(row(50, 10, false)), "the newer value is in a later file");
        assert!(needed(row(50, 9, true)), "nothing else tells of deletions");
        assert!(needed(row(95, 9, false)), "another file may have an older value");
        assert!(needed(row(150, 9, false)));
    }
}
