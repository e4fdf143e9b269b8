//! Takes checkpoints: from time to time and at the end, when anything is new.
//!
//! ```text
//!  due -> committer: marks a frame, notes the documents --> dataflow: saves the assets after it
//!                                                               | | pieces
//!                  hub: saves the views at its epoch <----------' '--> files -> archive flushed
//!                                    '------------------------------->  -> manifest -> log cut
//! ```
//!
//! All of it is of one epoch. Nobody waits: while the files are written the engine goes on. When a
//! checkpoint fails there is one less, and the next one is tried when it is due.
//!
//! In a cluster the process that keeps the catalog marks a frame, and the mark goes through the
//! dataflow to all: each process saves its workers' assets and its views. The log is cut when all have
//! (see [`super::accord`]).

mod taker;

pub use taker::Taker;

use crate::catalog::{Catalog, SharedCatalog};
use crate::checkpoint::{Store, Taken};
use crate::dataflow::Marker;
use crate::ingest::commit::Marked;
use crate::model::{Document, Epoch, Timestamp};
use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Gauge: the epoch of the newest checkpoint.
pub const EPOCH: &str = "millstream_checkpoint_epoch";
/// Gauge: bytes of the newest checkpoint.
pub const BYTES: &str = "millstream_checkpoint_bytes";
/// Histogram: seconds from asking for a checkpoint to its being durable.
pub const SECONDS: &str = "millstream_checkpoint_seconds";
/// Counter: checkpoints that failed.
pub const FAILURES: &str = "millstream_checkpoint_failures_total";

/// The names of the parts.
pub(super) const ASSETS: &str = "assets";
pub(super) const VIEWS: &str = "views";
pub(super) const CATALOG: &str = "catalog";
pub(super) const SYMBOLS: &str = "symbols";

/// Says up to which epoch somebody has all that he wants of the log. Frames behind the least of
/// these, and behind the older checkpoint, may go.
pub type Hold = Arc<dyn Fn() -> Epoch + Send + Sync>;

/// A frame that was marked.
pub struct Mark {
    /// Its epoch.
    pub epoch: Epoch,
    /// What was noted then.
    pub noted: Noted,
}

/// What is noted at a marked frame: by the committer, or by the hub where another process keeps the
/// catalog.
#[derive(Serialize, Deserialize)]
pub struct Noted {
    /// The tick of the frame.
    pub tick: Timestamp,
    /// What the catalog is made of.
    pub catalog: (Vec<Document>, Vec<Document>),
}

/// The thread that takes checkpoints.
pub struct Checkpoints {
    shared: Arc<Shared>,
    /// Dropped without a word: no last checkpoint.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// What others may see.
#[derive(Default)]
pub struct Shared {
    kept: Mutex<Vec<Taken>>,
    discarded: Mutex<Vec<Taken>>,
    holds: Mutex<Vec<Hold>>,
    stopping: AtomicBool,
    /// Who wants one now.
    asked: Mutex<Option<Sender<()>>>,
}

/// The committer's part: notes the documents up to the marked frame, and tells everybody.
pub fn on_mark(catalog: SharedCatalog, marker: Marker, marks: Sender<Mark>) -> Marked {
    Box::new(move |epoch, tick| {
        let catalog = catalog.read().unwrap_or_else(PoisonError::into_inner).saved();
        marker.at(epoch);
        // Nobody takes checkpoints any more when nobody listens.
        let _ = marks.send(Mark { epoch, noted: Noted { tick, catalog } });
    })
}

impl Checkpoints {
    /// Starts the thread.
    pub fn start(taker: Taker) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.tell(&taker.store);
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let (ask, asked) = crossbeam_channel::bounded(1);
        *shared.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(ask);
        let thread = std::thread::Builder::new().name("checkpoints".into());
        let for_thread = Arc::clone(&shared);
        let thread = thread.spawn(move || taker.run((&stopped, &asked), &for_thread))?;
        Ok(Self { shared, stop, thread })
    }

    /// What others may see of it.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes a last checkpoint when anything is new, and ends.
    pub fn close(self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the checkpoints' thread panicked");
        }
    }

    /// Takes no more. The thread ends when one that is under way is written, or has failed because
    /// the dataflow has ended.
    pub fn abandon(self) -> JoinHandle<()> {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.thread
    }
}

impl Shared {
    /// The checkpoints that are kept, oldest first.
    pub fn kept(&self) -> Vec<Taken> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The checkpoints that were found unusable since the start.
    pub fn discarded(&self) -> Vec<Taken> {
        self.discarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has one taken soon, whether anything is new or not. Only where frames are marked.
    pub fn ask(&self) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is asked for already is enough.
        if let Some(ask) = &*asked {
            let _ = ask.try_send(());
        }
    }

    /// Keeps the log from being cut before what somebody needs.
    pub fn hold(&self, hold: Hold) {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).push(hold);
    }

    fn tell(&self, store: &Store) {
        if let Some(newest) = store.kept().last() {
            metrics::gauge!(EPOCH).set(newest.epoch.0 as f64);
            metrics::gauge!(BYTES).set(newest.bytes() as f64);
        }
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = store.kept().to_vec();
        *self.discarded.lock().unwrap_or_else(PoisonError::into_inner) = store.discarded().to_vec();
    }

    /// The epoch before which nobody needs frames; `None` while one checkpoint is all there is.
    fn free_before(&self) -> Option<Epoch> {
        let kept = self.kept();
        let older = kept.first().filter(|_| kept.len() >= crate::checkpoint::KEPT)?.epoch;
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        Some(holds.iter().map(|hold| hold()).fold(older, Epoch::min))
    }
}

/// The catalog that a checkpoint tells of, and the tick of its frame.
pub(super) fn read_catalog(bytes: &[u8]) -> anyhow::Result<(Catalog, Timestamp)> {
    let Noted { tick, catalog } = bincode::deserialize(bytes)?;
    let catalog = Catalog::restore(catalog).map_err(|problems| {
        let what = problems.first().map(ToString::to_string).unwrap_or_default();
        anyhow::anyhow!("the catalog cannot be restored: {what}")
    })?;
    Ok((catalog, tick))
}
