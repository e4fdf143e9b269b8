//! A recording larger than the memory that its replay takes.

use crate::support::*;
use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use std::fs;
use std::io::BufWriter;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

const PROBE: &str = "apiVersion: assets/v1
kind: AssetTypeProfile
metadata: {key: probe}
time: {hot_horizon: PT1M}
metric_definitions:
  level: {}
transformation_engine:
  language: jsonata
  mappings: [{target: level, source: LEVEL}]
";
const BOX: &str = "apiVersion: devices/v1
kind: DeviceTypeProfile
metadata: {key: box}
identity: {id_pattern: '^B-(\\d+)$', provision: {asset_type: probe, asset: 'probe-$1'}}
extraction_rules: [{metric: LEVEL, type: double}]
";
const BATCHES: usize = 100;
const ROWS: usize = 8_192;
/// Digits behind the point: what makes the file large says little.
const DIGITS: usize = 800;

/// Four devices, a hundred points a second each.
fn record(path: &Path) -> u64 {
    let schema = Schema::new(vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("device", DataType::Utf8, false),
        Field::new("metric", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ]);
    let schema = Arc::new(schema);
    let file = BufWriter::with_capacity(1 << 20, fs::File::create(path).unwrap());
    let mut writer = StreamWriter::try_new(file, &schema).unwrap();
    for number in 0..BATCHES {
        let rows = number * ROWS..(number + 1) * ROWS;
        let time = |row: usize| BASE * 1_000_000 + (row / 4) as i64 * 10_000;
        let times = rows.clone().map(time).collect::<Vec<_>>();
        let devices = rows.clone().map(|row| format!("B-{}", row % 4));
        let values = rows.clone().map(|row| format!("{}.{:0<DIGITS$}", row % 1_000, row % 97));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(times)),
            Arc::new(StringArray::from_iter_values(devices)),
            Arc::new(StringArray::from(vec!["LEVEL"; ROWS])),
            Arc::new(StringArray::from_iter_values(values)),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        writer.write(&batch).unwrap();
    }
    writer.finish().unwrap();
    fs::metadata(path).unwrap().len()
}

/// The most memory that a process has had so far, in bytes; `None` when it has ended.
pub fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes << 10)
}

#[test]
fn a_recording_larger_than_memory_streams_through() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = directory.path().join("catalog");
    for (folder, text) in [("asset_types", PROBE), ("device_types", BOX)] {
        fs::create_dir_all(catalog.join(folder)).unwrap();
        fs::write(catalog.join(folder).join("all.yaml"), text).unwrap();
    }
    let file = directory.path().join("large.arrows");
    let length = record(&file);
    let data = directory.path().join("data");
    let args = ["replay", text(&file), "--data", text(&data), "--catalog", text(&catalog)];
    let mut child =
        program().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut most = 0;
    while let Some(now) = peak(child.id()) {
        most = now;
        std::thread::sleep(std::time::Duration::from_millis(5));
        if child.try_wait().unwrap().is_some() {
            break;
        }
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let points = BATCHES * ROWS;
    assert!(said.contains(&format!("{points} points")) && said.contains("0 refused"), "{said}");
    println!("a file of {} MiB in {} MiB of memory", length >> 20, most >> 20);
    assert!(most < length / 2, "{most} bytes of memory for a file of {length} bytes");
    let counted = run(&[
        "sql",
        "select count(*) as points from telemetry",
        "--format",
        "csv",
        "--data",
        text(&data),
    ]);
    assert_eq!(counted.expect(0).out.trim(), format!("points\n{points}"));
}
