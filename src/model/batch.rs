//! A batch: decoded telemetry of devices, as it enters the log.

use super::value::DataType;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{
    DataType as Arrow, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, UInt32Type,
};
use std::sync::Arc;

/// Column 0: the device's key, `Utf8`, never null.
pub const DEVICE: usize = 0;
/// Column 1: when it happened at the device, `Timestamp(us, UTC)`, never null.
pub const EVENT_TIME: usize = 1;
/// Column 2: the quality of the row's values, `UInt32`, never null.
pub const QUALITY: usize = 2;
/// Column 3: the ordinal of the message in its frame, `UInt32`, never null.
pub const MESSAGE: usize = 3;
/// Columns from here on are metrics, nullable, named by the device's metric.
pub const METRICS_FROM: usize = 4;

/// Rows of device telemetry: one row is one device at one event time, one column is one metric.
///
/// Metric columns are `Float64`, `Int64`, `Boolean` or `Utf8`; null means "not in this message".
/// Floats are finite: decoders refuse NaN and infinities.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    rows: RecordBatch,
}

/// Why a record batch is no [`Batch`].
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A column is missing or of another type.
    #[error("column {column} of a telemetry batch is {found}, expected {expected}")]
    Column {
        /// Position of the column.
        column: usize,
        /// What is there.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
}

impl Batch {
    /// Takes a record batch that has the columns above, in this order.
    pub fn try_new(rows: RecordBatch) -> Result<Self, BatchError> {
        let schema = rows.schema();
        let timestamp = Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fixed = [
            (Arrow::Utf8, "utf8 (device)"),
            (timestamp, "timestamp[us, UTC] (event_time)"),
            (Arrow::UInt32, "uint32 (quality)"),
            (Arrow::UInt32, "uint32 (message)"),
        ];
        for (column, (data_type, expected)) in fixed.into_iter().enumerate() {
            let found = schema.fields().get(column).map(|field| field.data_type().clone());
            let nulls = found.is_some() && rows.column(column).null_count() > 0;
            if found.as_ref() != Some(&data_type) || nulls {
                let found = found.map_or("missing".into(), |found| found.to_string());
                return Err(BatchError::Column { column, found, expected });
            }
        }
        for (column, field) in schema.fields().iter().enumerate().skip(METRICS_FROM) {
            if !matches!(
                field.data_type(),
                Arrow::Float64 | Arrow::Int64 | Arrow::Boolean | Arrow::Utf8
            ) {
                let found = field.data_type().to_string();
                let expected = "float64, int64, boolean or utf8 (a metric)";
                return Err(BatchError::Column { column, found, expected });
            }
        }
        Ok(Self { rows })
    }

    /// The schema of a batch with these metric columns.
    pub fn schema<'a>(metrics: impl IntoIterator<Item = (&'a str, DataType)>) -> SchemaRef {
        let timestamp = Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields = vec![
            Field::new("device", Arrow::Utf8, false),
            Field::new("event_time", timestamp, false),
            Field::new("quality", Arrow::UInt32, false),
            Field::new("message", Arrow::UInt32, false),
        ];
        fields.extend(
            metrics.into_iter().map(|(name, data_type)| Field::new(name, data_type.arrow(), true)),
        );
        Arc::new(Schema::new(fields))
    }

    /// All columns.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The device keys.
    pub fn devices(&self) -> &StringArray {
        self.rows.column(DEVICE).as_string()
    }

    /// The event times in microseconds.
    pub fn event_times(&self) -> &[i64] {
        self.rows.column(EVENT_TIME).as_primitive::<TimestampMicrosecondType>().values()
    }

    /// The qualities of the rows, as codes.
    pub fn qualities(&self) -> &[u32] {
        self.rows.column(QUALITY).as_primitive::<UInt32Type>().values()
    }

    /// The ordinals of the rows' messages in the frame.
    pub fn messages(&self) -> &[u32] {
        self.rows.column(MESSAGE).as_primitive::<UInt32Type>().values()
    }

    /// Names and columns of the metrics.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, &ArrayRef)> {
        let columns = &self.rows.columns()[METRICS_FROM..];
        let fields = &self.rows.schema_ref().fields()[METRICS_FROM..];
        fields.iter().map(|field| field.name().as_str()).zip(columns)
    }

    /// The number of points: metric values that are there.
    pub fn points(&self) -> usize {
        self.metrics().map(|(_, column)| column.len() - column.null_count()).sum()
    }
}
