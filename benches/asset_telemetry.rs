//! The asset graph alone: Arrow batches in memory to all changes of each tick.
//!
//! Prints throughput with all ticks queued, and the latency of a tick when each waits for the one
//! before. With `MILLSTREAM_BASELINE` naming a program that runs the same workload on one thread,
//! runs it in between and prints the ratios.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

#[path = "support/workload.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod workload;

use millstream::dataflow::Engine;
use millstream::model::{Epoch, Frame, Output};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;

fn main() {
    let batches = workload::batches();
    let frames = workload::frames(&batches);
    let points: usize = batches.iter().map(|batch| batch.points()).sum();
    println!("{} ticks, {points} points", batches.len());
    for workers in [1, 2] {
        let mut rates: Vec<f64> = (0..ROUNDS)
            .map(|_| points as f64 / throughput(&frames, workers).as_secs_f64() / 1e6)
            .collect();
        rates.sort_by(f64::total_cmp);
        let (p50, p99) = latency(&frames, workers);
        println!(
            "{workers} worker(s): {:.2} M points/s (median of {ROUNDS}), tick p50 {:.2} ms, p99 {:.2} ms",
            rates[ROUNDS / 2],
            p50.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3
        );
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        println!("peak memory, input included: {}", peak.trim_start_matches("VmHWM:").trim());
    }
}

/// From the first tick's feeding to the last change, the documents left out.
fn throughput(frames: &[Frame], workers: usize) -> Duration {
    let (sender, receiver) = crossbeam_channel::bounded(64);
    let (outputs_sender, outputs) = crossbeam_channel::bounded(1024);
    let engine = Engine::start(workers, receiver, outputs_sender).unwrap();
    sender.send(frames[0].clone()).unwrap();
    wait_for(&outputs, frames[0].epoch);
    let rest: Vec<Frame> = frames[1..].to_vec();
    let last = rest[rest.len() - 1].epoch;
    let start = Instant::now();
    let feeder = std::thread::spawn(move || rest.into_iter().for_each(|f| sender.send(f).unwrap()));
    wait_for(&outputs, last);
    let elapsed = start.elapsed();
    feeder.join().unwrap();
    engine.join().unwrap();
    elapsed
}

/// Median and 99th percentile of the time from feeding a tick to its frontier.
fn latency(frames: &[Frame], workers: usize) -> (Duration, Duration) {
    let (sender, receiver) = crossbeam_channel::bounded(64);
    let (outputs_sender, outputs) = crossbeam_channel::bounded(1024);
    let engine = Engine::start(workers, receiver, outputs_sender).unwrap();
    let mut times = Vec::new();
    for frame in frames {
        let start = Instant::now();
        sender.send(frame.clone()).unwrap();
        wait_for(&outputs, frame.epoch);
        times.push(start.elapsed());
    }
    drop(sender);
    engine.join().unwrap();
    let mut times = times.split_off(6.min(times.len() - 1));
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn wait_for(outputs: &crossbeam_channel::Receiver<Output>, epoch: Epoch) {
    for output in outputs {
        if let Output::Frontier(frontier) = output
            && frontier > epoch
        {
            return;
        }
    }
    panic!("the engine stopped before epoch {epoch}");
}
