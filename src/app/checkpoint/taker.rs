//! The thread that takes checkpoints: when, and from what.

use super::{ASSETS, CATALOG, FAILURES, Mark, SECONDS, SYMBOLS, Shared, VIEWS};
use crate::app::accord::{Accord, Outcome, Standing};
use crate::base::clock::Clock;
use crate::checkpoint::Store;
use crate::dataflow::Piece;
use crate::historian::Historian;
use crate::ingest::commit::{Committer, State};
use crate::model::{Epoch, Symbol, Timestamp};
use crate::views::{self, Image};
use anyhow::{Context, bail};
use crossbeam_channel::{Receiver, RecvTimeoutError, after, never, select};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Checkpoints take at most one part in this many of the time.
const SHARE: u32 = 10;
/// Frames without content are replayed too: a checkpoint that is older than this by the log's clock,
/// milliseconds, gives way to a new one although nothing has changed.
const OLD: u64 = 3_600_000;
/// How often a wait looks whether it is still worth it.
const LOOK: Duration = Duration::from_millis(100);

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

impl Taker {
    pub(super) fn run(mut self, (stopped, asked): (&Receiver<()>, &Receiver<()>), shared: &Shared) {
        let mut pause = self.every;
        loop {
            let due = pause.map_or_else(never, after);
            let mut wanted = false;
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
                recv(asked) -> _ => {
                    wanted = true;
                    (None, false)
                }
                recv(due) -> _ => (None, false),
            };
            let begun = Instant::now();
            let is_due = wanted || self.changed.load(Ordering::SeqCst) || (self.is_old() && !last);
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
