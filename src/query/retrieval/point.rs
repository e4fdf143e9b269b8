//! Points as the plans bring them.

use crate::model::Quality;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType, UInt32Type};
use datafusion::common::Result;

/// A point of one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub time: i64,
    pub value: Option<f64>,
    pub text: Option<Box<str>>,
    pub quality: Quality,
}

/// The columns of points, in this order.
pub(super) const COLUMNS: [&str; 4] = ["event_time", "value", "text", "quality"];

/// Which points enter computations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usable {
    pub uncertain_is_bad: bool,
}

impl Usable {
    /// Qualities below this one are usable: those that are worse have greater codes.
    pub fn below(self) -> Quality {
        if self.uncertain_is_bad { Quality::UNCERTAIN } else { Quality::BAD }
    }

    pub fn is(self, point: &Point) -> bool {
        point.quality < self.below()
    }
}

/// What is next to a range on one side of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Nearest {
    /// The nearest point.
    pub any: Option<Point>,
    /// The nearest usable one.
    pub usable: Option<Point>,
}

/// What is next to a range: before its start, and at its end or behind.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    pub before: Nearest,
    pub after: Nearest,
}

/// The points of a batch with [`COLUMNS`].
pub(super) fn points(batch: &RecordBatch) -> Result<Vec<Point>> {
    let texts = cast(batch.column(2), &DataType::Utf8)?;
    let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    let values = batch.column(1).as_primitive::<Float64Type>();
    let texts = texts.as_string::<i32>();
    let qualities = batch.column(3).as_primitive::<UInt32Type>();
    let point = |row: usize| Point {
        time: times.value(row),
        value: values.is_valid(row).then(|| values.value(row)),
        text: texts.is_valid(row).then(|| texts.value(row).into()),
        quality: Quality(qualities.value(row)),
    };
    Ok((0..batch.num_rows()).map(point).collect())
}
