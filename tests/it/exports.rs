//! Parquet files as rows of text, so that exports can be compared.

use arrow::array::RecordBatch;
use arrow::json::writer::{JsonArray, WriterBuilder};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

/// Rows as JSON objects, nulls included.
pub fn rows(batches: &[RecordBatch]) -> Vec<Value> {
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>()).expect("rows");
    writer.finish().expect("rows");
    let bytes = writer.into_inner();
    if bytes.is_empty() { Vec::new() } else { serde_json::from_slice(&bytes).expect("JSON") }
}

/// The rows of a Parquet file.
pub fn parquet(path: &Path) -> Vec<Value> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let reader = reader.build().expect("Parquet");
    rows(&reader.collect::<Result<Vec<_>, _>>().expect("rows"))
}

/// All views of an export: names, and sorted rows.
pub fn read(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let mut views = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("an export").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = name.strip_suffix(".parquet").expect("a Parquet file").to_owned();
        let mut rows: Vec<String> = parquet(&entry.path()).iter().map(Value::to_string).collect();
        rows.sort();
        views.insert(name, rows);
    }
    views
}

/// Rows of a view without what depends on which points became visible together: whether a window
/// that is settled was revised, and how often.
pub fn settled(rows: impl IntoIterator<Item = String>) -> Vec<String> {
    let without = |row: String| {
        if !row.contains("\"revision\"") {
            return row;
        }
        let mut row: Value = serde_json::from_str(&row).expect("JSON");
        row["revision"] = Value::Null;
        if row["status"] == "revised" {
            row["status"] = "settled".into();
        }
        row.to_string()
    };
    let mut rows: Vec<String> = rows.into_iter().map(without).collect();
    rows.sort();
    rows
}

/// Panics with the first rows that differ.
#[track_caller]
pub fn assert_same(
    left: &BTreeMap<String, Vec<String>>,
    right: &BTreeMap<String, Vec<String>>,
    what: &str,
) {
    assert!(left.keys().eq(right.keys()), "{what}: {:?} and {:?}", left.keys(), right.keys());
    for (view, rows) in left {
        let others = &right[view];
        let differs = rows.iter().zip(others).find(|(row, other)| row != other);
        assert!(differs.is_none(), "{what}: {view}: {differs:#?}");
        let longer = if rows.len() > others.len() { rows } else { others };
        let more = longer.get(rows.len().min(others.len()));
        assert!(
            more.is_none(),
            "{what}: {view}: one has {} rows, one has {}: {more:#?}",
            rows.len(),
            others.len()
        );
    }
}
