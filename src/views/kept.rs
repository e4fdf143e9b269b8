//! Windows that have left memory: which rows of roll-ups are in files, and which rows of files count.
//!
//! A row of a roll-up is in memory or in files, never in neither. Files are written once and only
//! ever added to. A row that comes back into memory, because it changes, counts no more in the files
//! before, and neither do those of removed assets and metrics.

use super::filed::InFiles;
use super::view::View;
use crate::model::{ArchiveFile, Epoch, TypeId, Window};
use arrow::array::{
    ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The rows of the roll-ups of one size that have left memory.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    /// What readers of the files have to know; shared with them.
    pub archived: Arc<Archived>,
    /// For each asset the starts of the windows that are in files and not in memory: ranges of
    /// which the end does not count, ascending, apart from each other.
    ranges: BTreeMap<TypeId, HashMap<u32, Vec<(i64, i64)>>>,
    /// All of them begin before this time.
    until: i64,
    /// No epoch from which on rows of files count no more, or may have ended, is later.
    #[serde(skip)]
    pub(super) ended: Epoch,
}

/// Rows of one roll-up view in files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Archived {
    /// The files, oldest first; the rows of each are of one epoch. A row of a file counts when
    /// nothing below says otherwise of its asset, its metric or itself.
    pub files: Vec<ArchiveFile>,
    /// Rows by asset and start of their window: those of files from before the epoch count no more.
    rows: BTreeMap<(Arc<str>, i64), Epoch>,
    /// Assets that were removed, with the epoch from which on rows are of another one.
    assets: BTreeMap<Arc<str>, Epoch>,
    /// Metrics, by asset type and name, whose aggregates began anew at an epoch. Without a name it
    /// is all metrics of the type.
    metrics: BTreeMap<(Arc<str>, Option<Arc<str>>), Epoch>,
}

/// An asset type and a metric of it, or all.
pub type TypeMetric = (Arc<str>, Option<Arc<str>>);

impl Default for Kept {
    fn default() -> Self {
        let (archived, ranges) = (Arc::default(), BTreeMap::new());
        Self { archived, ranges, until: i64::MIN, ended: Epoch(0) }
    }
}

impl Kept {
    /// Whether the row is in files and not in memory.
    pub fn has(&self, asset_type: TypeId, asset: u32, window: i64) -> bool {
        // Most that is asked about is new.
        if window >= self.until {
            return false;
        }
        let ranges = self.ranges.get(&asset_type).and_then(|assets| assets.get(&asset));
        ranges.is_some_and(|ranges| {
            let at = ranges.partition_point(|(from, _)| *from <= window);
            at > 0 && window < ranges[at - 1].1
        })
    }

    /// The row has left memory. `size` is the length of the window.
    pub fn add(&mut self, asset_type: TypeId, asset: u32, window: i64, size: i64) {
        let ranges = self.ranges.entry(asset_type).or_default().entry(asset).or_default();
        let end = window.saturating_add(size);
        self.until = self.until.max(end);
        let at = ranges.partition_point(|(from, _)| *from <= window);
        let joins_left = at > 0 && ranges[at - 1].1 >= window;
        let joins_right = ranges.get(at).is_some_and(|(from, _)| *from <= end);
        match (joins_left, joins_right) {
            (true, true) => {
                ranges[at - 1].1 = ranges[at].1;
                ranges.remove(at);
            }
            (true, false) => ranges[at - 1].1 = ranges[at - 1].1.max(end),
            (false, true) => ranges[at].0 = window,
            (false, false) => ranges.insert(at, (window, end)),
        }
    }

    /// The row is in memory again, or gone: what files of epochs before `epoch` say of it does not
    /// count any more.
    pub fn take(&mut self, (asset_type, asset): (TypeId, u32), key: &Arc<str>, row: Row) {
        let ranges = self.ranges.get_mut(&asset_type).and_then(|assets| assets.get_mut(&asset));
        if let Some(ranges) = ranges {
            let at = ranges.partition_point(|(from, _)| *from <= row.window);
            if at > 0 && row.window < ranges[at - 1].1 {
                let (from, to) = ranges[at - 1];
                let parts = [(from, row.window), (row.window.saturating_add(row.size), to)];
                ranges.splice(at - 1..at, parts.into_iter().filter(|(from, to)| from < to));
            }
        }
        self.replace(key, row.window, row.epoch);
    }

    /// What files of epochs before `epoch` say of a row does not count any more.
    pub fn replace(&mut self, key: &Arc<str>, window: i64, epoch: Epoch) {
        self.ended = epoch.max(self.ended);
        let archived = Arc::make_mut(&mut self.archived);
        let before = archived.rows.entry((Arc::clone(key), window)).or_default();
        *before = epoch.max(*before);
    }

    /// Forgets an asset that was removed at an epoch.
    pub fn remove(&mut self, asset: u32, key: &Arc<str>, epoch: Epoch) {
        let mut had = false;
        for assets in self.ranges.values_mut() {
            had |= assets.remove(&asset).is_some();
        }
        if had {
            let archived = Arc::make_mut(&mut self.archived);
            archived.rows.retain(|(of, _), _| of != key);
            archived.assets.insert(Arc::clone(key), epoch);
        }
    }

    /// A metric of a type, or all of them, has aggregates only from this epoch on.
    pub fn begin(&mut self, id: TypeId, key: &Arc<str>, metric: Option<Arc<str>>, epoch: Epoch) {
        if metric.is_none() {
            self.ranges.remove(&id);
        }
        self.ended = epoch.max(self.ended);
        let archived = Arc::make_mut(&mut self.archived);
        archived.metrics.insert((Arc::clone(key), metric), epoch);
    }

