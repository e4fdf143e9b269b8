//! Which column is what.

use super::{narrow, wide};
use crate::ingest::route::Router;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};

/// Names of the column of event times, best first.
const TIME: [&str; 8] =
    ["eventtime", "time", "timestamp", "ts", "datetime", "date", "timeutc", "timeus"];
/// Names of the column of devices, best first.
const DEVICE: [&str; 15] = [
    "device",
    "deviceid",
    "devicekey",
    "devicename",
    "asset",
    "assetid",
    "assetkey",
    "well",
    "wellid",
    "wellname",
    "machine",
    "machineid",
    "sensorid",
    "sensor",
    "source",
];
/// Names of the column of metric names, best first.
const METRIC: [&str; 8] =
    ["metric", "metricname", "signal", "measurement", "parameter", "tag", "variable", "channel"];
/// Names of the column of values, best first.
const VALUE: [&str; 4] = ["value", "val", "reading", "metricvalue"];
/// Names of the column of qualities.
const QUALITY: [&str; 2] = ["quality", "qualitycode"];
/// Errors name at most this many of the columns that are there.
const NAMED_COLUMNS_MAX: usize = 20;

/// Why a batch's columns cannot be telemetry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No column is called like event times.
    #[error(
        "no time column: found columns {found}; expected one of time, ts, timestamp, event_time, datetime, date"
    )]
    NoTime {
        /// The columns that are there.
        found: String,
    },
    /// No column is called like devices.
    #[error(
        "no device column: found columns {found}; expected one of device, device_id, asset, well, machine, sensor, sensor_id, source"
    )]
    NoDevice {
        /// The columns that are there.
        found: String,
    },
    /// There is nothing beside time and device.
    #[error(
        "no metric columns: found only {found}; expected metric and value, or a column for each metric"
    )]
    NoMetrics {
        /// The columns that are there.
        found: String,
    },
    /// A column's type cannot be read.
    #[error("column '{column}' is of type {found}, expected {expected}")]
    Type {
        /// The column's name.
        column: String,
        /// Its type.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A kernel failed where types had been checked: memory or overflow.
    #[error("column '{column}' cannot be converted: {message}")]
    Convert {
        /// The column's name.
        column: String,
        /// What the kernel says.
        message: String,
    },
}

/// The two forms of telemetry in columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A row is a point.
    Narrow,
    /// A row is a device at a time.
    Wide,
}

/// Which columns of a schema are what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    pub(super) time: usize,
    pub(super) device: usize,
    pub(super) quality: Option<usize>,
    pub(super) metrics: Metrics,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Metrics {
    Narrow { metric: usize, value: usize },
    Wide(Vec<usize>),
}

impl Columns {
    /// Tells the columns apart by name and checks the types of time and device.
    pub fn detect(schema: &Schema) -> Result<Self, Error> {
        let names: Vec<String> = schema.fields().iter().map(|f| plain(f.name())).collect();
        let find = |wanted: &[&str]| {
            wanted.iter().find_map(|wanted| names.iter().position(|name| name == wanted))
        };
        let found = || {
            let all = schema.fields();
            let mut found: Vec<&str> =
                all.iter().take(NAMED_COLUMNS_MAX).map(|field| field.name().as_str()).collect();
            if all.len() > found.len() {
                found.push("...");
            }
            found.join(", ")
        };
        let time = find(&TIME).ok_or_else(|| Error::NoTime { found: found() })?;
        let device = find(&DEVICE).ok_or_else(|| Error::NoDevice { found: found() })?;
        let quality = find(&QUALITY);
        let field = schema.field(time);
        if !super::times::readable(field.data_type()) {
            return Err(wrong_type(field, "a timestamp, a date, an epoch number or a text"));
        }
        let field = schema.field(device);
        if !is_text(field.data_type()) && !plain_type(field.data_type()).is_integer() {
            return Err(wrong_type(field, "a text or an integer"));
        }
        let narrow = find(&METRIC).zip(find(&VALUE));
        let metrics = match narrow.filter(|(metric, _)| is_text(schema.field(*metric).data_type()))
        {
            Some((metric, value)) => Metrics::Narrow { metric, value },
            None => {
                let taken = |column: &usize| {
                    *column != time && *column != device && Some(*column) != quality
                };
                let metrics: Vec<usize> = (0..names.len()).filter(taken).collect();
                if metrics.is_empty() {
                    return Err(Error::NoMetrics { found: found() });
                }
                Metrics::Wide(metrics)
            }
        };
        Ok(Self { time, device, quality, metrics })
    }

    /// Narrow or wide.
    pub fn form(&self) -> Form {
        match self.metrics {
            Metrics::Narrow { .. } => Form::Narrow,
            Metrics::Wide(_) => Form::Wide,
        }
    }

    /// The position of the column of event times.
    pub fn time(&self) -> usize {
        self.time
    }

    /// Routes the rows of a batch of the schema that was detected. Rows, columns and values that
    /// cannot be taken go to the dead letters, one for each kind of fault and batch.
    pub fn route(&self, batch: &RecordBatch, router: &mut Router) -> Result<(), Error> {
        match &self.metrics {
            Metrics::Narrow { metric, value } => {
                narrow::route(self, *metric, *value, batch, router)
            }
            Metrics::Wide(metrics) => wide::route(self, metrics, batch, router),
        }
    }
}

fn wrong_type(field: &arrow::datatypes::Field, expected: &'static str) -> Error {
    let found = field.data_type().to_string();
    Error::Type { column: field.name().clone(), found, expected }
}

/// A name without case, blanks and punctuation.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The type of the values, dictionaries looked through.
pub(super) fn plain_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// Whether values of the type are texts.
pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(plain_type(data_type), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}
