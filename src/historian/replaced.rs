//! Points in files that a newer value has replaced, or that were deleted: readers leave them out.

use super::chunk::Note;
use super::durable::{self, Sum};
use super::error::Error;
use super::names::Names;
use crate::base::fs::Fs;
use crate::model::Epoch;
use arrow::array::{AsArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
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
}

impl Note {
    /// The key by its names, of which values from before an epoch do not count.
    pub(super) fn replaced(&self, names: &Names, before: Epoch) -> Option<Replaced> {
        Some(Replaced {
            asset: Arc::clone(names.asset(self.asset)?),
            metric: Arc::clone(names.metric(self.metric)),
            event_time: self.event_time,
            before,
        })
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("asset", DataType::Utf8, false),
        Field::new("metric", DataType::Utf8, false),
        Field::new("event_time", timestamp, false),
        Field::new("before_epoch", DataType::UInt64, false),
    ]))
});

/// The list as columns `asset, metric, event_time, before_epoch`.
pub(super) fn batch(list: &[Replaced]) -> Result<RecordBatch, Error> {
    let assets = list.iter().map(|row| row.asset.as_ref());
    let metrics = list.iter().map(|row| row.metric.as_ref());
    let times = list.iter().map(|row| row.event_time);
    let epochs = list.iter().map(|row| row.before.0);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    Ok(RecordBatch::try_new(
        Arc::clone(&SCHEMA),
        vec![
            Arc::new(StringArray::from_iter_values(assets)),
            Arc::new(StringArray::from_iter_values(metrics)),
            Arc::new(times),
            Arc::new(UInt64Array::from_iter_values(epochs)),
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

/// Reads a list that was written as `sum` says.
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
        for i in 0..batch.num_rows() {
            list.push(Replaced {
                asset: assets.value(i).into(),
                metric: metrics.value(i).into(),
                event_time: times.value(i),
                before: Epoch(epochs.value(i)),
            });
        }
    }
    Ok(list)
}
