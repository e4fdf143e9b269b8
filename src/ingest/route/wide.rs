//! Wide rows in the making: one set of column builders for each device type.

use super::directory::Metrics;
use super::message::Typed;
use crate::model::{Batch, DataType};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringBuilder,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::NullBuffer;
use std::sync::Arc;

/// Rows of devices of one type. Cells of any row can be set until [`WideRows::finish`].
pub(super) struct WideRows {
    metrics: Arc<Metrics>,
    devices: StringBuilder,
    event_times: Vec<i64>,
    qualities: Vec<u32>,
    messages: Vec<u32>,
    columns: Vec<Column>,
}

/// The cells of a metric. `set` is as long as the values; rows behind the end are not set.
#[derive(Default)]
struct Column {
    set: Vec<bool>,
    cells: Cells,
}

#[derive(Default)]
enum Cells {
    #[default]
    None,
    Double(Vec<f64>),
    Integer(Vec<i64>),
    Bool(Vec<bool>),
    /// Start and length of each text in one string.
    Text(Vec<(u32, u32)>, String),
}

impl WideRows {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let columns = metrics.types().iter().map(|data_type| Column::new(*data_type)).collect();
        Self {
            metrics,
            // Most bodies have one row; the usual room is for a thousand.
            devices: StringBuilder::with_capacity(1, 32),
            event_times: Vec::new(),
            qualities: Vec::new(),
            messages: Vec::new(),
            columns,
        }
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Starts a row without values and tells its number.
    pub fn push(&mut self, device: &str, event_time: i64, quality: u32, message: u32) -> usize {
        self.devices.append_value(device);
        self.event_times.push(event_time);
        self.qualities.push(quality);
        self.messages.push(message);
        self.event_times.len() - 1
    }

    /// Sets a cell. The value must be of the column's type, as [`super::Scalar::typed`] makes it.
    pub fn set(&mut self, row: usize, column: usize, value: Typed) {
        let column = &mut self.columns[column];
        column.grow(row + 1);
        column.set[row] = true;
        match (&mut column.cells, value) {
            (Cells::Double(cells), Typed::Double(value)) => cells[row] = value,
            (Cells::Integer(cells), Typed::Integer(value)) => cells[row] = value,
            (Cells::Bool(cells), Typed::Bool(value)) => cells[row] = value,
            (Cells::Text(cells, texts), Typed::Text(value)) => {
                cells[row] = (texts.len() as u32, value.len() as u32);
                texts.push_str(value);
            }
            _ => debug_assert!(false, "a value of another type than its column"),
        }
    }

    /// Whether a cell has a value.
    pub fn is_set(&self, row: usize, column: usize) -> bool {
        self.columns[column].set.get(row).copied().unwrap_or(false)
    }

    /// The rows as a batch; `None` when there are none.
    pub fn finish(mut self) -> Option<Batch> {
        let rows = self.event_times.len();
        if rows == 0 {
            return None;
        }
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(self.devices.finish()),
            Arc::new(TimestampMicrosecondArray::from(self.event_times).with_timezone("UTC")),
            Arc::new(UInt32Array::from(self.qualities)),
            Arc::new(UInt32Array::from(self.messages)),
        ];
        arrays.extend(self.columns.into_iter().map(|column| column.finish(rows)));
        let batch = RecordBatch::try_new(Arc::clone(self.metrics.schema()), arrays)
            .expect("columns are built by the schema");
        Some(Batch::try_new(batch).expect("the schema is a batch's schema"))
    }
}

impl Column {
    fn new(data_type: DataType) -> Self {
        let cells = match data_type {
            DataType::Double => Cells::Double(Vec::new()),
            DataType::Integer => Cells::Integer(Vec::new()),
            DataType::Bool => Cells::Bool(Vec::new()),
            DataType::String => Cells::Text(Vec::new(), String::new()),
        };
        Self { set: Vec::new(), cells }
    }

    fn grow(&mut self, rows: usize) {
        if self.set.len() >= rows {
            return;
        }
        self.set.resize(rows, false);
        match &mut self.cells {
            Cells::None => {}
            Cells::Double(cells) => cells.resize(rows, 0.0),
            Cells::Integer(cells) => cells.resize(rows, 0),
            Cells::Bool(cells) => cells.resize(rows, false),
            Cells::Text(cells, _) => cells.resize(rows, (0, 0)),
        }
    }

    fn finish(mut self, rows: usize) -> ArrayRef {
        self.grow(rows);
        let is_full = self.set.iter().all(|is_set| *is_set);
        let nulls = (!is_full).then(|| NullBuffer::from(self.set));
        match self.cells {
            Cells::None => Arc::new(arrow::array::NullArray::new(rows)),
            Cells::Double(cells) => Arc::new(Float64Array::new(cells.into(), nulls)),
            Cells::Integer(cells) => Arc::new(Int64Array::new(cells.into(), nulls)),
            Cells::Bool(cells) => Arc::new(BooleanArray::new(cells.into(), nulls)),
            Cells::Text(cells, texts) => {
                let mut column = StringBuilder::with_capacity(rows, texts.len());
                for (row, (start, length)) in cells.into_iter().enumerate() {
                    let set = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                    let text = &texts[start as usize..(start + length) as usize];
                    column.append_option(set.then_some(text));
                }
                Arc::new(column.finish())
            }
        }
    }
}
