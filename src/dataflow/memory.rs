//! What the assets of an engine take: measured by the workers, some assets at a time.

use super::asset::Held;
use super::shared::Shared;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Assets that are measured before the other operators have their turn.
pub const ASSETS_AT_ONCE: usize = 512;

/// Asks an engine what it holds.
#[derive(Clone)]
pub struct Meter {
    pub(super) workers: Vec<Arc<Measured>>,
    pub(super) shared: Arc<Shared>,
}

/// The last measurement of one worker, and whether a new one is wanted.
#[derive(Debug, Default)]
pub struct Measured {
    wanted: AtomicBool,
    held: Mutex<Held>,
}

impl Meter {
    /// What the assets of all workers held when they were measured last, and asks for the next
    /// measurement. A worker begins it with its next frame, and only when anything has changed.
    pub fn assets(&self) -> Held {
        let mut sum = Held::default();
        for worker in &self.workers {
            worker.wanted.store(true, Ordering::Relaxed);
            sum.add(&worker.held.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }

    /// The bytes of all frames whose every change was handed out.
    pub fn finished_bytes(&self) -> u64 {
        self.shared.finished_bytes.load(Ordering::Relaxed)
    }
}

impl Measured {
    /// Whether a measurement is wanted, which is then begun.
    pub fn take_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) && self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Publishes a measurement.
    pub fn tell(&self, held: Held) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}
