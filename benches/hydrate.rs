//! A new version of an asset type while telemetry flows: how long it takes until all assets have
//! looked at their rows again, and how long what another machine sends waits meanwhile.
//!
//! 10,000 machines have 1,000 rows of eight metrics each in memory: 10 M rows.
//! `MILLSTREAM_BENCH_MACHINES` changes the number of machines.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

#[path = "support/workload.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod workload;

use millstream::app::Runtime;
use millstream::catalog::read_folder;
use millstream::ingest::commit::{Answer, Submission};
use millstream::model::{Batch, Kind, NewDocument, Timestamp};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TICKS: i64 = 1_000;
/// The first event time, seconds: 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600;
/// Between two rows of the machine whose rows are timed.
const PAUSE: Duration = Duration::from_millis(2);

fn main() {
    let machines = std::env::var("MILLSTREAM_BENCH_MACHINES");
    let machines = machines.map_or(10_000, |text| text.parse().expect("a whole number"));
    let folder = tempfile::tempdir().unwrap();
    let runtime = workload::open(&folder.path().join("data"));
    let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/asset_telemetry");
    let at = |tick: i64| (BEGIN + tick) * 1_000_000;
    publish(&runtime, &catalog, at(0)).blocking_recv().unwrap().unwrap();
    // The last machine sends only what is timed.
    let all = workload::tick(machines + 1, at(0));
    runtime.publish(workload::devices(std::slice::from_ref(&all))).unwrap();
    for tick in 0..TICKS {
        let answer = workload::submit(&runtime, workload::tick(machines, at(tick)));
        if tick % 16 == 15 {
            answer.blocking_recv().unwrap().unwrap();
        }
    }
    runtime.settle().unwrap();
    runtime.historian.flush().unwrap();

    let mut sent = 0;
    let mut other = || {
        sent += 1;
        let row = workload::tick(machines + 1, at(TICKS) + sent).rows().slice(machines, 1);
        let row = Batch::try_new(row).unwrap();
        let begun = Instant::now();
        let epoch = workload::submit(&runtime, row).blocking_recv().unwrap().unwrap().epoch;
        while runtime.views.epoch() < epoch {
            std::hint::spin_loop();
        }
        std::thread::sleep(PAUSE);
        begun.elapsed() - PAUSE
    };
    let quiet: Vec<Duration> = (0..200).map(|_| other()).collect();
    println!(
        "{machines} machines with {TICKS} rows each; a row of another machine is visible after:"
    );
    print("nothing else happens", &quiet, None);
    for (what, from) in [
        ("a version from now on", at(TICKS + 1)),
        ("a version for the last minute", at(TICKS - 60)),
        ("a version for all rows", at(0)),
    ] {
        let count = runtime.pages_wanted();
        let begun = Instant::now();
        let answer = publish(&runtime, &catalog, from);
        let mut times = vec![other()];
        answer.blocking_recv().unwrap().unwrap();
        while runtime.waits_for_pages(runtime.pages_wanted()) || begun.elapsed().as_millis() < 500 {
            times.push(other());
        }
        let assets = runtime.pages_wanted() - count;
        print(what, &times, Some((assets, begun.elapsed())));
    }
    runtime.close().unwrap();
}

fn print(what: &str, times: &[Duration], turns: Option<(u64, Duration)>) {
    let mut times = times.to_vec();
    times.sort();
    let ms =
        |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    let turns = turns.filter(|(assets, _)| *assets > 0);
    let turns = turns.map(|(assets, took)| {
        format!("; {assets} assets looked at their rows again in {:.1} s", took.as_secs_f64())
    });
    println!(
        "  {what}: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms{}",
        ms(50),
        ms(99),
        ms(100),
        turns.unwrap_or_default()
    );
}

/// Publishes the asset types anew: all rows stay in memory, and the version holds from an event time
/// on.
fn publish(runtime: &Runtime, catalog: &Path, from: i64) -> Answer {
    let (files, _) = read_folder(catalog);
    let types = files.into_iter().filter(|file| file.document.kind == Kind::AssetTypes);
    let documents = types.map(|file| {
        let mut body: Value = serde_json::from_str(file.document.body.as_deref().unwrap()).unwrap();
        body["time"]["hot_horizon"] = "PT2H".into();
        body["time"]["effective_from"] = Timestamp(from).to_string().into();
        NewDocument { body: Some(body.to_string().into()), ..file.document }
    });
    let tick = Some(Timestamp((BEGIN + 2 * TICKS) * 1_000_000));
    let submission = Submission { documents: documents.collect(), tick, ..Submission::default() };
    runtime.committer.enqueue_blocking(submission).unwrap()
}
