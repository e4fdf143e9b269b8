//! The rows of answers.

use super::point::Point;
use crate::model::Quality;
use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::Result;
use std::sync::{Arc, LazyLock};

/// One metric of one asset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub asset: String,
    pub metric: String,
}

/// Where a value comes from: the historian's bits of a status code (OPC 10000-13, 5.3.3), in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A point that is there.
    Raw,
    /// Computed of the points around it.
    Interpolated,
    /// Behind the newest point: the last value goes on.
    Extrapolated,
    /// There is no value.
    Missing,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Interpolated => "interpolated",
            Self::Extrapolated => "extrapolated",
            Self::Missing => "missing",
        }
    }
}

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub point: Point,
    pub origin: Origin,
}

impl Told {
    pub fn raw(point: Point) -> Self {
        Self { point, origin: Origin::Raw }
    }

    /// No value at a time.
    pub fn missing(time: i64, quality: Quality) -> Self {
        let point = Point { time, value: None, text: None, quality };
        Self { point, origin: Origin::Missing }
    }
}

/// An interval of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summed {
    pub start: i64,
    pub count: u64,
    pub mean: Option<f64>,
    pub time_mean: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub first: Option<f64>,
    pub last: Option<f64>,
    pub text: Option<Box<str>>,
    pub percent_good: f64,
    pub quality: Quality,
}

/// Rows of one kind.
pub(super) trait Row: Send + Sized + 'static {
    fn schema() -> SchemaRef;
    fn columns(rows: &[Self]) -> Vec<ArrayRef>;
}

static VALUES: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("value", DataType::Float64, true),
        ("text", DataType::Utf8, true),
        ("quality", DataType::UInt32, false),
        ("origin", DataType::Utf8, false),
    ])
});

static SUMMARIES: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("count", DataType::UInt64, false),
        ("mean", DataType::Float64, true),
        ("time_mean", DataType::Float64, true),
        ("min", DataType::Float64, true),
        ("max", DataType::Float64, true),
        ("first", DataType::Float64, true),
        ("last", DataType::Float64, true),
        ("text", DataType::Utf8, true),
        ("percent_good", DataType::Float64, false),
        ("quality", DataType::UInt32, false),
    ])
});

/// The type of times.
pub(super) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema(columns: &[(&str, DataType, bool)]) -> SchemaRef {
    let own = columns.iter().map(|(name, of, null)| Field::new(*name, of.clone(), *null));
    let keys = [("asset", DataType::Utf8), ("metric", DataType::Utf8), ("event_time", instant())];
    let keys = keys.map(|(name, of)| Field::new(name, of, false));
    Arc::new(Schema::new(keys.into_iter().chain(own).collect::<Vec<_>>()))
}

/// Rows of a series as a batch.
pub(super) fn batch<R: Row>(series: &Series, rows: &[R]) -> Result<RecordBatch> {
    let same = |text: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows.len())))
    };
    let mut columns = vec![same(&series.asset), same(&series.metric)];
    columns.extend(R::columns(rows));
    Ok(RecordBatch::try_new(R::schema(), columns)?)
}

fn times<R>(rows: &[R], time: impl Fn(&R) -> i64) -> ArrayRef {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(time));
    Arc::new(times.with_data_type(instant()))
}

fn numbers<R>(rows: &[R], number: impl Fn(&R) -> Option<f64>) -> ArrayRef {
    Arc::new(rows.iter().map(number).collect::<Float64Array>())
}

fn texts<'a, R>(rows: &'a [R], text: impl Fn(&'a R) -> Option<&'a str>) -> ArrayRef {
    Arc::new(rows.iter().map(text).collect::<StringArray>())
}

fn qualities<R>(rows: &[R], quality: impl Fn(&R) -> Quality) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| quality(row).0)))
}

impl Row for Told {
    fn schema() -> SchemaRef {
        Arc::clone(&VALUES)
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            times(rows, |row| row.point.time),
            numbers(rows, |row| row.point.value),
            texts(rows, |row| row.point.text.as_deref()),
            qualities(rows, |row| row.point.quality),
            texts(rows, |row| Some(row.origin.name())),
        ]
    }
}

impl Row for Summed {
    fn schema() -> SchemaRef {
        Arc::clone(&SUMMARIES)
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            times(rows, |row| row.start),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.count))),
            numbers(rows, |row| row.mean),
            numbers(rows, |row| row.time_mean),
            numbers(rows, |row| row.min),
            numbers(rows, |row| row.max),
            numbers(rows, |row| row.first),
            numbers(rows, |row| row.last),
            texts(rows, |row| row.text.as_deref()),
            numbers(rows, |row| Some(row.percent_good)),
            qualities(rows, |row| row.quality),
        ]
    }
}
