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

use super::accord::{Accord, Outcome, Standing};
use crate::base::clock::Clock;
use crate::catalog::{Catalog, SharedCatalog};
use crate::checkpoint::{Store, Taken};
use crate::dataflow::{Marker, Piece};
use crate::historian::Historian;
use crate::ingest::commit::{Committer, Marked, State};
use crate::model::{Document, Epoch, Symbol, Timestamp};
use crate::views::{self, Image};
use anyhow::{Context, bail};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, after, never, select};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Gauge: the epoch of the newest checkpoint.
pub const EPOCH: &str = "millstream_checkpoint_epoch";
/// Gauge: bytes of the newest checkpoint.
pub const BYTES: &str = "millstream_checkpoint_bytes";
/// Histogram: seconds from asking for a checkpoint to its being durable.
pub const SECONDS: &str = "millstream_checkpoint_seconds";
/// Counter: checkpoints that failed.
pub const FAILURES: &str = "millstream_checkpoint_failures_total";

/// Checkpoints take at most one part in this many of the time.
const SHARE: u32 = 10;
/// Frames without content are replayed too: a checkpoint that is older than this by the log's clock,
/// milliseconds, gives way to a new one although nothing has changed.
const OLD: u64 = 3_600_000;
/// How often a wait looks whether it is still worth it.
const LOOK: Duration = Duration::from_millis(100);

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
}

/// Everything that a checkpoint is put together from.
pub struct Taker {
    /// How long after a checkpoint the next one is due; `None` where another process marks frames.
    pub every: Option<Duration>,
    pub store: Store,
    pub accord: Arc<Accord>,
    pub clock: Arc<dyn Clock>,
    pub committer: Committer,
    pub historian: Arc<Historian>,
    /// Whether anything has changed since the last frame that was marked.
    pub changed: Arc<AtomicBool>,
    pub workers: usize,
    pub marks: Receiver<Mark>,
    pub pieces: Receiver<Piece>,
    pub images: Receiver<Result<Image, views::Error>>,
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
        let thread = std::thread::Builder::new().name("checkpoints".into());
        let for_thread = Arc::clone(&shared);
        let thread = thread.spawn(move || taker.run(&stopped, &for_thread))?;
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

impl Taker {
    fn run(mut self, stopped: &Receiver<()>, shared: &Shared) {
        let mut pause = self.every;
        loop {
            let due = pause.map_or_else(never, after);
            let (told, last) = select! {
                recv(stopped) -> stopped => match stopped {
                    Ok(()) => (None, true),
                    Err(_) => return,
                },
                // The end of the marks is the end of frames.
                recv(self.marks) -> mark => match mark {
                    Ok(mark) => (Some(mark), false),
                    Err(_) => return,
                },
                recv(due) -> _ => (None, false),
            };
            let begun = Instant::now();
            let is_due = self.changed.load(Ordering::SeqCst) || (self.is_old() && !last);
            let mark = match told {
                Some(mark) => Some(Ok(mark)),
                None => is_due.then(|| self.ask(shared)),
            };
            if let Some(mark) = mark {
                match mark.and_then(|mark| self.take(mark, begun, shared)) {
                    Ok(()) => metrics::histogram!(SECONDS).record(begun.elapsed()),
                    Err(error) => {
                        self.changed.store(true, Ordering::SeqCst);
                        metrics::counter!(FAILURES).increment(1);
                        let error = format!("{error:#}");
                        tracing::error!(error, "checkpoint failed; the one before it stays");
                    }
                }
                shared.tell(&self.store);
            }
            if let Some(epoch) = shared.free_before() {
                self.committer.cut_log(epoch);
            }
            if last {
                return;
            }
            pause = self.every.map(|every| every.max(begun.elapsed() * SHARE));
        }
    }

    /// Whether the newest checkpoint is of long ago, and there are frames behind it.
    fn is_old(&self) -> bool {
        let newest = self.store.kept().last();
        newest.is_some_and(|taken| self.committer.durable_epoch().0 > taken.epoch.0 + OLD)
    }

    /// Has a frame marked.
    fn ask(&self, shared: &Shared) -> anyhow::Result<Mark> {
        self.committer.mark();
        loop {
            match self.marks.recv_timeout(LOOK) {
                Ok(mark) => return Ok(mark),
                Err(RecvTimeoutError::Disconnected) => bail!("the committer has stopped"),
                Err(RecvTimeoutError::Timeout) => {
                    let state = self.committer.state();
                    if shared.stopping.load(Ordering::SeqCst) && state != State::Running {
                        bail!("no frame can be written: {state:?}");
                    }
                }
            }
        }
    }

    /// Writes a checkpoint, and keeps it when all processes have written theirs.
    fn take(&mut self, mark: Mark, begun: Instant, shared: &Shared) -> anyhow::Result<()> {
        let epoch = mark.epoch;
        let written = self.write(mark, begun);
        let own = Standing::of(&self.store, epoch);
        match self.accord.conclude(own, &shared.stopping) {
            Outcome::Complete => self.store.prune(),
            Outcome::Open => {}
            Outcome::Failed => {
                written?;
                self.store.withdraw(epoch)?;
                bail!("another process could not write its part");
            }
        }
        written
    }

    fn write(&mut self, Mark { epoch, noted }: Mark, begun: Instant) -> anyhow::Result<()> {
        let taken_at = Timestamp(self.clock.now_micros());
        let mut draft = self.store.begin(epoch);
        // All pieces are received, also when there is no place to put them: they wait in memory.
        let assets = draft.part(ASSETS).context("begin a checkpoint");
        let assets = self.receive(epoch, assets)?;
        let image = self.images.recv().context("the hub has stopped")?;
        draft.add(assets?)?;
        let mut part = draft.part(VIEWS)?;
        image?.write(&mut part)?;
        draft.add(part)?;
        let mut part = draft.part(CATALOG)?;
        bincode::serialize_into(&mut part, &noted)?;
        draft.add(part)?;
        // Symbols are never taken back: those of now have all that the words above stand for.
        let mut part = draft.part(SYMBOLS)?;
        bincode::serialize_into(&mut part, &Symbol::all())?;
        draft.add(part)?;
        // What is not in the archive is only in the log, which may be cut now.
        self.historian.flush().context("archive the points before the checkpoint")?;
        let micros = begun.elapsed().as_micros() as u64;
        self.store.publish(draft, taken_at, micros)?;
        Ok(())
    }

    /// Takes the pieces of all workers. The inner error says why they were not written.
    fn receive<P: Write>(
        &self,
        epoch: Epoch,
        mut to: anyhow::Result<P>,
    ) -> anyhow::Result<anyhow::Result<P>> {
        let mut left = self.workers;
        while left > 0 {
            let piece = self.pieces.recv().context("the dataflow has stopped")?;
            if piece.epoch != epoch {
                continue;
            }
            left -= usize::from(piece.last);
            if let Ok(part) = &mut to
                && let Err(error) = part.write_all(&piece.bytes)
            {
                to = Err(error).context("write the state of the assets");
            }
        }
        Ok(to)
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
