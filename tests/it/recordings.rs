//! One small recording in all the forms that a file can have.

use crate::support::BASE;
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampSecondArray,
};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// A row of the small recording: seconds, device, and its metrics.
pub struct Row {
    pub seconds: i64,
    pub device: &'static str,
    temperature: Option<f64>,
    flow: Option<f64>,
    starts: Option<i64>,
    state: Option<&'static str>,
}

impl Row {
    /// The row as a message of its device.
    pub fn message(&self) -> Value {
        json!({
            "deviceId": self.device,
            "timestamp": self.seconds,
            "metrics": {
                "TEMP": self.temperature,
                "FLOW": self.flow,
                "STARTS": self.starts,
                "STATE": self.state,
            },
        })
    }
}

/// Ten minutes of two pumps, in order of time.
pub fn recording() -> Vec<Row> {
    let mut rows = Vec::new();
    for step in 0..120_i64 {
        for device in ["PUMP-1", "PUMP-2"] {
            let heat = (step * if device == "PUMP-1" { 3 } else { 5 }) % 60;
            rows.push(Row {
                seconds: BASE + step * 5,
                device,
                temperature: (step % 7 != 3).then_some(45.25 + heat as f64),
                flow: (step % 2 == 0).then_some(step as f64 * 12.5),
                starts: (step % 10 == 0).then_some(step / 40),
                state: (step % 30 == 0).then_some(if step == 60 { "tripped" } else { "running" }),
            });
        }
    }
    rows.retain(|row| row.temperature.is_some() || row.flow.is_some());
    rows
}

pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
}

/// A column for each metric.
pub fn wide(
    rows: &[Row],
    names: [&str; 2],
    time: impl Fn(i64) -> i64,
    array: impl Fn(Vec<i64>) -> ArrayRef,
) -> RecordBatch {
    let times = rows.iter().map(|row| time(row.seconds)).collect();
    batch(vec![
        (names[0], array(times)),
        (names[1], Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.device)))),
        ("TEMP", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.temperature)))),
        ("FLOW", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.flow)))),
        ("STARTS", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.starts)))),
        ("STATE", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.state)))),
    ])
}

/// A row for each point; values as texts, because states are.
pub fn narrow(rows: &[Row]) -> RecordBatch {
    let mut times = Vec::new();
    let [mut devices, mut metrics, mut values] = [Vec::new(), Vec::new(), Vec::new()];
    for row in rows {
        let points = [
            ("TEMP", row.temperature.map(|value| value.to_string())),
            ("FLOW", row.flow.map(|value| value.to_string())),
            ("STARTS", row.starts.map(|value| value.to_string())),
            ("STATE", row.state.map(str::to_owned)),
        ];
        for (metric, value) in points {
            let Some(value) = value else { continue };
            times.push(row.seconds);
            devices.push(row.device.to_owned());
            metrics.push(metric.to_owned());
            values.push(value);
        }
    }
    let texts = |texts: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    batch(vec![
        ("Timestamp", Arc::new(TimestampSecondArray::from(times))),
        ("Sensor ID", texts(devices)),
        ("metric", texts(metrics)),
        ("value", texts(values)),
    ])
}

pub fn csv(batch: &RecordBatch, path: &Path, delimiter: u8) {
    let file = File::create(path).expect("a file");
    let mut writer = arrow::csv::WriterBuilder::new().with_delimiter(delimiter).build(file);
    writer.write(batch).expect("rows");
}

pub fn arrow_file(batch: &RecordBatch, path: &Path) {
    let mut writer = FileWriter::try_new(File::create(path).expect("a file"), &batch.schema())
        .expect("a writer");
    writer.write(batch).expect("rows");
    writer.finish().expect("a file");
}

pub fn arrow_stream(batch: &RecordBatch, path: &Path) {
    let mut writer = StreamWriter::try_new(File::create(path).expect("a file"), &batch.schema())
        .expect("a writer");
    writer.write(batch).expect("rows");
    writer.finish().expect("a file");
}

pub fn parquet(batch: &RecordBatch, path: &Path) {
    let mut writer =
        ArrowWriter::try_new(File::create(path).expect("a file"), batch.schema(), None)
            .expect("a writer");
    writer.write(batch).expect("rows");
    writer.close().expect("a file");
}
