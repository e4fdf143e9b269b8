//! The engine: starts and joins the threads of the dataflow.

use super::checkpoint::{Checkpoints, Marker};
use super::cluster::{Cluster, Place};
use super::error::Error;
use super::feeder::Feeder;
use super::memory::{Measured, Meter};
use super::shared::Shared;
use super::stats::{OperatorStats, Stats};
use super::worker::{self, Doors, Slice};
use crate::model::{Epoch, Frame, Output};
use crossbeam_channel::{Receiver, Sender};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The most workers an engine has.
pub const MAX_WORKERS: usize = 256;

/// Frames that wait in the queue of one worker; a full queue stops the feeder.
const SLICES_QUEUED: usize = 16;

/// Called by a worker before it takes its slice of an epoch. Tests make it panic.
pub(super) type Hook = fn(worker: usize, epoch: Epoch);

/// The running dataflow.
///
/// It ends by itself when the channel of frames is closed, after everything that the frames
/// change was handed out, or when something failed: then the channel of outputs closes without a
/// frontier that covers the rest, and [`Engine::join`] tells why. Dropping an engine waits too.
pub struct Engine {
    // Declared first, so that a dropped engine waits for the feeder before the workers.
    feeder: Option<JoinHandle<()>>,
    workers: Option<timely::communication::WorkerGuards<()>>,
    shared: Arc<Shared>,
    stats: Vec<Arc<Stats>>,
    measured: Vec<Arc<Measured>>,
}

impl Engine {
    /// Starts this number of worker threads and one feeder.
    ///
    /// Frames are taken in order of strictly increasing epochs, not faster than outputs are
    /// received: at most [`super::MAX_EPOCHS_IN_FLIGHT`] frames are between the two, then frames
    /// stay in their channel. A full channel of outputs makes the workers wait. When the
    /// receiver of the outputs is dropped, the engine fails with [`Error::OutputsClosed`].
    pub fn start(
        workers: usize,
        frames: Receiver<Frame>,
        outputs: Sender<Output>,
    ) -> Result<Self, Error> {
        Self::start_with(workers, frames, outputs, (Checkpoints::default(), None), |_, _| ())
    }

    /// [`Engine::start`] as one of several processes, each with this number of workers.
    ///
    /// Everything that happens anywhere is handed out at every process. An epoch is complete when
    /// every process has fed a later one: of the epochs of others the cluster's `heard` is told,
    /// so that a process with nothing to say says [`Frame::pass`]. Documents come from one process
    /// only. When a connection to another process breaks, the engine fails with [`Error::Peer`].
    ///
    /// All start from a state of the same epoch, each from what it has saved of it, or none does.
    /// One of them asks for states, always the same, and all of them hand theirs out.
    pub fn start_among(
        workers: usize,
        frames: Receiver<Frame>,
        outputs: Sender<Output>,
        checkpoints: Checkpoints,
        cluster: Cluster,
    ) -> Result<Self, Error> {
        let given = (checkpoints, Some(cluster));
        Self::start_with(workers, frames, outputs, given, |_, _| ())
    }

    /// [`Engine::start`] from a saved state, and with somebody who takes states when they are
    /// asked for by [`Engine::marker`].
    ///
    /// The first frame has the epoch of the saved state and all documents that are current then,
    /// where this process publishes them, and nothing else. What is said at that epoch was said
    /// before, in another process: the rows of documents, errors and fleets that follow from
    /// documents and state alone. The states must have been dealt to this number of workers.
    pub fn start_from(
        workers: usize,
        frames: Receiver<Frame>,
        outputs: Sender<Output>,
        checkpoints: Checkpoints,
    ) -> Result<Self, Error> {
        Self::start_with(workers, frames, outputs, (checkpoints, None), |_, _| ())
    }

