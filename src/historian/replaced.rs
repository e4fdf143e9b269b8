//! Points in files that a newer value has replaced, or that were deleted: readers leave them out.

use super::chunk::Note;
use super::durable::{self, Sum};
use super::error::Error;
use super::names::Names;
use crate::base::fs::Fs;
use crate::model::Epoch;
use arrow::array::{
    AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// One replaced point.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Replaced {
    pub asset: Arc<str>,
    pub metric: Arc<str>,
    pub event_time: i64,
    /// Values of this key that are older than this epoch do not count.
    pub before: Epoch,
    /// Whether they were deleted at the epoch before. Otherwise a value of this epoch took their
    /// place.
    pub deleted: bool,
}

impl Note {
    /// The key by its names, whose values from before the note's epoch do not count.
    pub(super) fn superseded(&self, names: &Names) -> Option<Replaced> {
        self.replaced(names, self.epoch, false)
    }

    /// The key by its names, whose values up to and with the note's epoch do not count.
    pub(super) fn deleted(&self, names: &Names) -> Option<Replaced> {
        self.replaced(names, self.epoch.next(), true)
    }

    fn replaced(&self, names: &Names, before: Epoch, deleted: bool) -> Option<Replaced> {
        let asset = Arc::clone(names.asset(self.asset)?);
        let metric = Arc::clone(names.metric(self.metric));
        Some(Replaced { asset, metric, event_time: self.event_time, before, deleted })
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("asset", DataType::Utf8, false),
        Field::new("metric", DataType::Utf8, false),
        Field::new("event_time", timestamp, false),
        Field::new("before_epoch", DataType::UInt64, false),
        Field::new("deleted", DataType::Boolean, false),
    ]))
});

/// The list as columns `asset, metric, event_time, before_epoch, deleted`.
pub(super) fn batch(list: &[Replaced]) -> Result<RecordBatch, Error> {
    let assets = list.iter().map(|row| row.asset.as_ref());
    let metrics = list.iter().map(|row| row.metric.as_ref());
    let times = list.iter().map(|row| row.event_time);
    let epochs = list.iter().map(|row| row.before.0);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let deleted: Vec<bool> = list.iter().map(|row| row.deleted).collect();
    Ok(RecordBatch::try_new(
        Arc::clone(&SCHEMA),
        vec![
            Arc::new(StringArray::from_iter_values(assets)),
            Arc::new(StringArray::from_iter_values(metrics)),
            Arc::new(times),
            Arc::new(UInt64Array::from_iter_values(epochs)),
            Arc::new(BooleanArray::from(deleted)),
        ],
    )?)
}

/// Writes the list durably, and says what the file is.
pub(super) fn write(fs: &Arc<dyn Fs>, path: &Path, list: &[Replaced]) -> Result<Sum, Error> {
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &SCHEMA)?;
    writer.write(&batch(list)?)?;
    writer.finish()?;
    drop(writer);
    durable::replace(fs, path, &bytes)
}

/// Reads a list that was written as `sum` says, and sorts it.
///
/// Lists of archives of format version 2 do not say what was deleted. Their entries are taken for
/// deletions: what replaced the older values is there, so that nothing is missing for it.
pub(super) fn read(fs: &dyn Fs, path: &Path, sum: Sum) -> Result<Vec<Replaced>, Error> {
    let bytes = durable::read(fs, path)?;
    let found = Sum { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
    if found != sum {
        return Err(Error::Damaged { path: path.into() });
    }
    let mut list = Vec::new();
    for batch in FileReader::try_new(Cursor::new(bytes), None)? {
        let batch = batch?;
        let assets = batch.column(0).as_string::<i32>();
        let metrics = batch.column(1).as_string::<i32>();
        let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        let epochs = batch.column(3).as_primitive::<UInt64Type>();
        let deleted = batch.columns().get(4).map(|column| column.as_boolean());
        for i in 0..batch.num_rows() {
            // The list is sorted: most entries have the names of the one before.
            let before: Option<&Replaced> = list.last();
            let same = |known: Option<&Arc<str>>, name: &str| match known {
                Some(known) if **known == *name => Arc::clone(known),
                _ => name.into(),
            };
            list.push(Replaced {
                asset: same(before.map(|row| &row.asset), assets.value(i)),
                metric: same(before.map(|row| &row.metric), metrics.value(i)),
                event_time: times.value(i),
                before: Epoch(epochs.value(i)),
                deleted: deleted.is_none_or(|deleted| deleted.value(i)),
            });
        }
    }
    list.sort();
    Ok(list)
}
