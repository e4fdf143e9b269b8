//! The thread of the sink: session after session, each from where the database is.

use super::error::Error;
use super::events::EVENTS;
use super::follow::{Ask, Follow, Told};
use super::identity;
use super::letters::Letters;
use super::look::Look;
use super::retain::Retention;
use super::session::{Points, Session, Writer};
use super::settings::Settings;
use super::status::{Report, State, Status};
use super::work::{self, Work};
use crate::base::backoff::Backoff;
use crate::base::fs::Fs;
use crate::base::shutdown::Shutdown;
use crate::historian::Historian;
use crate::historian::replaced::Replaced;
use crate::model::Epoch;
use futures::stream::{self, BoxStream, StreamExt};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::error;

/// How far an idle engine's place may fall behind, in epochs of milliseconds: it moves with the
/// rows, and where there are none not with every tick.
const IDLE_EPOCHS: u64 = 10_000;

/// For what is about to come.
const NAP: Duration = Duration::from_millis(2);

/// Where the rows come from.
pub struct Sources {
    /// The data directory: it has an id of its own there.
    pub data: PathBuf,
    /// The file system of the log.
    pub fs: Arc<dyn Fs>,
    /// The directory of the log.
    pub log: PathBuf,
    /// The last epoch of the log when the process started.
    pub recovered: Epoch,
    /// The epoch that it started from: files of old rows up to there are those of the process before.
    pub started: Epoch,
    /// The points.
    pub historian: Arc<Historian>,
    /// The view `events`; `None` where another process writes points and events, and this sink
    /// writes the dead letters of its own log.
    pub events: Option<Box<dyn Follow>>,
    /// The views that have tables of their own; `None` together with `events`.
    pub views: Option<Box<dyn Ask>>,
}

impl Sources {
    fn follow(&self, after: Epoch) -> BoxStream<'static, Result<Told, String>> {
        let told = self.events.as_ref().map(|events| events.follow(after));
        told.unwrap_or_else(|| stream::pending().boxed())
    }
}

/// The sink: follows into a database on a thread of its own, for as long as it lives. Nobody waits
/// for it; what it has missed it takes from the archive and the log.
pub struct Timescale {
    status: Arc<Status>,
    historian: Arc<Historian>,
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Timescale {
    /// Starts to follow. A database that is not there is no error: it is tried again and again.
    pub fn start(settings: Settings, sources: Sources) -> Result<Self, Error> {
        let shard = identity::of(&sources.data)?;
        let policies = sources.views.is_some().then_some(settings.policies);
        let writer = Writer {
            shard,
            fence: None,
            recovered: sources.recovered,
            started: Some(sources.started),
            policies,
            told: false,
        };
        let (status, stop) = (Arc::new(Status::new()), Shutdown::new());
        let historian = Arc::clone(&sources.historian);
        let failed = |source| Error::Io { action: "start the thread of the sink".into(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let (told, stopped) = (Arc::clone(&status), stop.clone());
        let thread = std::thread::Builder::new().name("timescale".into()).spawn(move || {
            let mut sink = Sink { settings, sources, writer, status: told };
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.wait() => {}
                    () = sink.follow() => {}
                }
            });
        });
        Ok(Self { status, historian, stop, thread: Some(thread.map_err(failed)?) })
    }

    /// What it is at.
    pub fn report(&self) -> Report {
        self.status.report()
    }

    /// Everything up to this epoch is durable in the database, after a restart too; `None` until
    /// the database was reached for the first time. The log must not be cut behind it.
    pub fn durable_epoch(&self) -> Option<Epoch> {
        self.status.cursor()
    }

