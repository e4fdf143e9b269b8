//! The loop of one worker thread: take slices, step, tell the frontier, park when idle.

use super::capture::Outlet;
use super::checkpoint::{Piece, Saver, Share};
use super::cluster::{Heard, Place};
use super::engine::Hook;
use super::error::Error;
use super::graph::{self, Inputs};
use super::memory::Measured;
use super::shared::Shared;
use super::stats::Stats;
use crate::model::{Batch, DeadLetter, Document, Edit, Epoch, Expiry, Output, Page, Timestamp};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use timely::dataflow::ProbeHandle;
use timely::worker::Worker;

/// Slices that a worker takes before it steps: commands never keep the operators waiting long.
const SLICES_PER_STEP: usize = 16;

/// How long an idle worker sleeps at most. Whoever has work for it wakes it; this is only so that
/// a failure that came before the threads were known is seen.
const PARK: Duration = Duration::from_secs(1);

/// What one worker gets of a frame. Every worker gets a slice of every epoch.
pub struct Slice {
    pub epoch: Epoch,
    pub tick: Timestamp,
    pub documents: Vec<Document>,
    pub batches: Vec<Batch>,
    pub dead_letters: Vec<DeadLetter>,
    /// All edits: each worker carries out those of its assets.
    pub edits: Vec<Edit>,
    /// All pages, likewise.
    pub pages: Vec<Page>,
    /// What expires, likewise.
    pub expiry: Option<Expiry>,
    /// Whether the state after this epoch is to be saved.
    pub mark: bool,
}

/// All that connects one worker to the other threads.
pub struct Doors {
    pub slices: Receiver<Slice>,
    pub outputs: Sender<Output>,
    /// Worker 0 only: wakes the feeder.
    pub progress: Option<Sender<()>>,
    pub shared: Arc<Shared>,
    pub stats: Arc<Stats>,
    pub measured: Arc<Measured>,
    pub hook: Hook,
    pub place: Place,
    /// Who hears how far the other processes are.
    pub heard: Option<Heard>,
    /// The state to start from.
    pub restored: Option<(Epoch, Share)>,
    /// Where pieces of saved states go, when somebody takes them.
    pub pieces: Option<Sender<Piece>>,
}

impl Slice {
    /// A slice with nothing but the epoch and its tick.
    pub fn empty(epoch: Epoch, tick: Timestamp) -> Self {
        Self {
            epoch,
            tick,
            documents: Vec::new(),
            batches: Vec::new(),
            dead_letters: Vec::new(),
            edits: Vec::new(),
            pages: Vec::new(),
            expiry: None,
            mark: false,
        }
    }
}

/// Runs until the slices end, or until the engine fails. A panic inside becomes the failure.
pub fn run(worker: &mut Worker, mut doors: Doors) {
    let shared = Arc::clone(&doors.shared);
    let (mut inputs, restored) = (None, doors.restored.take());
    let driven = catch_unwind(AssertUnwindSafe(|| drive(worker, &mut inputs, &doors, restored)));
    match driven {
        Ok(Ok(())) if doors.place.is_alone() => return,
        // The others' dataflows go on, and so would this one.
        Ok(Ok(())) => {}
        Ok(Err(error)) => shared.fail(error),
        Err(payload) => {
            let thread = format!("worker {}", worker.index());
            shared.fail(Error::from_panic(thread, payload.as_ref()));
        }
    }
    // A worker that leaves early takes its dataflow with it, else the runtime would go on
    // stepping it and wait for ever. What is dropped may be in any state: a second panic is
    // no news.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(inputs)));
    for index in worker.installed_dataflows() {
        let _ = catch_unwind(AssertUnwindSafe(|| worker.drop_dataflow(index)));
    }
    shared.leave_lines();
}

