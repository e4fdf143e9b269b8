//! The asset graph alone: Arrow batches in memory to all changes of each tick.
//!
//! Prints throughput with all ticks queued, and the latency of a tick when each waits for the one
//! before; then what a late row costs. With `MILLSTREAM_WORKLOAD` naming the workload and
//! `MILLSTREAM_BASELINE` a program of one thread (see `support/yardstick.rs`), runs that in between
//! and prints the ratios.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

#[path = "support/workload.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod workload;
#[path = "support/yardstick.rs"]
mod yardstick;

use millstream::dataflow::Engine;
use millstream::model::{Batch, Epoch, Frame, Output};
use std::time::{Duration, Instant};
use yardstick::Cost;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;

fn main() {
    let batches = workload::batches();
    let frames = workload::frames(&batches);
    let points: usize = batches.iter().map(Batch::points).sum();
    println!("{} ticks, {points} points", batches.len());
    let input = yardstick::bytes();
    for workers in [1, 2] {
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            let beside = yardstick::yardstick();
            let cost = throughput(&frames, workers);
            let rate = points as f64 / cost.wall.as_secs_f64() / 1e6;
            let cpu = cost.cpu.as_secs_f64();
            println!(
                "{workers} worker(s): {rate:.2} M points/s, {cpu:.2} s CPU{}",
                cost.beside(beside)
            );
            rates.push(rate);
        }
        rates.sort_by(f64::total_cmp);
        let (p50, p99) = latency(&frames, workers);
        println!(
            "{workers} worker(s): {:.2} M points/s (median of {ROUNDS}), tick p50 {:.2} ms, p99 {:.2} ms",
            rates[ROUNDS / 2],
            p50.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3
        );
    }
    let megabytes = |bytes: u64| bytes / 1_000_000;
    let peak = megabytes(yardstick::peak_bytes());
    println!("peak memory: {peak} MB, {} MB of it before the first run", megabytes(input));
    late();
}

/// What a row costs that comes 20 s late, beside one that comes in order.
fn late() {
    const DEVICES: usize = 10_000;
    const SECOND: i64 = 1_000_000;
    let in_order = (0..90).map(|second| second * SECOND);
    // Between two rows that are there already.
    let late = (0..10).map(|i| 69 * SECOND + SECOND / 2 + i * SECOND / 20);
    let times = in_order.chain(late);
    let batches: Vec<Batch> = times.map(|time| workload::tick(DEVICES, time)).collect();
    let costs = ticks(&workload::frames(&batches), 1);
    let median = |costs: &[Duration]| {
        let mut costs = costs.to_vec();
        costs.sort();
        costs[costs.len() / 2].as_secs_f64() * 1e6 / DEVICES as f64
    };
    let (in_order, late) = (median(&costs[71..91]), median(&costs[91..]));
    println!(
        "a row in order {in_order:.2} us, 20 s late {late:.2} us: {:.1} times",
        late / in_order
    );
}

/// From the first tick's feeding to the last change, the documents left out.
fn throughput(frames: &[Frame], workers: usize) -> Cost {
    let (sender, receiver) = crossbeam_channel::bounded(64);
    let (outputs_sender, outputs) = crossbeam_channel::bounded(1024);
    let engine = Engine::start(workers, receiver, outputs_sender).unwrap();
    sender.send(frames[0].clone()).unwrap();
    wait_for(&outputs, frames[0].epoch);
    let rest: Vec<Frame> = frames[1..].to_vec();
    let last = rest[rest.len() - 1].epoch;
    let (feeder, cost) = yardstick::cost(|| {
        let feed = move || rest.into_iter().for_each(|frame| sender.send(frame).unwrap());
        let feeder = std::thread::spawn(feed);
        wait_for(&outputs, last);
        feeder
    });
    feeder.join().unwrap();
    engine.join().unwrap();
    cost
}

/// Median and 99th percentile of the time of a tick.
fn latency(frames: &[Frame], workers: usize) -> (Duration, Duration) {
    let mut times = ticks(frames, workers);
    let mut times = times.split_off(6.min(times.len() - 1));
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// The time of each tick, from feeding it to its frontier, when each waits for the one before.
fn ticks(frames: &[Frame], workers: usize) -> Vec<Duration> {
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
    times
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
