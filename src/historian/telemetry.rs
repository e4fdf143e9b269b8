//! What readers get: the files and the hot points that are `telemetry` at one epoch.

use super::chunk::{Chunk, Note};
use super::error::Error;
use super::manifest::{Expired, may_hold};
use super::names::Names;
use super::pins::Pin;
use super::places::Places;
use super::points::{Points, Selection};
use super::replaced::{self, Replaced};
use super::schema::schema;
use crate::model::{ArchiveFile, Epoch, Timestamp};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use std::collections::BTreeSet;
use std::sync::Arc;

const BATCH_POINTS: usize = 16 * 1024;
/// Microseconds.
const DAY: i64 = 86_400_000_000;

/// All accepted points of epochs up to one. Holds still while the archive moves on; the files it
/// names stay in place.
#[derive(Clone)]
pub struct Telemetry {
    pub(super) epoch: Epoch,
    /// Deletions of epochs up to this one are among the replaced.
    pub(super) archived: Epoch,
    pub(super) places: Places,
    pub(super) files: Arc<Vec<ArchiveFile>>,
    /// Files with values that others in files of the same epochs have replaced.
    pub(super) older: Arc<Vec<ArchiveFile>>,
    pub(super) replaced: Arc<Vec<Replaced>>,
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) notes: Vec<Note>,
    pub(super) deleted: Vec<Note>,
    pub(super) names: Arc<Names>,
    pub(super) expired: Option<Expired>,
    pub(super) announced: Option<Timestamp>,
    pub(super) pin: Pin,
}

impl Telemetry {
    /// The epoch of the snapshot.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The directory from which the paths of the files start.
    pub fn directory(&self) -> &std::path::Path {
        &self.places.directory
    }

    /// Keeps the files in place for as long as it is held.
    pub fn pin(&self) -> Pin {
        self.pin.clone()
    }

    /// The files, oldest epochs first. In each of them a key is once.
    pub fn files(&self) -> &[ArchiveFile] {
        &self.files
    }

    /// The files with values that others of the same epochs replaced; a key may be in them several
    /// times.
    pub fn older(&self) -> &[ArchiveFile] {
        &self.older
    }

    /// Rows `asset, metric, event_time, before_epoch, deleted` of points that were deleted at epochs
    /// up to the snapshot's: values of those keys from before the epoch do not count. `None` when
    /// there are none.
    pub fn deleted_by_now(&self) -> Result<Option<RecordBatch>, Error> {
        let by_now = |row: &&Replaced| row.deleted && row.before <= self.epoch.next();
        let mut list: Vec<Replaced> = self.replaced.iter().filter(by_now).cloned().collect();
        list.extend(self.deleted.iter().filter_map(|note| note.deleted(&self.names)));
        (!list.is_empty()).then(|| replaced::batch(&list)).transpose()
    }

    /// Reads all files and compares their checksums with those of the manifest.
    /// [`Error::Damaged`] names the first that is not what was written. Blocks.
    pub fn check_files(&self) -> Result<(), Error> {
        self.files.iter().chain(self.older.iter()).try_for_each(|file| self.places.check(file))
    }

    /// The days, each as its first microsecond, of which there may be points of epochs up to the
    /// snapshot's.
    pub fn days(&self) -> BTreeSet<i64> {
        let files = self.files.iter().chain(self.older.iter());
        let files = files.filter(|file| file.min_epoch <= self.epoch.0 && file.rows > 0);
        let ranges = files.map(|file| (file.min_event_time, file.max_event_time));
        let days = |(first, last): (i64, i64)| {
            (first.div_euclid(DAY)..=last.div_euclid(DAY)).map(|day| day * DAY)
        };
        let mut all: BTreeSet<i64> = ranges.flat_map(days).collect();
        for chunk in &self.chunks {
            match chunk.first_time.div_euclid(DAY) == chunk.last_time.div_euclid(DAY) {
                true => all.extend(days((chunk.first_time, chunk.last_time))),
                false => {
                    all.extend(chunk.rows.times.iter().map(|time| time - time.rem_euclid(DAY)))
                }
            }
        }
        all
    }

    /// The number of hot points, replaced ones included.
    pub fn hot_points(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.points).sum()
    }

    /// Points in files that do not count: rows `asset, metric, event_time, before_epoch, deleted`,
    /// each saying that values of this key from before the epoch were replaced or deleted. A key
    /// may have several. `None` when all in [`Telemetry::files`] count.
    pub fn replaced(&self) -> Result<Option<RecordBatch>, Error> {
        let mut list = self.replaced.as_ref().clone();
        for note in &self.notes {
            if !may_hold(&self.files, note.event_time) {
                continue;
            }
            list.extend(note.superseded(&self.names));
        }
        let deleted = self.deleted.iter().filter(|note| may_hold(&self.files, note.event_time));
        list.extend(deleted.filter_map(|note| note.deleted(&self.names)));
        if list.is_empty() || self.files.is_empty() {
            return Ok(None);
        }
        replaced::batch(&list).map(Some)
    }

    /// Points that were deleted after an epoch. What was replaced is not among them: the value
    /// that took its place says so.
    pub(super) fn gone_after(&self, epoch: Epoch) -> Vec<Replaced> {
        let mut gone = Vec::new();
        if epoch < self.archived {
            let later = |row: &&Replaced| row.deleted && row.before > epoch.next();
            gone.extend(self.replaced.iter().filter(later).cloned());
        }
        let deleted = self.deleted.iter().filter(|note| note.epoch > epoch);
        gone.extend(deleted.filter_map(|note| note.deleted(&self.names)));
        gone
    }

    /// The hot points in the public schema, or these columns of it, sorted by day, asset, metric
    /// and event time; made batch by batch as they are pulled. Costs a sort of the selected rows
    /// up front.
    pub fn hot(
        &self,
        selection: &Selection,
        projection: Option<Vec<usize>>,
    ) -> impl Iterator<Item = Result<RecordBatch, Error>> + Send + use<> {
        let chunks = self.chunks.clone();
        let mut points = Points::new(chunks, [], &self.names, selection, BATCH_POINTS);
        points.leave_out(&self.deleted);
        std::iter::from_fn(move || {
            let next = points.next_batch()?;
            Some(next.map_err(Error::from).and_then(|(_, batch)| public(&batch, &projection)))
        })
    }
}

/// Unfolds dictionaries and picks columns.
fn public(batch: &RecordBatch, projection: &Option<Vec<usize>>) -> Result<RecordBatch, Error> {
    let schema = match projection {
        Some(columns) => Arc::new(schema().project(columns)?),
        None => schema(),
    };
    let picked = match projection {
        Some(columns) => batch.project(columns)?,
        None => batch.clone(),
    };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for (column, field) in picked.columns().iter().zip(schema.fields()) {
        columns.push(cast(column, field.data_type())?);
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("Telemetry");
        text.field("epoch", &self.epoch).field("files", &self.files).finish_non_exhaustive()
    }
}
