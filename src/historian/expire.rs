//! Days of telemetry that are not kept any more leave the archive: whole days, and only when nobody
//! asks for them again.
//!
//! The manifest names their files no more, in one step, and the files go when the last one has gone
//! who reads them.

use super::durable::{self, Sum};
use super::error::Error;
use super::manifest::{Expired, ListFile, Manifest};
use super::pins::Gone;
use super::shared::{Shared, State};
use super::store::Historian;
use super::telemetry::Telemetry;
use crate::model::{ArchiveFile, Epoch, Expiry, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const DAY: i64 = 86_400_000_000;

/// A UTC day of telemetry in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// When it begins.
    pub begin: Timestamp,
    /// The number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their points; a key as often as it had another value.
    pub points: u64,
    /// The last epoch of their points.
    pub newest: Epoch,
    /// Whether points of the day are in memory only.
    pub is_hot: bool,
}

impl Day {
    /// When the next day begins.
    pub fn end(&self) -> Timestamp {
        Timestamp(self.begin.0.saturating_add(DAY))
    }

    /// Whether all of it expires.
    pub fn expires(&self, expiry: Expiry) -> bool {
        self.end() <= expiry.before && self.newest <= expiry.received && !self.is_hot
    }
}

impl Historian {
    /// The days of which there are files, oldest first.
    pub fn days(&self) -> Vec<Day> {
        let state = self.shared.lock();
        days(&state.manifest, &hot_days(&state))
    }

    /// All that was removed so far because it was old.
    pub fn expired(&self) -> Option<Expired> {
        self.shared.lock().manifest.expired.clone()
    }

    /// The latest time of which was said that what is before it expires.
    pub fn announced(&self) -> Option<Timestamp> {
        self.shared.lock().manifest.announced
    }

    /// Remembers that what is before a time expires.
    pub fn announce(&self, before: Timestamp) -> Result<(), Error> {
        let _commit = self.shared.commit();
        let (mut manifest, replaced) = self.shared.named();
        if manifest.announced.is_some_and(|known| known >= before) {
            return Ok(());
        }
        manifest.announced = Some(before);
        self.shared.write_manifest(&manifest)?;
        self.shared.lock().name(manifest, replaced);
        Ok(())
    }

    /// Removes days that expire, at most so many of the oldest. Says which.
    ///
    /// Nobody may ask for them any more: `settled` is the epoch from which on that is so, and no
    /// replay of the log may begin before it. `carried` is what those who recompute views have to know
    /// of all that was removed, this included; see [`Telemetry::carried`].
    pub fn expire(
        &self,
        expiry: Expiry,
        settled: Epoch,
        most: usize,
        carried: &[u8],
    ) -> Result<Vec<Day>, Error> {
        self.shared.expire(expiry, settled, most, carried)
    }

    /// Removes files that no manifest names any more and nobody reads.
    pub fn remove_retired(&self) {
        self.shared.remove_retired();
    }

    /// Whether points of times from `from` on can be read as they were after an epoch.
    pub(crate) fn reaches(&self, from: i64, as_of: Epoch) -> bool {
        let state = self.shared.lock();
        let expired = state.manifest.expired.as_ref();
        expired.is_none_or(|expired| from >= expired.before.0 || as_of >= expired.settled)
    }
}

impl Telemetry {
    /// What was removed because it was old.
    pub fn expired(&self) -> Option<&Expired> {
        self.expired.as_ref()
    }

    /// The latest time of which was said that what is before it expires.
    pub fn announced(&self) -> Option<Timestamp> {
        self.announced
    }

    /// What was given to [`Historian::expire`] when something was removed last. Blocks.
    pub fn carried(&self) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.expired.as_ref().and_then(|expired| expired.carried.as_ref()) else {
            return Ok(None);
        };
        let path = self.places.directory.join(&file.path);
        let bytes = durable::read(&*self.places.fs, &path)?;
        let found = Sum { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
        match found == file.sum() {
            true => Ok(Some(bytes)),
            false => Err(Error::Damaged { path }),
        }
    }
}

