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

use millstream::app::{Feed, Runtime, Settings, publish_folder};
use millstream::ingest::commit::Submission;
use millstream::ingest::file::{Replay, Settings as Files};
use millstream::ingest::route::UnknownDevices;
use millstream::model::{Batch, Duration as Span};
use millstream::replay::Speed;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

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
        let baseline = baseline();
        let (wall, cpu) = replay(&folder.path().join(format!("data-{round}")), &file);
        let rate = points as f64 / wall.as_secs_f64() / 1e6;
        print!("replay: {rate:.2} M points/s, {:.2} s CPU", cpu.as_secs_f64());
        if let Some((base_wall, base_cpu)) = baseline {
            print!(
                "; baseline {:.2} s, {:.2} s CPU; ratios {:.1} wall, {:.1} CPU",
                base_wall.as_secs_f64(),
                base_cpu.as_secs_f64(),
                wall.as_secs_f64() / base_wall.as_secs_f64(),
                cpu.as_secs_f64() / base_cpu.as_secs_f64(),
            );
        }
        println!();
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
    println!("peak memory, input included: {} MB", peak_bytes() / 1_000_000);
}

fn open(data: &Path) -> Runtime {
    let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/asset_telemetry");
    let settings = Settings {
        database: None,
        data: data.into(),
        workers: 1,
        unknown_devices: UnknownDevices::Provision,
        live: false,
    };
    let runtime = Runtime::open(&settings).unwrap();
    assert!(publish_folder(&runtime, data, &catalog).unwrap().is_empty());
    runtime
}

/// From opening the file to the last change being visible, and the CPU time of the process.
fn replay(data: &Path, file: &Path) -> (Duration, Duration) {
    let runtime = open(data);
    let (cpu, begun) = (cpu(), Instant::now());
    let files = Files { span: Span(10_000_000), ..Files::default() };
    let replay = Replay::open(&[file], &files).unwrap();
    Feed::new(&runtime).run(replay, Speed::Max).unwrap();
    runtime.settle().unwrap();
    let used = (begun.elapsed(), self::cpu() - cpu);
    runtime.close().unwrap();
    used
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

/// Wall and CPU time of the single-threaded program, when there is one.
fn baseline() -> Option<(Duration, Duration)> {
    let program = std::env::var("MILLSTREAM_BASELINE").ok()?;
    let data = std::env::var("MILLSTREAM_WORKLOAD").ok()?;
    let before = children();
    let output = Command::new(program).args(["--data", &data, "--mode", "tick"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    Some((Duration::from_secs_f64(report["wall_s"].as_f64().unwrap()), children() - before))
}

fn cpu() -> Duration {
    ticks(13) + ticks(14)
}

fn children() -> Duration {
    ticks(15) + ticks(16)
}

/// A time of `/proc/self/stat`, in hundredths of a second.
fn ticks(field: usize) -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    Duration::from_millis(10 * fields[field - 2].parse::<u64>().unwrap())
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    1024 * line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
}
