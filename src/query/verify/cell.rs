//! Rows as plain cells, so that both sides of a comparison look alike.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::cmp::Ordering;
use std::fmt;

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Null,
    Text(String),
    Number(f64),
    Int(i64),
    /// Microseconds.
    Time(i64),
    Bool(bool),
}

/// What a column is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    Text,
    Number,
    Int,
    Time,
    Bool,
    /// The contributions to a health score, as [`contributions`] spells them.
    Contributions,
    /// The status of a window, without what telemetry cannot tell.
    Status,
}

/// One row.
pub(super) type Row = Vec<Cell>;

/// A view as it is recomputed: its columns, of which the first ones are the key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub columns: &'static [(&'static str, As)],
    pub key: usize,
}

impl Cell {
    /// A number; null when it is NaN.
    pub(super) fn number(number: f64) -> Self {
        if number.is_nan() { Self::Null } else { Self::Number(number) }
    }

    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn time(time: Option<i64>) -> Self {
        time.map_or(Self::Null, Self::Time)
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Text(_) => 1,
            Self::Number(_) => 2,
            Self::Int(_) => 3,
            Self::Time(_) => 4,
            Self::Bool(_) => 5,
        }
    }
}

impl Ord for Cell {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            // Both zeros are one number.
            (Self::Number(a), Self::Number(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
            (Self::Int(a), Self::Int(b)) | (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Cell {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Cell {}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Time(time) => write!(f, "{}", crate::model::Timestamp(*time)),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// The columns of a batch that a shape asks for, made comparable. The error names what does not
/// fit.
pub(super) fn columns(batch: &RecordBatch, shape: Shape) -> Result<Vec<ArrayRef>, String> {
    let mut columns = Vec::with_capacity(shape.columns.len());
    for (name, kind) in shape.columns {
        let column = batch.column_by_name(name).ok_or_else(|| format!("no column '{name}'"))?;
        let wanted = match kind {
            As::Text | As::Contributions | As::Status => DataType::Utf8,
            As::Number => DataType::Float64,
            As::Int => DataType::Int64,
            As::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            As::Bool => DataType::Boolean,
        };
        columns.push(cast(column, &wanted).map_err(|e| format!("column '{name}': {e}"))?);
    }
    Ok(columns)
}

/// Row `i` of columns that [`columns`] made.
pub(super) fn row(columns: &[ArrayRef], shape: Shape, i: usize) -> Row {
    let cell = |(column, (_, kind)): (&ArrayRef, &(&str, As))| {
        if column.is_null(i) {
            return Cell::Null;
        }
        match kind {
            As::Text => Cell::text(column.as_string::<i32>().value(i)),
            As::Contributions => parsed(column.as_string::<i32>().value(i)),
            As::Status => status(column.as_string::<i32>().value(i)),
            As::Number => Cell::number(column.as_primitive::<Float64Type>().value(i)),
            As::Int => Cell::Int(column.as_primitive::<Int64Type>().value(i)),
            As::Time => Cell::Time(column.as_primitive::<TimestampMicrosecondType>().value(i)),
            As::Bool => Cell::Bool(column.as_boolean().value(i)),
        }
    };
    columns.iter().zip(shape.columns).map(cell).collect()
}

/// Names and points, in order, every digit of them.
pub(super) fn contributions<'a>(parts: impl IntoIterator<Item = (&'a str, f64)>) -> Cell {
    let spelled = parts.into_iter().map(|(rule, points)| format!("{rule}: {points:?}"));
    Cell::Text(spelled.collect::<Vec<_>>().join(", "))
}

/// The contributions of a view, or the text as it is when it holds none.
fn parsed(text: &str) -> Cell {
    #[derive(Deserialize)]
    struct Part<'a> {
        rule: String,
        #[serde(borrow)]
        points: &'a RawValue,
    }
    // Numbers are read from their digits: the JSON parser may miss the nearest float by one.
    let Ok(parts) = serde_json::from_str::<Vec<Part>>(text) else { return Cell::text(text) };
    let points: Result<Vec<f64>, _> = parts.iter().map(|part| part.points.get().parse()).collect();
    match points {
        Ok(points) => contributions(parts.iter().map(|part| part.rule.as_str()).zip(points)),
        Err(_) => Cell::text(text),
    }
}

fn status(text: &str) -> Cell {
    Cell::text(if text == "revised" { "settled" } else { text })
}
