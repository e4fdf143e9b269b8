//! Bodies to routed batches: JSON and Arrow, eight metrics a row. Elements are metric values.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::writer::StreamWriter;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millstream::ingest::format::{arrow as arrow_format, json};
use millstream::ingest::route::{DeviceShape, Directory, Metrics, Provisioned, Router, Settings};
use millstream::model::{DataType, Duration, Timestamp};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

const METRICS: [&str; 8] = ["p_in", "p_out", "flow", "temp", "vib", "current", "level", "position"];
const NOW: i64 = 1_767_225_600_000_000;

/// A plant in which every device has the eight metrics.
struct Plant(Arc<Metrics>);

impl Directory for Plant {
    fn device(&self, _key: &str) -> Option<DeviceShape> {
        Some(DeviceShape { metrics: Arc::clone(&self.0), max_future_skew: Duration(60_000_000) })
    }

    fn provision(&self, _key: &str) -> Option<Provisioned> {
        None
    }
}

fn value(row: usize, metric: usize) -> f64 {
    (row * 31 + metric * 7) as f64 * 0.25 + 0.125
}

/// An array of messages, each of another device.
fn json_body(messages: usize) -> Vec<u8> {
    let mut body = String::from("[");
    for row in 0..messages {
        let comma = if row > 0 { "," } else { "" };
        let time = Timestamp(NOW + row as i64 * 1_000);
        write!(body, r#"{comma}{{"deviceId":"dev-{row:05}","timestamp":"{time}","metrics":{{"#)
            .unwrap();
        for (i, name) in METRICS.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(body, r#"{comma}"{name}":{}"#, value(row, i)).unwrap();
        }
        body.push_str("}}");
    }
    body.push(']');
    body.into_bytes()
}

/// A stream of one wide record batch.
fn arrow_body(rows: usize) -> Vec<u8> {
    let times = (0..rows).map(|row| NOW + row as i64 * 1_000);
    let devices = (0..rows).map(|row| format!("dev-{row:05}"));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("time", Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))),
        ("device", Arc::new(StringArray::from_iter_values(devices))),
    ];
    for (i, name) in METRICS.iter().enumerate() {
        let values = Float64Array::from_iter_values((0..rows).map(|row| value(row, i)));
        columns.push((name, Arc::new(values)));
    }
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn decode(criterion: &mut Criterion) {
    let plant = Plant(Metrics::new(METRICS.map(|name| (name, DataType::Double))));
    let router = || Router::new(&plant, Settings::default(), "bench", Timestamp(NOW + 60_000_000));
    let mut group = criterion.benchmark_group("decode");
    for rows in [1, 100, 10_000] {
        group.throughput(Throughput::Elements((rows * METRICS.len()) as u64));
        let body = json_body(rows);
        group.bench_function(format!("json/{rows}"), |bencher| {
            let decode = |mut router: Router| {
                json::decode(black_box(&body), json::Framing::Detect, None, &mut router);
                let routed = router.finish();
                assert_eq!(routed.points, rows * METRICS.len());
                routed
            };
            bencher.iter_batched(router, decode, BatchSize::SmallInput);
        });
        let body = arrow_body(rows);
        group.bench_function(format!("arrow/{rows}"), |bencher| {
            let decode = |mut router: Router| {
                arrow_format::decode(black_box(&body), &mut router).unwrap();
                let routed = router.finish();
                assert_eq!(routed.points, rows * METRICS.len());
                routed
            };
            bencher.iter_batched(router, decode, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