impl Shared {
    fn expire(
        &self,
        expiry: Expiry,
        settled: Epoch,
        most: usize,
        carried: &[u8],
    ) -> Result<Vec<Day>, Error> {
        let _commit = self.commit();
        let (mut manifest, mut replaced) = self.named();
        let hot = hot_days(&self.lock());
        let mut gone = days(&manifest, &hot);
        gone.retain(|day| day.expires(expiry));
        gone.truncate(most);
        if gone.is_empty() {
            return Ok(gone);
        }
        let begins: BTreeSet<i64> = gone.iter().map(|day| day.begin.0).collect();
        let is_gone = |time: i64| begins.contains(&begin_of(time));
        let mut left = manifest.take_out(|file| is_gone(file.min_event_time));
        let sum = |of: fn(&Day) -> u64| gone.iter().map(of).sum::<u64>();
        let before = manifest.expired.take();
        let number = before.as_ref().map_or(0, |expired| expired.days) + gone.len() as u64;
        let path = format!("expired-{number}.bin");
        let written =
            durable::replace(&self.places.fs, &self.places.directory.join(&path), carried)?;
        let last = gone.last().map_or(expiry.before, Day::end);
        let since = before.as_ref();
        manifest.expired = Some(Expired {
            before: since.map_or(last, |expired| expired.before.max(last)),
            received: since.map_or(expiry.received, |old| old.received.max(expiry.received)),
            settled: since.map_or(settled, |expired| expired.settled.max(settled)),
            days: number,
            files: since.map_or(0, |expired| expired.files) + sum(|day| day.files),
            bytes: since.map_or(0, |expired| expired.bytes) + sum(|day| day.bytes),
            points: since.map_or(0, |expired| expired.points) + sum(|day| day.points),
            carried: Some(ListFile { path, bytes: written.bytes, crc32c: written.crc32c }),
        });
        let carried_before = before.and_then(|expired| expired.carried);
        left.extend(carried_before.map(|file| Gone::local(&file.path)));
        // There is nothing left that they could hide.
        if replaced.iter().any(|row| is_gone(row.event_time)) {
            let stays = replaced.iter().filter(|row| !is_gone(row.event_time));
            replaced = Arc::new(stays.cloned().collect());
            let path = format!("replaced-{}-expired-{number}.arrow", manifest.archived_epoch);
            manifest.replaced = match replaced.is_empty() {
                true => None,
                false => Some(self.write_replaced(path, &replaced)?),
            };
        }
        self.write_manifest(&manifest)?;
        let mut state = self.lock();
        left.extend(state.name(manifest, replaced).map(|path| Gone::local(&path)));
        state.pins.retire(left);
        drop(state);
        self.changed.notify_all();
        Ok(gone)
    }
}

/// When the UTC day of a time begins.
fn begin_of(time: i64) -> i64 {
    time - time.rem_euclid(DAY)
}

/// The days of the files, those in `hot` marked.
fn days(manifest: &Manifest, hot: &BTreeSet<i64>) -> Vec<Day> {
    let mut days: BTreeMap<i64, Day> = BTreeMap::new();
    for file in manifest.all() {
        let ArchiveFile { min_event_time, bytes, rows, max_epoch, .. } = *file;
        let begin = begin_of(min_event_time);
        let day = days.entry(begin).or_insert_with(|| Day {
            begin: Timestamp(begin),
            files: 0,
            bytes: 0,
            points: 0,
            newest: Epoch(0),
            is_hot: hot.contains(&begin),
        });
        day.files += 1;
        day.bytes += bytes;
        day.points += rows;
        day.newest = day.newest.max(Epoch(max_epoch));
    }
    days.into_values().collect()
}

/// The days that points in memory are of.
fn hot_days(state: &State) -> BTreeSet<i64> {
    let segments = state.sealed.iter().map(Arc::as_ref).chain([&state.open]);
    let chunks = segments.flat_map(|segment| &segment.chunks).chain(&state.pending);
    let mut days = BTreeSet::new();
    for chunk in chunks {
        let (first, last) = (begin_of(chunk.first_time), begin_of(chunk.last_time));
        match first == last {
            true => drop(days.insert(first)),
            false => days.extend(chunk.rows.times.iter().map(|time| begin_of(*time))),
        }
    }
    days
}
