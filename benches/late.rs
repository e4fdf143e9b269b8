//! A point that comes after hours or days: from handing it in to its being in every view, when its
//! rows have to be read back from the archive, and how long other telemetry waits meanwhile.
//!
//! 20 machines send a row of eight metrics every 10 s for nine days.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

#[path = "support/workload.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod workload;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use millstream::model::{Batch, EVENT_TIME};
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MACHINES: usize = 20;
const SECONDS: i64 = 10;
const DAYS: i64 = 9;
/// Late rows of each age.
const ROWS: usize = 40;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = workload::open(&folder.path().join("data"));
    let ticks = DAYS * 86_400 / SECONDS;
    let begin = 1_735_689_600 - ticks * SECONDS;
    let at = |tick: i64| (begin + tick * SECONDS) * 1_000_000;
    let first = workload::tick(MACHINES, at(0));
    runtime.publish(workload::devices(std::slice::from_ref(&first))).unwrap();
    for tick in 0..ticks {
        // Some answers are waited for, so that the queue does not overflow.
        let answer = workload::submit(&runtime, moved(&first, at(tick)));
        if tick % 64 == 0 {
            answer.blocking_recv().unwrap().unwrap();
        }
    }
    runtime.settle().unwrap();
    runtime.historian.flush().unwrap();
    let hour = 3_600 / SECONDS;
    for (name, age) in [("2 hours", 2 * hour), ("a day", 24 * hour), ("a week", 7 * 24 * hour)] {
        let (mut late, mut others) = (Vec::new(), Vec::new());
        for i in 0..ROWS {
            let row = first.rows().slice(i % (MACHINES - 1), 1);
            let time = at(ticks - age) + 1_000_000 * (1 + i as i64 % 8);
            let row = moved(&Batch::try_new(row).unwrap(), time);
            let begun = Instant::now();
            let answer = workload::submit(&runtime, row);
            let epoch = answer.blocking_recv().unwrap().unwrap().epoch;
            // The page is committed behind it; what another machine sends waits for its turn.
            while runtime.views.epoch() < epoch {
                std::hint::spin_loop();
            }
            let other = Instant::now();
            let row = Batch::try_new(first.rows().slice(MACHINES - 1, 1)).unwrap();
            let row = moved(&row, at(ticks) + 1_000_000 * late.len() as i64);
            let answer = workload::submit(&runtime, row);
            let epoch = answer.blocking_recv().unwrap().unwrap().epoch;
            while runtime.views.epoch() < epoch {
                std::hint::spin_loop();
            }
            others.push(other.elapsed());
            runtime.settle().unwrap();
            late.push(begun.elapsed());
        }
        late.sort();
        others.sort();
        let ms = |times: &[std::time::Duration], part: usize| {
            times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e3
        };
        println!(
            "a row {name} late: p50 {:.1} ms, p99 {:.1} ms; another machine's row meanwhile: p50 \
             {:.1} ms, longest {:.1} ms",
            ms(&late, 50),
            ms(&late, 99),
            ms(&others, 50),
            ms(&others, 100)
        );
    }
    runtime.close().unwrap();
}

/// The same rows at another event time.
fn moved(batch: &Batch, at: i64) -> Batch {
    let times = TimestampMicrosecondArray::from_value(at, batch.len()).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = batch.rows().columns().to_vec();
    columns[EVENT_TIME] = Arc::new(times);
    Batch::try_new(RecordBatch::try_new(batch.rows().schema(), columns).unwrap()).unwrap()
}
