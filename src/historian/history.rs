//! Pages of history: the points of some assets as they were after an epoch.
//!
//! Files have every value that a key had after some epoch, and the list of replaced points says
//! what was deleted when; memory has the rest. Of a file only the pages are read that may
//! have what is asked for, by the same pass for all who ask.

use super::chunk::Note;
use super::error::Error;
use super::pages;
use super::replaced::Replaced;
use super::store::Historian;
use super::telemetry::Telemetry;
use super::versions::Versions;
use crate::model::{Epoch, PagePoints};
use hashbrown::HashMap;
use std::sync::Arc;

/// What to read of one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The asset's key.
    pub asset: Arc<str>,
    /// The first event time, microseconds, inclusive.
    pub from: i64,
    /// The last event time, microseconds, inclusive.
    pub to: i64,
    /// Only values of later epochs count: before it the key was another asset's.
    pub after: Epoch,
}

/// All that is asked for at once.
pub(super) struct Asked {
    pub asks: Vec<Ask>,
    /// Which of them are of an asset.
    pub of_asset: HashMap<Arc<str>, Vec<usize>>,
    /// Values of later epochs do not count.
    pub as_of: Epoch,
    /// The event times and the epochs of all asks together.
    span: Ask,
}

impl Historian {
    /// All files, also of later epochs, and the hot points of epochs up to this one: what it takes to
    /// read telemetry as it was. Fails when the epoch is not closed yet ([`Error::NotClosed`]).
    pub fn as_of(&self, epoch: Epoch) -> Result<Telemetry, Error> {
        self.at(epoch, |_| true)
    }

    /// The points of some assets as they were after an epoch: of each metric and event time the
    /// value with the greatest epoch in `(after, as_of]`, unless it was deleted at an epoch up to
    /// `as_of`. Element i answers ask i, in no order; it is `None` where there are more points
    /// than `most`.
    ///
    /// Fails when `as_of` is not closed yet ([`Error::NotClosed`]), and when a file cannot be read
    /// or is not what was written as far as that is noticed: what is read is not compared with the
    /// checksum of the file. Holds some `2 * most` points of an ask at a time. Blocks, for about a
    /// millisecond a file whose event times overlap with what is asked for.
    pub fn history(
        &self,
        asks: &[Ask],
        as_of: Epoch,
        most: usize,
    ) -> Result<Vec<Option<PagePoints>>, Error> {
        let asked = Arc::new(Asked::new(asks, as_of));
        let telemetry = self.at(as_of, |chunk| {
            let epoch = chunk.epoch.0;
            asked.any((chunk.first_time, chunk.last_time), (epoch, epoch))
        })?;
        let mut versions = Versions::new(&asked, most);
        for gone in deleted(&telemetry, &asked) {
            versions.delete(&gone);
        }
        versions.take_hot(&telemetry);
        for file in telemetry.files.iter().chain(telemetry.older.iter()) {
            let times = (file.min_event_time, file.max_event_time);
            if versions.wanting() && asked.any(times, (file.min_epoch, file.max_epoch)) {
                pages::read(&telemetry.places, file, &asked, |batch| versions.take(batch))?;
            }
        }
        Ok(versions.finish())
    }
}

impl Asked {
    fn new(asks: &[Ask], as_of: Epoch) -> Self {
        let mut of_asset: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (i, ask) in asks.iter().enumerate() {
            of_asset.entry(Arc::clone(&ask.asset)).or_default().push(i);
        }
        let span = Ask {
            asset: Arc::default(),
            from: asks.iter().map(|ask| ask.from).min().unwrap_or(i64::MAX),
            to: asks.iter().map(|ask| ask.to).max().unwrap_or(i64::MIN),
            after: asks.iter().map(|ask| ask.after).min().unwrap_or(as_of),
        };
        Self { asks: asks.to_vec(), of_asset, as_of, span }
    }

    /// The asks that are about an asset.
    pub(super) fn of(&self, asset: &str) -> &[usize] {
        self.of_asset.get(asset).map_or(&[], Vec::as_slice)
    }

    /// Whether a value of this time and epoch counts for an ask, if it is of its asset.
    pub(super) fn counts(&self, ask: usize, time: i64, epoch: u64) -> bool {
        let ask = &self.asks[ask];
        (ask.from..=ask.to).contains(&time) && ask.after.0 < epoch && epoch <= self.as_of.0
    }

    /// Whether anything asked for may be among points of these event times and epochs.
    fn any(&self, (first, last): (i64, i64), (oldest, newest): (u64, u64)) -> bool {
        let may = |ask: &Ask| ask.from <= last && first <= ask.to && ask.after.0 < newest;
        oldest <= self.as_of.0 && may(&self.span) && self.asks.iter().any(may)
    }
}

/// What was deleted of the assets that are asked about, up to the epoch.
fn deleted(telemetry: &Telemetry, asked: &Asked) -> Vec<Replaced> {
    let list = &telemetry.replaced;
    let mut found: Vec<Replaced> = Vec::new();
    for asset in asked.of_asset.keys() {
        let start = list.partition_point(|row| row.asset < *asset);
        let of_asset = list[start..].iter().take_while(|row| row.asset == *asset);
        let counts = |row: &&Replaced| row.deleted && row.before <= asked.as_of.next();
        found.extend(of_asset.filter(counts).cloned());
    }
    let names = &telemetry.names;
    let is_asked =
        |note: &&Note| names.asset(note.asset).is_some_and(|key| !asked.of(key).is_empty());
    found.extend(telemetry.deleted.iter().filter(is_asked).filter_map(|note| note.deleted(names)));
    found
}
