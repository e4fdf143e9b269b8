//! The columns of `telemetry`, as readers see them and as files are written.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::{Arc, LazyLock};

/// A page is decoded for the sake of a few points: small ones cost space, large ones cost whoever
/// reads one asset.
pub(super) const PAGE_POINTS: usize = 8 * 1024;

/// Positions of columns.
pub(super) const EVENT_TIME: usize = 0;
pub(super) const ASSET: usize = 1;
pub(super) const DEVICE: usize = 2;
pub(super) const METRIC: usize = 3;
pub(super) const VALUE: usize = 4;
pub(super) const TEXT: usize = 5;
pub(super) const QUALITY: usize = 6;
pub(super) const EPOCH: usize = 7;

static PUBLIC: LazyLock<SchemaRef> = LazyLock::new(|| columns(&DataType::Utf8));
static WRITTEN: LazyLock<SchemaRef> = LazyLock::new(|| columns(&dictionary()));

/// The public columns: `event_time, asset, device, metric, value, text, quality, epoch`.
///
/// `value` holds numbers (integers converted, bools as 1 and 0) and is null for strings, which
/// are in `text`. `quality` is an OPC UA status code. There is one row for each asset, metric and
/// event time: the newest.
pub fn schema() -> SchemaRef {
    Arc::clone(&PUBLIC)
}

/// The same columns with dictionaries for texts, which cost no string a row to build.
pub(super) fn written() -> SchemaRef {
    Arc::clone(&WRITTEN)
}

/// The type of a text column while it is built.
pub(super) fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn columns(text: &DataType) -> SchemaRef {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("event_time", timestamp, false),
        Field::new("asset", text.clone(), false),
        Field::new("device", text.clone(), false),
        Field::new("metric", text.clone(), false),
        Field::new("value", DataType::Float64, true),
        Field::new("text", text.clone(), true),
        Field::new("quality", DataType::UInt32, false),
        Field::new("epoch", DataType::UInt64, false),
    ]))
}
