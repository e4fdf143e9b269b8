//! A restart: from opening a data directory to every view being as it was, with 1.2 M rows of
//! devices since the last checkpoint; and what checkpoints cost those who hand in ticks meanwhile.
//!
//! Prints the size of the checkpoint and how long it took, the time of the restart, and the time
//! from handing in a tick to all of its changes being visible, with checkpoints and without.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

#[path = "support/workload.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod workload;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::util::pretty::pretty_format_batches;
use futures::StreamExt;
use millstream::app::{Runtime, Settings, publish_folder};
use millstream::ingest::commit::Submission;
use millstream::model::{Batch, EVENT_TIME};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of devices since the last checkpoint: a minute at 20,000 rows a second.
const ROWS: usize = 1_200_000;
/// Ticks whose latency is measured, and the time between two.
const TICKS: usize = 150;
const TICK: Duration = Duration::from_millis(100);

fn main() {
    let batches = workload::batches();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut stream = Stream { batches, next: 0 };

    let runtime = open(&data, Some(Duration::from_secs(3_600)));
    let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/asset_telemetry");
    assert!(publish_folder(&runtime, &data, &catalog).unwrap().is_empty());
    runtime.publish(workload::devices(&stream.batches)).unwrap();
    // The state is that of a plant that has been running for a while.
    let first = stream.feed(&runtime, ROWS);
    runtime.close().unwrap();

    let runtime = open(&data, Some(Duration::from_secs(3_600)));
    println!("{}", checkpoints(&runtime));
    let rows = stream.feed(&runtime, ROWS);
    runtime.settle().unwrap();
    // Not closed: it ends as a killed process does, without a checkpoint.
    drop(runtime);
    std::thread::sleep(Duration::from_secs(2));

    let begun = Instant::now();
    let runtime = open(&data, None);
    let took = begun.elapsed();
    assert_eq!(runtime.recovered.rows as usize, rows);
    assert!(runtime.recovered.checkpoint.is_some());
    println!(
        "restart to ready: {:.2} s, {rows} rows since the checkpoint, {first} before it",
        took.as_secs_f64()
    );
    runtime.close().unwrap();

    for every in [None, Some(Duration::from_secs(1))] {
        let runtime = open(&data, every);
        let mut times = stream.ticks(&runtime);
        let taken = every.map(|_| checkpoints(&runtime));
        runtime.close().unwrap();
        times.sort();
        let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e3;
        let longest = times[times.len() - 1].as_secs_f64() * 1e3;
        let when = if every.is_some() { "with checkpoints" } else { "without checkpoints" };
        println!(
            "tick, durable and visible, {when}: p50 {:.1} ms, p99 {:.1} ms, longest {longest:.1} ms",
            at(50),
            at(99)
        );
        println!("{}", taken.unwrap_or_default());
    }
}

fn open(data: &Path, checkpoint_every: Option<Duration>) -> Runtime {
    let settings = Settings { checkpoint_every, ..Settings::new(data) };
    Runtime::open(&settings).unwrap()
}

/// The workload again and again, each time later than before.
struct Stream {
    batches: Vec<Batch>,
    next: usize,
}

impl Stream {
    fn batch(&mut self) -> Batch {
        let (pass, tick) = (self.next / self.batches.len(), self.next % self.batches.len());
        self.next += 1;
        let shift = 1_000_000 * (self.batches.len() * pass) as i64;
        let rows = self.batches[tick].rows();
        let times = self.batches[tick].event_times().iter().map(|time| time + shift);
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        columns[EVENT_TIME] = Arc::new(times);
        Batch::try_new(RecordBatch::try_new(rows.schema(), columns).unwrap()).unwrap()
    }

    /// Hands in this many rows, as fast as they are taken.
    fn feed(&mut self, runtime: &Runtime, least: usize) -> usize {
        let (mut rows, mut answers) = (0, Vec::new());
        while rows < least {
            let batch = self.batch();
            rows += batch.len();
            let submission =
                Submission { batches: vec![batch], messages: 1, ..Submission::default() };
            answers.push(runtime.committer.enqueue_blocking(submission).unwrap());
        }
        answers.into_iter().for_each(|answer| {
            let _ = answer.blocking_recv().unwrap().unwrap();
        });
        rows
    }

    /// Hands in ticks at their pace; returns how long each took to be visible.
    fn ticks(&mut self, runtime: &Runtime) -> Vec<Duration> {
        let (mut times, start) = (Vec::new(), Instant::now());
        for tick in 0..TICKS {
            let batch = self.batch();
            std::thread::sleep(
                (start + TICK * tick as u32).saturating_duration_since(Instant::now()),
            );
            let begun = Instant::now();
            let submission =
                Submission { batches: vec![batch], messages: 1, ..Submission::default() };
            let committed = runtime.committer.submit_blocking(submission).unwrap();
            while runtime.views.epoch() < committed.epoch {
                std::thread::sleep(Duration::from_micros(50));
            }
            times.push(begun.elapsed());
        }
        times
    }
}

fn checkpoints(runtime: &Runtime) -> String {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = tokio.block_on(async {
        let query = "select epoch, bytes, milliseconds from millstream_checkpoints order by epoch";
        let answer = runtime.query.sql(query).await.unwrap();
        answer.into_stream().map(|batch| batch.unwrap()).collect::<Vec<_>>().await
    });
    pretty_format_batches(&rows).unwrap().to_string()
}
