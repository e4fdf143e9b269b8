//! What this process has heard of the epochs of others.

use crate::ingest::commit::Passer;
use crate::model::Epoch;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lets the committer pass the epochs of other processes, once there is one.
#[derive(Default)]
pub struct Heard {
    newest: AtomicU64,
    passer: OnceLock<Passer>,
}

impl Heard {
    /// There is this epoch.
    pub fn tell(&self, epoch: Epoch) {
        self.newest.fetch_max(epoch.0, Ordering::SeqCst);
        if let Some(passer) = self.passer.get() {
            passer.pass(epoch);
        }
    }

    /// From now on the committer passes what was heard of, and what will be.
    pub fn pass_to(&self, passer: Passer) {
        let passer = self.passer.get_or_init(|| passer);
        passer.pass(Epoch(self.newest.load(Ordering::SeqCst)));
    }
}
