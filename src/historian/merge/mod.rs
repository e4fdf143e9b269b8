//! Many small files of a day become few large ones, in the background.
//!
//! Every minute leaves a file for each day that points came of. Whoever reads pays for each file, so
//! that files of about the same size are merged when there are some of them, and what comes of it
//! with others of its size later: a point is written anew a few times at most.
//!
//! Files are read in the order in which they are sorted. Of a key that several have, the newest value
//! goes on; the others go to a file with older values, where those find them who ask for the past.

mod combine;
mod output;
mod source;

use super::durable;
use super::error::Error;
use super::manifest::{FOLDER, Manifest};
use super::replaced::Replaced;
use super::shared::Shared;
use crate::model::ArchiveFile;
use combine::{Kind, combine};
use output::Output;
use source::Source;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files with more points are large enough.
const POINTS_MAX: u64 = 2 << 20;
/// Files with up to so many points are of the first size; each further size has eight times as many.
const FIRST_SIZE: u64 = 32 * 1024;
/// How long files that were merged stay at most after their last reader has gone.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How long nothing is merged after it failed.
const PAUSE: Duration = Duration::from_secs(60);

/// Files that become one.
#[derive(Debug)]
struct Group {
    kind: Kind,
    files: Vec<ArchiveFile>,
    /// What new files are called, without their ending.
    name: String,
}

impl Shared {
    /// Merges files as long as the archive is open, and removes those that nobody reads any more.
    pub fn merge_files(&self) {
        let mut seen = None;
        let mut not_before = Instant::now();
        loop {
            self.remove_retired();
            let state = self.lock();
            let now = (state.manifest.archived_epoch, state.manifest.merged);
            let pause = not_before.saturating_duration_since(Instant::now());
            if state.stopping {
                return;
            }
            if seen == Some(now) || !pause.is_zero() {
                match (state.pins.is_empty(), pause) {
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
                Err(failure) => {
                    tracing::error!(%failure, "files of the archive not merged");
                    not_before = Instant::now() + PAUSE;
                }
            }
        }
    }

    /// Removes files that were merged and that nobody reads any more.
    pub fn remove_retired(&self) {
        let gone = self.lock().pins.free();
        for path in gone {
            if let Err(failure) = self.fs.remove(&self.directory.join(&path)) {
                tracing::warn!(%failure, path, "archive file that was merged stays until a restart");
            }
        }
    }

    /// Merges the files of one group of at least so many. False when there is none.
    pub fn merge_once(&self, least: usize) -> Result<bool, Error> {
        let Some(group) = pick(&self.lock().manifest, least) else {
            return Ok(false);
        };
        let begun = Instant::now();
        let (newest, older) = self.combine(&group)?;
        let points = newest.iter().chain(&older).map(|file| file.rows).sum::<u64>();
        self.swap(&group, newest, older)?;
        let (files, milliseconds) = (group.files.len(), begun.elapsed().as_millis() as u64);
        tracing::debug!(name = group.name, files, points, milliseconds, "archive files merged");
        Ok(true)
    }

    /// Writes what comes of a group: the file with the newest values, and that with older ones.
    fn combine(&self, group: &Group) -> Result<(Option<ArchiveFile>, Option<ArchiveFile>), Error> {
        let mut sources = Vec::with_capacity(group.files.len());
        for file in &group.files {
            // What is damaged must not become whole by being written anew.
            let path = self.directory.join(&file.path);
            if durable::sum(&*self.fs, &path)? != file.sum() {
                return Err(Error::Damaged { path });
            }
            sources.push(Source::open(&*self.fs, &path, file)?);
        }
        let output = |ending: &str| {
            Output::new(&self.fs, &self.directory, format!("{}{ending}.parquet", group.name))
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
                let path = self.directory.join(&file.path);
                self.fs.remove(&path).map_err(Error::io("remove", &path))?;
            }
            return Ok(());
        }
        manifest.merged += 1;
        let is_merged = |file: &ArchiveFile| group.files.iter().any(|old| old.path == file.path);
        manifest.files.retain(|file| !is_merged(file));
        manifest.older.retain(|file| !is_merged(file));
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
        manifest.write(&self.fs, &self.directory)?;
        let mut gone: Vec<String> = group.files.iter().map(|file| file.path.clone()).collect();
        let mut state = self.lock();
        gone.extend(state.name(manifest, replaced));
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

/// The first group of at least `least` files of one day and about the same size; twice as many at
/// most. `None` when `least` is 0.
fn pick(manifest: &Manifest, least: usize) -> Option<Group> {
    let group = |kind: Kind, files: &[ArchiveFile]| {
        let mut groups: BTreeMap<(String, u32), Vec<&ArchiveFile>> = BTreeMap::new();
        for file in files.iter().filter(|file| file.rows < POINTS_MAX) {
            let Some((folder, _)) = file.path.rsplit_once('/') else { continue };
            let size = (file.rows / FIRST_SIZE).checked_ilog(8).map_or(0, |size| size + 1);
            groups.entry((folder.into(), size)).or_default().push(file);
        }
        let ((folder, _), files) = groups.into_iter().find(|(_, files)| files.len() >= least)?;
        debug_assert!(folder.starts_with(FOLDER));
        let name = format!("{folder}/merged-{}", manifest.merged + 1);
        let files = files.into_iter().take(least.saturating_mul(2)).cloned().collect();
        Some(Group { kind, files, name })
    };
    if least == 0 {
        return None;
    }
    group(Kind::Newest, &manifest.files).or_else(|| group(Kind::Older, &manifest.older))
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
    fn files_of_one_day_and_size_are_merged() {
        let mut manifest = Manifest::default();
        manifest.files.extend((0..7).map(|i| file(1, i, 1_000)));
        manifest.files.extend((7..14).map(|i| file(2, i, 1_000)));
        manifest.files.extend((14..20).map(|i| file(2, i, 100_000)));
        manifest.files.extend((20..40).map(|i| file(3, i, POINTS_MAX)));
        assert!(pick(&manifest, 8).is_none());
        manifest.files.push(file(2, 50, 2_000));
        let group = pick(&manifest, 8).unwrap();
        let numbers: Vec<u64> = group.files.iter().map(|file| file.min_epoch).collect();
        assert_eq!(numbers, [7, 8, 9, 10, 11, 12, 13, 50]);
        assert_eq!(group.name, "telemetry/day=2026-03-02/merged-1");
        assert_eq!(pick(&manifest, 3).unwrap().files.len(), 6);
        assert!(pick(&manifest, 0).is_none());
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