/// `Ok` also when another thread failed and this one only follows: `run` keeps the first failure.
fn drive(
    worker: &mut Worker,
    inputs: &mut Option<Inputs>,
    doors: &Doors,
    restored: Option<(Epoch, Share)>,
) -> Result<(), Error> {
    doors.stats.install(worker);
    let outlet = Outlet::new(doors.outputs.clone());
    let saver = Saver::new(doors.pieces.clone());
    let told = (saver, Arc::clone(&doors.measured));
    let place = (doors.place, doors.heard.clone());
    let (built, probe) = graph::build(worker, outlet.clone(), place, restored, told);
    let inputs = inputs.insert(built);
    let mut frontier = Frontier { open: VecDeque::new(), doors };
    let mut ended = false;
    while !(ended && frontier.is_past_all(&probe)) {
        let mut taken = 0;
        while taken < SLICES_PER_STEP && !ended {
            match doors.slices.try_recv() {
                Ok(slice) => {
                    (doors.hook)(worker.index(), slice.epoch);
                    frontier.open.push_back(slice.epoch);
                    inputs.feed(slice);
                    taken += 1;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => ended = true,
            }
        }
        // Nobody wakes a worker that has seen the end: nothing is left to be done but this loop.
        let is_done = ended && frontier.is_past_all(&probe);
        step(worker, taken == 0 && !is_done, doors, &outlet)?;
        frontier.tell(&probe)?;
    }
    if !doors.place.is_alone() {
        return Ok(());
    }
    inputs.close();
    while worker.has_dataflows() {
        step(worker, true, doors, &outlet)?;
    }
    Ok(())
}

/// One round of the operators, or a nap when no operator has anything to do and `may_park`.
///
/// A wake-up between the look at the queue and the nap is not lost: unpark leaves a token that
/// makes the next park return at once, and nothing in between parks.
fn step(worker: &mut Worker, may_park: bool, doors: &Doors, outlet: &Outlet) -> Result<(), Error> {
    worker.step_or_park(Some(if may_park { PARK } else { Duration::ZERO }));
    if outlet.is_closed() {
        return Err(Error::OutputsClosed);
    }
    match doors.shared.is_failed() {
        true => Err(doors.shared.failure().unwrap_or(Error::OutputsClosed)),
        false => Ok(()),
    }
}

/// The epochs that this worker was given and that are not known to be complete everywhere.
struct Frontier<'a> {
    open: VecDeque<Epoch>,
    doors: &'a Doors,
}

impl Frontier<'_> {
    fn is_past_all(&self, probe: &ProbeHandle<u64>) -> bool {
        self.open.back().is_none_or(|last| !probe.less_equal(&last.0))
    }

    /// Forgets complete epochs; worker 0 tells everybody.
    ///
    /// The probe sits behind the capture operators of all workers. A capture operator counts a
    /// change as consumed only after it was sent to the outputs, and the probe passes an epoch
    /// only after this worker has heard that every change up to it, at every worker, was
    /// consumed. So each of those sends happened before the one here, and the channel of outputs
    /// is first in, first out.
    fn tell(&mut self, probe: &ProbeHandle<u64>) -> Result<(), Error> {
        let mut complete = 0;
        while self.open.front().is_some_and(|epoch| !probe.less_equal(&epoch.0)) {
            self.open.pop_front();
            complete += 1;
        }
        let Some(progress) = &self.doors.progress else { return Ok(()) };
        if complete == 0 {
            return Ok(());
        }
        let frontier = probe.with_frontier(|frontier| frontier.as_option().copied());
        // Inputs are open as long as epochs are, so that the frontier is not empty here.
        let frontier = Epoch(frontier.unwrap_or(u64::MAX));
        let told = self.doors.outputs.send(Output::Frontier(frontier));
        told.map_err(|_| Error::OutputsClosed)?;
        self.doors.shared.add_finished(complete);
        // A full channel already holds a token that makes the feeder look.
        let _ = progress.try_send(());
        Ok(())
    }
}
