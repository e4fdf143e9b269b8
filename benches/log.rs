//! The log on a real disk: append and fdatasync of frames, and group commit.
//!
//! Each sample has a directory of its own, which goes afterwards. `TMPDIR` chooses the disk.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream::base::clock::SystemClock;
use millstream::base::fs::{Fs, RealFs};
use millstream::ingest::commit::{Committer, Limits, Submission};
use millstream::log::{Log, Options};
use millstream::model::{Batch, DataType, Epoch, Frame, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};

const METRICS: [&str; 8] = ["p_in", "p_out", "flow", "temp", "vib", "current", "level", "position"];

fn batch(rows: usize) -> Batch {
    let devices = (0..rows).map(|row| format!("dev-{row:05}"));
    let times = (0..rows).map(|row| 1_767_225_600_000_000 + row as i64 * 1_000);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(devices)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(UInt32Array::from(vec![0; rows])),
        Arc::new(UInt32Array::from(vec![0; rows])),
    ];
    for metric in 0..METRICS.len() {
        let values = (0..rows).map(|row| (row * 31 + metric * 7) as f64 * 0.25);
        columns.push(Arc::new(Float64Array::from_iter_values(values)));
    }
    let schema = Batch::schema(METRICS.map(|name| (name, DataType::Double)));
    Batch::try_new(RecordBatch::try_new(schema, columns).unwrap()).unwrap()
}

fn open(directory: &std::path::Path) -> Log {
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    Log::open(fs, directory, Options::default()).unwrap()
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append and sync");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    for rows in [1, 100, 10_000] {
        group.throughput(Throughput::Elements((rows * METRICS.len()) as u64));
        let mut frame = Frame {
            epoch: Epoch(1),
            tick: Timestamp(0),
            documents: Vec::new(),
            batches: vec![batch(rows)],
            dead_letters: Vec::new(),
            edits: Vec::new(),
            pages: Vec::new(),
            expiry: None,
        };
        group.bench_function(format!("{rows} rows"), |bencher| {
            bencher.iter_custom(|frames| {
                let directory = tempfile::tempdir().unwrap();
                let mut log = open(directory.path());
                let begun = Instant::now();
                for _ in 0..frames {
                    frame.epoch.0 += 1;
                    log.append(&frame).unwrap();
                    log.sync().unwrap();
                }
                begun.elapsed()
            });
        });
    }
    group.finish();
}

/// Submissions of one row, so many on their way at a time. Elements are submissions.
fn group_commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("group commit");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    let submission = Submission { batches: vec![batch(1)], messages: 1, ..Submission::default() };
    for in_flight in [1, 64, 1_024] {
        group.throughput(Throughput::Elements(in_flight as u64));
        group.bench_function(format!("{in_flight} in flight"), |bencher| {
            bencher.iter_custom(|rounds| {
                let directory = tempfile::tempdir().unwrap();
                let (sender, frames) = crossbeam_channel::bounded(64);
                let reader = std::thread::spawn(move || frames.into_iter().count());
                let limits = Limits { ticks: None, ..Limits::default() };
                let assign = Box::new(|_, _| Ok(None));
                let log = open(directory.path());
                let (committer, thread) =
                    Committer::start(log, assign, Arc::new(SystemClock), sender, limits).unwrap();
                let begun = Instant::now();
                for _ in 0..rounds {
                    let answers: Vec<_> = (0..in_flight)
                        .map(|_| committer.enqueue_blocking(submission.clone()).unwrap())
                        .collect();
                    for answer in answers {
                        answer.blocking_recv().unwrap().unwrap();
                    }
                }
                let elapsed = begun.elapsed();
                committer.close();
                drop(thread.join().unwrap());
                reader.join().unwrap();
                elapsed
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append, group_commit);
criterion_main!(benches);
