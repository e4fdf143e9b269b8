//! What a run costs, and what the same costs in a program of one thread and nothing durable.
//!
//! `MILLSTREAM_BASELINE` names such a program: it takes `--data DIR --mode tick`, does the
//! workload in the folder that `MILLSTREAM_WORKLOAD` names, and prints a JSON object with
//! `wall_s`. Without either there is nothing to compare with.

use std::process::Command;
use std::time::{Duration, Instant};

/// Its runs in a row: one alone is too short for a clock of hundredths of a second.
const RUNS: u32 = 5;

/// Wall and CPU time.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

/// What the work costs, all threads of this process together.
pub fn cost<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let (before, begun) = (cpu(), Instant::now());
    let result = work();
    (result, Cost { wall: begun.elapsed(), cpu: cpu() - before })
}

/// What the single-threaded program costs, when there is one.
pub fn yardstick() -> Option<Cost> {
    let program = std::env::var("MILLSTREAM_BASELINE").ok()?;
    let data = std::env::var("MILLSTREAM_WORKLOAD").ok()?;
    let (before, mut wall) = (children(), Duration::ZERO);
    for _ in 0..RUNS {
        let run = Command::new(&program).args(["--data", &data, "--mode", "tick"]).output();
        let output = run.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        wall += Duration::from_secs_f64(report["wall_s"].as_f64().unwrap());
    }
    Some(Cost { wall: wall / RUNS, cpu: (children() - before) / RUNS })
}

impl Cost {
    /// The ratios to the yardstick, as a part of a line.
    pub fn beside(&self, yardstick: Option<Self>) -> String {
        let Some(yardstick) = yardstick else { return String::new() };
        let ratio = |own: Duration, other: Duration| own.as_secs_f64() / other.as_secs_f64();
        format!(
            "; yardstick {:.3} s, {:.3} s CPU; ratios {:.1} wall, {:.1} CPU",
            yardstick.wall.as_secs_f64(),
            yardstick.cpu.as_secs_f64(),
            ratio(self.wall, yardstick.wall),
            ratio(self.cpu, yardstick.cpu),
        )
    }
}

/// The most memory that this process had, in bytes.
pub fn peak_bytes() -> u64 {
    memory("VmHWM")
}

/// The memory that this process has, in bytes.
pub fn bytes() -> u64 {
    memory("VmRSS")
}

fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    1024 * line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
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