    pub(super) fn start_with(
        workers: usize,
        frames: Receiver<Frame>,
        outputs: Sender<Output>,
        (checkpoints, cluster): (Checkpoints, Option<Cluster>),
        hook: Hook,
    ) -> Result<Self, Error> {
        if workers == 0 || workers > MAX_WORKERS {
            return Err(Error::Workers { workers, limit: MAX_WORKERS });
        }
        let Checkpoints { from, pieces } = checkpoints;
        let epoch = from.as_ref().map(|saved| saved.epoch);
        let mut shares = from.map(|saved| saved.shares).unwrap_or_default();
        if epoch.is_some() && shares.len() != workers {
            return Err(Error::Shares { workers, shares: shares.len() });
        }
        shares.reverse();
        let shared = Arc::new(Shared::default());
        let place = cluster.as_ref().map_or(Place::alone(workers), |c| c.place(workers));
        let heard = cluster.as_ref().map(|cluster| Arc::clone(&cluster.heard));
        let stats: Vec<Arc<Stats>> = (0..workers).map(|_| Arc::default()).collect();
        let measured: Vec<Arc<Measured>> = (0..workers).map(|_| Arc::default()).collect();
        let (progress_tx, progress_rx) = crossbeam_channel::bounded(1);
        let mut queues = Vec::with_capacity(workers);
        let mut doors = Vec::with_capacity(workers);
        for (index, stats) in stats.iter().enumerate() {
            let (tx, rx) = crossbeam_channel::bounded::<Slice>(SLICES_QUEUED);
            queues.push(tx);
            doors.push(Some(Doors {
                slices: rx,
                outputs: outputs.clone(),
                progress: (index == 0).then(|| progress_tx.clone()),
                shared: Arc::clone(&shared),
                stats: Arc::clone(stats),
                measured: Arc::clone(&measured[index]),
                hook,
                place,
                heard: heard.clone(),
                restored: epoch.zip(shares.pop()),
                pieces: pieces.clone(),
            }));
        }
        // From here on only the workers hold senders, so that the channels close with them.
        drop((outputs, progress_tx, pieces));
        let doors = Mutex::new(doors);
        let (builders, others) = match cluster {
            None => communication(workers).try_build().map_err(|reason| Error::Start { reason })?,
            Some(cluster) => cluster.connect(workers, &shared)?,
        };
        let settings = timely::WorkerConfig::default();
        let guards = timely::execute::execute_from(builders, others, settings, move |worker| {
            let index = worker.index() - place.first();
            let own = doors.lock().unwrap_or_else(|e| e.into_inner())[index].take();
            worker::run(worker, own.expect("each worker starts once"));
        });
        let guards = guards.map_err(|reason| Error::Start { reason })?;
        shared.set_workers(guards.guards().iter().map(|guard| guard.thread().clone()).collect());
        let feeder = Feeder::new(frames, queues, progress_rx, Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("dataflow-feeder".into());
        let failures = Arc::clone(&shared);
        let spawned = thread.spawn(move || {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| feeder.run())) {
                failures.fail(Error::from_panic("feeder".into(), payload.as_ref()));
            }
        });
        // When the feeder cannot start, its queues are dropped, and so the workers end.
        let feeder = spawned.map_err(|error| {
            shared.wake_all();
            Error::Start { reason: error.to_string() }
        })?;
        Ok(Self { feeder: Some(feeder), workers: Some(guards), shared, stats, measured })
    }

    /// Whether the engine has failed and stops, or has stopped.
    pub fn failure(&self) -> Option<Error> {
        self.shared.failure()
    }

    /// Asks for states.
    pub fn marker(&self) -> Marker {
        Marker(Arc::clone(&self.shared))
    }

    /// Tells what the engine holds.
    pub fn meter(&self) -> Meter {
        Meter { workers: self.measured.clone(), shared: Arc::clone(&self.shared) }
    }

    /// What the operators of all workers did since the start, ordered by worker and operator.
    pub fn operators(&self) -> Vec<OperatorStats> {
        let each = self.stats.iter().enumerate();
        each.flat_map(|(worker, stats)| stats.snapshot(worker)).collect()
    }

    /// Leaves the other processes of a cluster, which notice. All that was fed is in the logs.
    pub fn leave(&self) {
        self.shared.fail(Error::Left);
    }

    /// Waits for the end and tells why it came: `Ok` when the frames ended and everything was
    /// handed out. Somebody has to receive the outputs meanwhile.
    pub fn join(mut self) -> Result<(), Error> {
        self.wait();
        match self.shared.failure() {
            None | Some(Error::Left) => Ok(()),
            Some(error) => Err(error),
        }
    }

    fn wait(&mut self) {
        // Panics of both kinds of threads are caught inside them and stand in the failure.
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
        if let Some(workers) = self.workers.take() {
            for (index, result) in workers.join().into_iter().enumerate() {
                if let Err(message) = result {
                    let thread = format!("worker {index}");
                    self.shared.fail(Error::Panic { thread, message });
                }
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.wait();
    }
}

fn communication(workers: usize) -> timely::CommunicationConfig {
    match workers {
        1 => timely::CommunicationConfig::Thread,
        _ => timely::CommunicationConfig::Process(workers),
    }
}
