//! The full street: an Arrow file -> route -> log (fdatasync) -> graph -> views, and the archive.
//!
//! Prints points/s of a replay at full speed, the time from handing in a tick to all of its
//! changes being visible, CPU time and peak memory. With `MILLSTREAM_WORKLOAD` naming the workload
//! and `MILLSTREAM_BASELINE` a single-threaded program that takes `--data DIR --mode tick`, runs
//! both in turns and prints the ratios.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

#[path = "support/workload.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod workload;
#[path = "support/yardstick.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod yardstick;

use millstream::app::{Feed, Runtime, Settings, publish_folder};
use millstream::ingest::commit::Submission;
use millstream::ingest::file::{Replay, Settings as Files};
use millstream::model::{Batch, Duration as Span};
use millstream::replay::Speed;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use yardstick::Cost;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;

fn main() {
    let batches = workload::batches();
    let points: usize = batches.iter().map(Batch::points).sum();
    println!("{} ticks, {points} points", batches.len());
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &batches);

    let mut runs = Vec::new();
    for round in 0..ROUNDS {
        let beside = yardstick::yardstick();
        let cost = replay(&folder.path().join(format!("data-{round}")), &file);
        let rate = points as f64 / cost.wall.as_secs_f64() / 1e6;
        let cpu = cost.cpu.as_secs_f64();
        println!("replay: {rate:.2} M points/s, {cpu:.2} s CPU{}", cost.beside(beside));
        runs.push(rate);
    }
    runs.sort_by(f64::total_cmp);
    println!("median {:.2} M points/s", runs[ROUNDS / 2]);
    let (p50, p99) = latency(&folder.path().join("ticks"), batches);
    println!(
        "tick, durable and visible: p50 {:.1} ms, p99 {:.1} ms",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3
    );
    idle(&folder.path().join("idle"));
    println!("peak memory, input included: {} MB", yardstick::peak_bytes() / 1_000_000);
}

fn open(data: &Path) -> Runtime {
    open_with(data, false)
}

/// With a clock that ticks, or without.
fn open_with(data: &Path, live: bool) -> Runtime {
    let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/asset_telemetry");
    let settings = Settings { live, ..Settings::new(data) };
    let runtime = Runtime::open(&settings).unwrap();
    assert!(publish_folder(&runtime, data, &catalog).unwrap().is_empty());
    runtime
}

/// From opening the file to the last change being visible.
fn replay(data: &Path, file: &Path) -> Cost {
    let runtime = open(data);
    let ((), cost) = yardstick::cost(|| {
        let files = Files { span: Span(10_000_000), ..Files::default() };
        let replay = Replay::open(&[file], &files).unwrap();
        Feed::new(&runtime).run(replay, Speed::Max).unwrap();
        runtime.settle().unwrap();
    });
    runtime.close().unwrap();
    cost
}

fn latency(data: &Path, batches: Vec<Batch>) -> (Duration, Duration) {
    let runtime = open(data);
    // The devices become known first: in a plant they are.
    let documents = workload::devices(&batches);
    runtime.publish(documents).unwrap();
    let mut times = Vec::new();
    for batch in batches {
        let begun = Instant::now();
        let submission = Submission { batches: vec![batch], messages: 1, ..Submission::default() };
        let committed = runtime.committer.submit_blocking(submission).unwrap();
        while runtime.views.epoch() < committed.epoch {
            std::thread::sleep(Duration::from_micros(50));
        }
        times.push(begun.elapsed());
    }
    runtime.close().unwrap();
    let mut times = times.split_off(6.min(times.len() - 1));
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// What 10,000 assets cost that are known and say nothing.
fn idle(data: &Path) {
    let runtime = open_with(data, true);
    let batches = vec![workload::tick(10_000, 1_767_225_600_000_000)];
    runtime.publish(workload::devices(&batches)).unwrap();
    let submission = Submission { batches, messages: 1, ..Submission::default() };
    runtime.committer.submit_blocking(submission).unwrap();
    runtime.settle().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let ((), cost) = yardstick::cost(|| std::thread::sleep(Duration::from_secs(20)));
    let part = cost.cpu.as_secs_f64() / cost.wall.as_secs_f64() * 100.0;
    println!("10,000 quiet assets: {part:.2} % of a core");
    runtime.close().unwrap();
}

/// The workload as a file, in the form in which it is replayed.
fn write(folder: &Path, batches: &[Batch]) -> PathBuf {
    if let Ok(folder) = std::env::var("MILLSTREAM_WORKLOAD") {
        return Path::new(&folder).join("telemetry.arrow");
    }
    let path = folder.join("telemetry.arrow");
    let schema = batches[0].rows().schema();
    let file = std::fs::File::create(&path).unwrap();
    let columns: Vec<usize> = (0..schema.fields().len()).filter(|i| ![2, 3].contains(i)).collect();
    let projected = schema.project(&columns).unwrap();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(file, &projected).unwrap();
    batches.iter().for_each(|b| writer.write(&b.rows().project(&columns).unwrap()).unwrap());
    writer.finish().unwrap();
    path
}
