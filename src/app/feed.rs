//! A replay: steps of recordings go the same way as everything else, at a pace.

use super::directory::Devices;
use super::runtime::Runtime;
use crate::base::memory::{Admitted, Budget, Usage};
use crate::base::shutdown::Shutdown;
use crate::ingest::commit::{Answer, Committer, Submission};
use crate::ingest::file::{Replay, Step};
use crate::ingest::route::{KeepRaw, Routed, Router, Settings as Routing};
use crate::model::Timestamp;
use crate::replay::{Pace, Progress, Speed};
use anyhow::{Context, anyhow};
use arrow::array::RecordBatch;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Submissions that may be on their way to the disk.
const STEPS_IN_FLIGHT: usize = 64;
/// Rows of a submission. A step has as many as its span of event time holds.
const ROWS_AT_ONCE: usize = 16_384;
/// How often a feed that waits for memory looks whether there is some.
const ROOM_LOOK: Duration = Duration::from_millis(20);
/// A feed that waits for memory gives up when none has become free for so long.
const HOPELESS_AFTER: Duration = Duration::from_secs(20);

/// Feeds recordings into a runtime.
pub struct Feed {
    devices: Arc<Devices>,
    routing: Routing,
    committer: Committer,
    memory: Budget,
    shutdown: Shutdown,
    progress: Arc<Fed>,
}

/// How far a feed is; read by whoever prints it.
#[derive(Debug, Default)]
pub struct Fed {
    /// Rows of all recordings.
    pub rows_total: AtomicU64,
    /// Rows that were fed.
    pub rows: AtomicU64,
    /// Points that were accepted by routing.
    pub points: AtomicU64,
    /// Points or rows that were refused.
    pub refused: AtomicU64,
    /// The recording's clock, microseconds.
    pub tick: AtomicI64,
}

impl Feed {
    /// A feed into a runtime.
    pub fn new(runtime: &Runtime) -> Self {
        Self {
            devices: Arc::clone(&runtime.devices),
            routing: Routing { keep_raw: KeepRaw::Sample, ..runtime.routing },
            committer: runtime.committer.clone(),
            memory: runtime.memory.clone(),
            shutdown: runtime.shutdown.clone(),
            progress: Arc::default(),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<Fed> {
        Arc::clone(&self.progress)
    }

    /// Feeds everything; returns when all of it is durable, or at shutdown. Blocks.
    pub fn run(&self, replay: Replay, speed: Speed) -> anyhow::Result<()> {
        self.progress.rows_total.store(replay.rows(), Ordering::Relaxed);
        let (start, mut pace) = (Instant::now(), Pace::new(speed));
        let mut in_flight: VecDeque<(Answer, Admitted)> = VecDeque::new();
        for step in replay {
            let step = step?;
            let due = pace.due(step.tick);
            if self.sleep_until(start + due) {
                return Ok(());
            }
            for rows in pieces(&step.rows) {
                let bytes = rows.get_array_memory_size() as u64;
                let admitted = loop {
                    if let Ok(admitted) = self.memory.admit(bytes) {
                        break admitted;
                    }
                    // First what is on its way has to arrive, so that its memory is counted.
                    let Some(sent) = in_flight.pop_front() else {
                        let Some(admitted) = self.wait_for_room(bytes)? else { return Ok(()) };
                        break admitted;
                    };
                    durable(Some(sent))?;
                };
                let submission = self.submission(&step, &rows)?;
                let answer = self.committer.enqueue_blocking(submission)?;
                in_flight.push_back((answer, admitted));
            }
            let slow = speed != Speed::Max;
            while in_flight.len() > if slow { 1 } else { STEPS_IN_FLIGHT } {
                durable(in_flight.pop_front())?;
            }
        }
        in_flight.into_iter().try_for_each(|sent| durable(Some(sent)))
    }

    /// Waits until there is memory for a piece of so many bytes; `None` at shutdown. Fails when no
    /// memory has become free for [`HOPELESS_AFTER`]: then what was fed is too much for the budget.
    fn wait_for_room(&self, bytes: u64) -> anyhow::Result<Option<Admitted>> {
        let (mut least, mut since) = (u64::MAX, Instant::now());
        loop {
            // A large piece goes alone: it cannot be made smaller.
            let refused = match self.memory.admit_alone(bytes) {
                Ok(admitted) => return Ok(Some(admitted)),
                Err(refused) => refused,
            };
            let Usage { used, budget, refusing } = self.memory.usage();
            if !refusing || used.saturating_add(budget / 100) < least {
                (least, since) = (used, Instant::now());
            }
            if since.elapsed() > HOPELESS_AFTER {
                return Err(anyhow!(refused).context(format!(
                    "the replay waited {} s and no memory became free: what was replayed so far \
                     does not fit; give more with --memory",
                    HOPELESS_AFTER.as_secs()
                )));
            }
            if self.sleep_until(Instant::now() + ROOM_LOOK) {
                return Ok(None);
            }
        }
    }

    /// Whether it is time to stop instead.
    fn sleep_until(&self, due: Instant) -> bool {
        loop {
            if self.shutdown.is_triggered() {
                return true;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    fn submission(&self, step: &Step, rows: &RecordBatch) -> anyhow::Result<Submission> {
        let recording = &step.source.recording;
        let name = recording.path().file_name().unwrap_or_default().to_string_lossy();
        let source = format!("file:{name}");
        // The recording's own clock: nothing in it is from the future or the past.
        let mut router = Router::new(&*self.devices, self.routing, source, step.tick);
        let routed = recording.columns().route(rows, &mut router);
        routed.with_context(|| recording.path().display().to_string())?;
        let Routed { documents, batches, dead_letters, rejected, messages, points } =
            router.finish();
        let progress = &self.progress;
        progress.rows.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
        progress.points.fetch_add(points as u64, Ordering::Relaxed);
        progress.refused.fetch_add(rejected.len() as u64, Ordering::Relaxed);
        progress.tick.store(step.tick.0, Ordering::Relaxed);
        Ok(Submission {
            documents,
            batches,
            dead_letters,
            messages,
            tick: Some(step.tick),
            ..Submission::default()
        })
    }
}

impl Fed {
    /// Part and time left, after this time.
    pub fn progress(&self, elapsed: Duration) -> Progress {
        let (rows, total) = (&self.rows, &self.rows_total);
        Progress::of(rows.load(Ordering::Relaxed), total.load(Ordering::Relaxed), elapsed)
    }

    /// The recording's clock.
    pub fn tick(&self) -> Timestamp {
        Timestamp(self.tick.load(Ordering::Relaxed))
    }
}

/// A step in parts that fit into frames.
fn pieces(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    let starts = (0..rows.num_rows()).step_by(ROWS_AT_ONCE);
    starts.map(|start| rows.slice(start, ROWS_AT_ONCE.min(rows.num_rows() - start)))
}

fn durable(sent: Option<(Answer, Admitted)>) -> anyhow::Result<()> {
    let Some((answer, _admitted)) = sent else { return Ok(()) };
    let stopped = |_| anyhow!("the engine stopped before the rows were durable");
    answer.blocking_recv().map_err(stopped)??;
    Ok(())
}