    /// Names a file that was written.
    pub fn name(&mut self, file: ArchiveFile) {
        Arc::make_mut(&mut self.archived).files.push(file);
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        let assets = self.ranges.values().flat_map(HashMap::values);
        let ranges: usize = assets.map(|ranges| 32 + ranges.capacity() * 16).sum();
        let archived = &self.archived;
        ranges + archived.files.len() * 160 + archived.rows.len() * 64
    }
}

/// A row of a roll-up, from an epoch on.
pub(super) struct Row {
    pub window: i64,
    pub size: i64,
    pub epoch: Epoch,
}

impl Archived {
    /// What has ended after an epoch: windows of assets of which a row may have ended, and metrics
    /// of which all rows have, by asset type; without a name it is all metrics of the type.
    pub fn ended_after(&self, epoch: Epoch) -> (Vec<(Arc<str>, i64)>, Vec<TypeMetric>) {
        let rows = self.rows.iter().filter(|(_, at)| **at > epoch).map(|(row, _)| row.clone());
        let metrics = self.metrics.iter().filter(|(_, at)| **at > epoch);
        (rows.collect(), metrics.map(|(metric, _)| metric.clone()).collect())
    }

    /// Whether there are files of later epochs.
    pub fn is_newer(&self, epoch: Epoch) -> bool {
        self.files.iter().any(|file| file.max_epoch > epoch.0)
    }

    /// Whether a row of a file of this epoch counts.
    pub fn counts(&self, asset: &str, asset_type: &str, metric: &str, row: (i64, Epoch)) -> bool {
        let (window, epoch) = row;
        let is_older = |limit: Option<&Epoch>| limit.is_some_and(|limit| epoch < *limit);
        let metrics =
            |metric: Option<&str>| self.metrics.get(&(asset_type.into(), metric.map(Into::into)));
        !(is_older(self.rows.get(&(asset.into(), window)))
            || is_older(self.assets.get(asset))
            || is_older(metrics(None))
            || is_older(metrics(Some(metric))))
    }

    /// Rows `asset, window_start, before_epoch`: what files from before the epoch say of them does
    /// not count. `None` when there are none.
    fn rows(&self) -> Result<Option<RecordBatch>, ArrowError> {
        let starts = self.rows.keys().map(|(_, start)| *start);
        let starts = TimestampMicrosecondArray::from_iter_values(starts).with_timezone("UTC");
        let assets = self.rows.keys().map(|(asset, _)| asset.as_ref());
        let assets: ArrayRef = Arc::new(StringArray::from_iter_values(assets));
        batch(vec![("asset", assets), ("window_start", Arc::new(starts))], self.rows.values())
    }

    /// Rows `asset, before_epoch` of removed assets.
    fn assets(&self) -> Result<Option<RecordBatch>, ArrowError> {
        let assets = StringArray::from_iter_values(self.assets.keys());
        batch(vec![("asset", Arc::new(assets))], self.assets.values())
    }

    /// Rows `asset_type, metric, before_epoch` of metrics that began anew; `metric` is null where
    /// all of a type did.
    fn metrics(&self) -> Result<Option<RecordBatch>, ArrowError> {
        let types = self.metrics.keys().map(|(asset_type, _)| asset_type.as_ref());
        let types: ArrayRef = Arc::new(StringArray::from_iter_values(types));
        let names = self.metrics.keys().map(|(_, metric)| metric.as_deref());
        let names: ArrayRef = Arc::new(names.collect::<StringArray>());
        batch(vec![("asset_type", types), ("metric", names)], self.metrics.values())
    }
}

impl InFiles for Archived {
    fn files(&self) -> &[ArchiveFile] {
        &self.files
    }

    fn time(&self) -> &'static str {
        View::Rollups(Window::Minute).time()
    }

    fn but(&self) -> Result<Vec<RecordBatch>, ArrowError> {
        let but = [self.rows()?, self.assets()?, self.metrics()?];
        Ok(but.into_iter().flatten().collect())
    }

    fn has(&self, batch: &RecordBatch, i: usize, epoch: Epoch) -> bool {
        let [asset, asset_type, metric] = [0, 1, 2].map(|at| batch.column(at).as_string::<i32>());
        let start = batch.column(3).as_primitive::<TimestampMicrosecondType>().value(i);
        self.counts(asset.value(i), asset_type.value(i), metric.value(i), (start, epoch))
    }
}

fn batch<'a>(
    mut columns: Vec<(&'static str, ArrayRef)>,
    before: impl ExactSizeIterator<Item = &'a Epoch>,
) -> Result<Option<RecordBatch>, ArrowError> {
    if before.len() == 0 {
        return Ok(None);
    }
    let before = UInt64Array::from_iter_values(before.map(|epoch| epoch.0));
    columns.push(("before_epoch", Arc::new(before)));
    RecordBatch::try_from_iter(columns).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Ranges are a set of windows, whatever comes and goes in which order.
    #[test]
    fn ranges_are_a_set() {
        let (mut random, mut kept, mut set) = (0x5eed_u64, Kept::default(), BTreeSet::new());
        let key: Arc<str> = "a".into();
        for _ in 0..5_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let window = (random >> 33) as i64 % 40 * 10;
            if random >> 62 != 0 {
                kept.add(TypeId(1), 7, window, 10);
                set.insert(window);
            } else {
                kept.take((TypeId(1), 7), &key, Row { window, size: 10, epoch: Epoch(1) });
                set.remove(&window);
            }
            for window in (0..400).step_by(10) {
                assert_eq!(kept.has(TypeId(1), 7, window), set.contains(&window));
            }
            let ranges = &kept.ranges[&TypeId(1)][&7];
            assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
        }
        assert!(!kept.has(TypeId(1), 8, 0) && !kept.has(TypeId(2), 7, 0));
    }
}