    /// Waits until everything visible is in the database, unless it is away or takes longer.
    /// Blocks.
    pub fn finish(&self, patience: Duration) {
        let (begun, last) = (Instant::now(), self.historian.epoch());
        self.status.finish();
        while begun.elapsed() < patience {
            let report = self.report();
            let is_there = report.epoch >= last && self.status.is_finished();
            if report.state != State::Following || is_there {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Timescale {
    /// Stops. A transaction under way is rolled back or was committed: the next start finds out.
    fn drop(&mut self) {
        self.stop.trigger();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the thread of the sink panicked");
        }
    }
}

struct Sink {
    settings: Settings,
    sources: Sources,
    writer: Writer,
    status: Arc<Status>,
}

impl Sink {
    async fn follow(&mut self) {
        let mut backoff = Backoff::new(&self.writer.shard);
        loop {
            self.status.connecting();
            let Err(failure) = self.session(&mut backoff).await;
            if matches!(failure, Error::Fenced { .. }) {
                self.status.fenced(&failure);
                return;
            }
            let wait = backoff.wait();
            self.status.waiting(&failure, wait);
            tokio::time::sleep(wait).await;
        }
    }

    /// Follows until something fails.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<Infallible, Error> {
        let mut session = Session::open(&self.settings, &mut self.writer).await?;
        self.status.found(session.place(), &self.settings.server());
        let Sources { fs, log, historian, .. } = &self.sources;
        let mut letters = Letters::after(fs, log, session.place());
        let mut epochs = historian.epochs();
        let mut events = self.sources.follow(session.filed(&self.writer));
        let mut look = Look::new();
        let mut retention = Retention::of(self.settings.policies.retain);
        loop {
            epochs.mark_unchanged();
            let all = self.step(&mut session, &mut letters).await?;
            let pause = self.look(&mut session, &mut look).await?;
            if self.sources.views.is_some() {
                retention.go_on(&mut session, historian.archived_epoch()).await?;
            }
            backoff.reset();
            let wait = pause.unwrap_or_default();
            let is_behind = look.reached() < historian.epoch() || self.status.finishes();
            let told = tokio::select! {
                biased;
                told = events.next() => Some(told),
                () = std::future::ready(()), if !all || pause.is_none() => None,
                Ok(()) = epochs.changed() => None,
                () = self.status.end() => None,
                () = tokio::time::sleep(wait.max(NAP)), if is_behind => None,
            };
            match told {
                None => {}
                Some(Some(told)) => {
                    let failed = |reason| Error::View { view: EVENTS, reason };
                    session.write_events(&told.map_err(failed)?, &mut self.writer).await?;
                }
                // Too slow, or just let go: the whole of it has what was missed.
                Some(None) => events = self.sources.follow(session.filed(&self.writer)),
            }
        }
    }

    /// Writes the next piece of what has changed in the views. How long nothing is to be done then;
    /// `None` when there is more.
    async fn look(
        &self,
        session: &mut Session,
        look: &mut Look,
    ) -> Result<Option<Duration>, Error> {
        let Some(views) = &self.sources.views else {
            self.status.looked(Epoch(u64::MAX), true);
            return Ok(Some(Duration::MAX));
        };
        let is_last = self.status.finishes() && !self.status.is_finished();
        let finished = look.go_on(session, &**views, is_last).await?;
        self.status.looked(look.reached(), finished);
        Ok(look.pause())
    }

    /// Writes the next piece of what the database lacks; whether that was all.
    async fn step(&self, session: &mut Session, letters: &mut Letters) -> Result<bool, Error> {
        let historian = &self.sources.historian;
        let (work, gone) = match self.sources.events {
            Some(_) => Work::after(session.place(), historian)?,
            None => (Work::Nothing(historian.epoch()), Vec::new()),
        };
        match work {
            Work::Files(steps) => {
                for step in steps {
                    for batch in work::file(historian.places(), &step.file)? {
                        let place = session.place();
                        let batch = batch?;
                        let points = || Box::new(std::iter::once(Ok(batch.clone()))) as Box<_>;
                        session.write(Some(&points), &[], &[], place).await?;
                    }
                    if step.reaches > session.place() {
                        self.reach(session, letters, (None, &gone), step.reaches).await?;
                    }
                }
                Ok(false)
            }
            Work::Hot { points, reaches } => {
                let all = reaches == points.epoch();
                let hot = || Box::new(work::hot(&points)) as Box<_>;
                self.reach(session, letters, (Some(&hot), &gone), reaches).await?;
                Ok(all)
            }
            Work::Nothing(closed) => {
                let (found, more) = letters.next(closed)?;
                let idle = found.is_empty() && closed.0 < session.place().0 + IDLE_EPOCHS;
                if more {
                    let place = session.place();
                    session.write(None, &[], &found, place).await?;
                } else if idle {
                    self.status.reached(closed);
                } else {
                    session.write(None, &[], &found, closed).await?;
                    self.status.moved(closed);
                }
                Ok(!more)
            }
        }
    }

    /// Commits points, and which of them are gone, together with the letters up to the same epoch.
    async fn reach(
        &self,
        session: &mut Session,
        letters: &mut Letters,
        (points, gone): (Option<&Points<'_>>, &[Replaced]),
        reaches: Epoch,
    ) -> Result<(), Error> {
        let last = loop {
            let (found, more) = letters.next(reaches)?;
            if !more {
                break found;
            }
            let place = session.place();
            session.write(None, &[], &found, place).await?;
        };
        session.write(points, gone, &last, reaches).await?;
        self.status.moved(reaches);
        Ok(())
    }
}
