//! When a checkpoint counts: every process of a cluster has written its parts of it.
//!
//! Each tells the others which checkpoints it has, at the meeting and whenever that changes. Nobody
//! decides for all: who hears that all have a checkpoint removes the oldest of its own, who hears that
//! one of them could not write it takes its own back. Whoever is stopped in between has one more or
//! one less than the others, and at the next meeting all keep those that all have. The two newest are
//! among them, because nobody begins a checkpoint before all are through with the one before, and
//! what was cut of the logs is older.
//!
//! One process alone is a cluster without others.

use crate::base::link::Lines;
use crate::checkpoint::{KEPT, Store};
use crate::model::Epoch;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How often a wait looks whether it is still worth it.
const LOOK: Duration = Duration::from_millis(100);

/// The checkpoints that a process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The newest that it has tried to write since the processes met.
    pub tried: Epoch,
    /// Those that it has, newest first; 0 for none. One more than are kept: it may have been written
    /// by this process and not by the others.
    pub kept: [Epoch; KEPT + 1],
}

/// What became of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All have it.
    Complete,
    /// Not all could write it.
    Failed,
    /// Not known; the next meeting will tell.
    Open,
}

/// What the processes have told each other since they met.
pub struct Accord {
    /// The links to the others.
    lines: Arc<Lines>,
    /// By number; without this process.
    others: Mutex<BTreeMap<usize, Standing>>,
    heard: Condvar,
}

impl Standing {
    /// The length of its bytes.
    pub const BYTES: usize = 8 * (KEPT + 2);

    /// What a store has.
    pub fn of(store: &Store, tried: Epoch) -> Self {
        let mut kept = [Epoch(0); KEPT + 1];
        let newest = store.kept().iter().rev().map(|taken| taken.epoch);
        kept.iter_mut().zip(newest).for_each(|(place, epoch)| *place = epoch);
        Self { tried, kept }
    }

    /// Whether it has a checkpoint.
    pub fn has(&self, epoch: Epoch) -> bool {
        epoch > Epoch(0) && self.kept.contains(&epoch)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let words = [self.tried].into_iter().chain(self.kept);
        words.flat_map(|epoch| epoch.0.to_le_bytes()).collect()
    }

    /// What [`Standing::encode`] has written.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let (tried, kept) = words.split_first()?;
        let epoch = |word: &[u8; 8]| Epoch(u64::from_le_bytes(*word));
        let kept: Vec<Epoch> = kept.iter().map(epoch).collect();
        let kept = kept.try_into().ok().filter(|_| rest.is_empty())?;
        Some(Self { tried: epoch(tried), kept })
    }
}

impl Accord {
    /// Between this process and these others, which are linked by these lines. Nothing may have
    /// been read of them yet.
    pub fn new(lines: Arc<Lines>, others: impl Iterator<Item = usize>) -> Arc<Self> {
        let others = Mutex::new(others.map(|other| (other, Standing::default())).collect());
        let accord = Arc::new(Self { lines, others, heard: Condvar::new() });
        let weak = Arc::downgrade(&accord);
        accord.lines.on_words(Box::new(move |process, words| {
            if let (Some(accord), Some(standing)) = (weak.upgrade(), Standing::decode(words)) {
                accord.hear(process, standing);
            }
        }));
        accord
    }

    fn hear(&self, process: usize, standing: Standing) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.insert(process, standing);
        self.heard.notify_all();
    }

    /// Tells the others what this process has now that it has tried to write a checkpoint, waits
    /// until all have tried, and says what became of it. Who stops does not wait.
    pub fn conclude(&self, own: Standing, stopping: &AtomicBool) -> Outcome {
        self.lines.say(&own.encode());
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let outcome = outcome(&own, others.values());
            if outcome != Outcome::Open || stopping.load(Ordering::SeqCst) {
                return outcome;
            }
            let waited = self.heard.wait_timeout(others, LOOK);
            others = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What becomes of the checkpoint that a process has tried to write, by what the others have said.
fn outcome<'a>(own: &Standing, others: impl Iterator<Item = &'a Standing> + Clone) -> Outcome {
    let has = |standing: &Standing| standing.has(own.tried);
    match others.clone().all(|other| other.tried >= own.tried) {
        false => Outcome::Open,
        true if has(own) && others.clone().all(has) => Outcome::Complete,
        true => Outcome::Failed,
    }
}

/// The checkpoints that all have, newest first.
pub fn common<'a>(
    own: &Standing,
    others: impl Iterator<Item = &'a Standing> + Clone,
) -> Vec<Epoch> {
    let is_common = |epoch: &Epoch| *epoch > Epoch(0) && others.clone().all(|o| o.has(*epoch));
    own.kept.into_iter().filter(is_common).collect()
}
