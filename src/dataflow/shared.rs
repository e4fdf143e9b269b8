//! What the threads of one engine share: how far it is, and why it stopped.

use super::error::Error;
use crate::base::link::Lines;
use crate::model::Epoch;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;

/// One per engine.
#[derive(Default)]
pub struct Shared {
    finished: AtomicU64,
    /// The epoch after which the state is to be saved.
    marked: AtomicU64,
    /// The bytes of the finished frames.
    pub finished_bytes: AtomicU64,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    workers: OnceLock<Vec<Thread>>,
    /// The connections to other processes, which end when the engine fails.
    lines: OnceLock<Arc<Lines>>,
}

impl Shared {
    /// Tells which threads are the workers, once.
    pub fn set_workers(&self, workers: Vec<Thread>) {
        let _ = self.workers.set(workers);
        // A failure may have come before there was anybody to wake.
        self.wake_all();
    }

    /// Tells which connections there are to other processes, once.
    pub fn set_lines(&self, lines: Arc<Lines>) {
        let _ = self.lines.set(lines);
    }

    /// A worker looks at nothing any more that others say.
    pub fn leave_lines(&self) {
        if let Some(lines) = self.lines.get() {
            lines.leave();
        }
    }

    /// Wakes a worker, or makes its next attempt to park return at once.
    pub fn wake(&self, worker: usize) {
        if let Some(thread) = self.workers.get().and_then(|workers| workers.get(worker)) {
            thread.unpark();
        }
    }

    /// Wakes every worker.
    pub fn wake_all(&self) {
        for thread in self.workers.get().into_iter().flatten() {
            thread.unpark();
        }
    }

    /// Stops the engine. The first error is the one that is told.
    pub fn fail(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(|e| e.into_inner());
        failure.get_or_insert(error);
        drop(failure);
        self.failed.store(true, Ordering::SeqCst);
        if let Some(lines) = self.lines.get() {
            lines.close();
        }
        self.wake_all();
    }

    /// Whether the engine has to stop now.
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Why the engine stopped, if it failed.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Asks for the state after an epoch, before its frame is handed in.
    pub fn mark(&self, epoch: Epoch) {
        self.marked.store(epoch.0, Ordering::SeqCst);
    }

    /// Whether the state after an epoch was asked for.
    pub fn is_marked(&self, epoch: Epoch) -> bool {
        self.marked.load(Ordering::SeqCst) == epoch.0
    }

    /// Counts frames whose every change was handed out.
    pub fn add_finished(&self, frames: u64) {
        self.finished.fetch_add(frames, Ordering::SeqCst);
    }

    /// The number of frames whose every change was handed out.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::SeqCst)
    }
}
