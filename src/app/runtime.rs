//! The runtime: every room opened on one data directory, joined, and stopped in order.

use super::directory::Devices;
use super::hub::{self, Feeds};
use super::sink::Events;
use super::sources::{LiveViews, Status};
use crate::base::clock::{Clock, SystemClock};
use crate::base::fs::{Fs, RealFs};
use crate::base::lock::DirectoryLock;
use crate::base::shutdown::Shutdown;
use crate::catalog::{Catalog, SharedCatalog};
use crate::dataflow::Engine;
use crate::historian::timescale::{self, Timescale};
use crate::historian::{self, Historian};
use crate::ingest::commit::{Committer, Limits, Submission};
use crate::ingest::route::{Settings as Routing, UnknownDevices};
use crate::log::{self, Log};
use crate::model::{Epoch, Frame, NewDocument, Timestamp};
use crate::query::{self, Query};
use crate::views::{self, Views};
use anyhow::{Context, anyhow, bail};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Frames between the log and the dataflow. A full channel stops the committer.
const FRAMES_QUEUED: usize = 64;
/// Outputs between the dataflow and the views. A full channel stops the workers.
const OUTPUTS_QUEUED: usize = 1_024;

/// How long a stop waits for a database that is following.
const SINK_PATIENCE: Duration = Duration::from_secs(5);

/// What a runtime is opened with.
#[derive(Clone)]
pub struct Settings {
    /// The data directory; made when it is not there.
    pub data: PathBuf,
    /// Worker threads of the dataflow.
    pub workers: usize,
    /// What happens to messages of unknown devices.
    pub unknown_devices: UnknownDevices,
    /// Whether the wall clock ticks. Off in a replay, which brings the recording's time.
    pub live: bool,
    /// The database that gets the history too.
    pub database: Option<timescale::Settings>,
}

/// The rooms, running.
pub struct Runtime {
    /// The newest committed catalog.
    pub catalog: SharedCatalog,
    /// Makes telemetry and documents durable.
    pub committer: Committer,
    /// The live views.
    pub views: Views,
    /// The archive.
    pub historian: Arc<Historian>,
    /// The way into the database, when there is one.
    pub database: Option<Arc<Timescale>>,
    /// SQL.
    pub query: Query,
    /// The catalog as ingest sees it.
    pub devices: Arc<Devices>,
    /// How routing treats what it does not know.
    pub routing: Routing,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Tells everybody to stop; triggered by the runtime itself when the engine fails.
    pub shutdown: Shutdown,
    /// What was found in the log: the last epoch and the number of frames.
    pub recovered: (Epoch, u64),
    engine: Arc<Mutex<Option<Engine>>>,
    writer: JoinHandle<Log>,
    hub: JoinHandle<()>,
    _lock: DirectoryLock,
}

impl Runtime {
    /// Locks the data directory, replays the log and is ready: every view is as it was.
    ///
    /// Fails when another process has the directory, when the log is damaged, or when a document
    /// in it cannot be applied.
    pub fn open(settings: &Settings) -> anyhow::Result<Self> {
        let data = &settings.data;
        let lock = DirectoryLock::acquire(data)?;
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let log_directory = data.join("log");
        let log = Log::open(Arc::clone(&fs), &log_directory, log::Options::default())?;
        let historian = Historian::open(&data.join("archive"), historian::Options::default())?;
        let historian = Arc::new(historian);
        let views = Views::new(views::Limits::default());
        let shutdown = Shutdown::new();

        let (frames, to_engine) = crossbeam_channel::bounded(FRAMES_QUEUED);
        let (from_engine, outputs) = crossbeam_channel::bounded(OUTPUTS_QUEUED);
        let engine = Engine::start(settings.workers, to_engine, from_engine)?;
        let engine = Arc::new(Mutex::new(Some(engine)));
        let feeds = Feeds { views: views.clone(), historian: Arc::clone(&historian) };
        let hub = hub::start(outputs, feeds, shutdown.clone()).context("start the hub")?;

        let catalog: SharedCatalog = Arc::new(RwLock::new(Catalog::new()));
        let reader = log::read(&fs, &log_directory, Epoch(0))?;
        let recovered = replay(reader, &catalog, &frames)?;
        wait_until_visible(&views, recovered.0, &engine)?;

        let database = settings.database.clone().map(|database| {
            let sources = timescale::Sources {
                data: data.clone(),
                fs: Arc::clone(&fs),
                log: log_directory,
                recovered: recovered.0,
                historian: Arc::clone(&historian),
                events: Box::new(Events(views.clone())),
            };
            Timescale::start(database, sources).map(Arc::new)
        });
        let database = database.transpose()?;
        let status = Status {
            views: views.clone(),
            historian: Arc::clone(&historian),
            database: database.clone(),
            engine: Arc::clone(&engine),
            frames: frames.clone(),
        };
        let ticks = settings.live.then_some(Duration::from_secs(1));
        let limits = Limits { ticks, ..Limits::default() };
        let assign = assign(Arc::clone(&catalog));
        let (committer, writer) =
            Committer::start(log, assign, Arc::clone(&clock), frames, limits)?;
        let query = Query::new(
            Arc::new(LiveViews(views.clone())),
            Arc::new(status.with(committer.clone())),
            Arc::clone(&historian),
            query::Limits::default(),
        )?;
        let devices = Arc::new(Devices::new(Arc::clone(&catalog)));
        let routing = Routing { unknown_devices: settings.unknown_devices, ..Routing::default() };
        Ok(Self {
            catalog,
            committer,
            views,
            historian,
            database,
            query,
            devices,
            routing,
            clock,
            shutdown,
            recovered,
            engine,
            writer,
            hub,
            _lock: lock,
        })
    }

    /// Publishes documents in their order and waits until they have taken effect. Documents equal
    /// to the current ones are left out. Returns how many changed something.
    pub fn publish(&self, documents: Vec<NewDocument>) -> anyhow::Result<usize> {
        let changed: Vec<NewDocument> = {
            let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
            let current = |new: &NewDocument| {
                catalog.document(new.kind, &new.key).and_then(|document| document.body.clone())
            };
            documents.into_iter().filter(|new| current(new) != new.body).collect()
        };
        let count = changed.len();
        if count > 0 {
            let submission = Submission { documents: changed, ..Submission::default() };
            let committed = self.committer.submit_blocking(submission)?;
            wait_until_visible(&self.views, committed.epoch, &self.engine)?;
        }
        Ok(count)
    }

    /// Waits until all that was committed is visible.
    pub fn settle(&self) -> anyhow::Result<()> {
        wait_until_visible(&self.views, self.committer.durable_epoch(), &self.engine)
    }

    /// Recomputes every view from the archived points and compares.
    pub async fn verify(&self) -> Result<query::Report, query::Error> {
        let documents = {
            let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
            catalog.replaced_versions().chain(catalog.documents()).cloned().collect()
        };
        self.query.verify(documents).await
    }

    /// Why the engine stopped, if it did.
    pub fn failure(&self) -> Option<String> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.as_ref().and_then(Engine::failure).map(|error| error.to_string())
    }

    /// Stops in order: no more commits, everything committed becomes visible and is archived,
    /// then the threads end. A runtime that is dropped instead stops too, but nobody waits.
    pub fn close(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        self.committer.clone().close();
        let panicked = |thread: &str| anyhow!("the {thread} thread panicked");
        let log = self.writer.join().map_err(|_| panicked("committer's"))?;
        // Only system tables still hold a sender of frames: they go with the query room.
        drop((self.query, self.devices));
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = engine.map_or(Ok(()), Engine::join);
        self.hub.join().map_err(|_| panicked("hub"))?;
        ended.context("the dataflow failed")?;
        self.historian.flush().context("archive the last points")?;
        if let Some(database) = self.database {
            database.finish(SINK_PATIENCE);
        }
        if let Some(reason) = log.poisoned() {
            bail!("the log failed: {reason}");
        }
        Ok(())
    }
}

/// Feeds the whole log to the catalog and the dataflow.
fn replay(
    reader: log::Reader,
    catalog: &SharedCatalog,
    frames: &crossbeam_channel::Sender<Frame>,
) -> anyhow::Result<(Epoch, u64)> {
    let mut recovered = (Epoch(0), 0);
    for frame in reader {
        let frame = frame?;
        {
            let mut catalog = catalog.write().unwrap_or_else(PoisonError::into_inner);
            for document in &frame.documents {
                catalog.apply(document).map_err(|problems| {
                    let what = problems.first().map(ToString::to_string).unwrap_or_default();
                    anyhow!(
                        "the log has a document that does not apply: {} '{}': {what}",
                        document.kind,
                        document.key
                    )
                })?;
            }
        }
        recovered = (frame.epoch, recovered.1 + 1);
        frames.send(frame).map_err(|_| anyhow!("the dataflow stopped while the log was read"))?;
    }
    Ok(recovered)
}

/// The catalog's part of a commit: checks a document, gives it its id, applies it.
fn assign(catalog: SharedCatalog) -> crate::ingest::commit::Assign {
    Box::new(move |new: NewDocument, now: Timestamp| {
        let text = |problems: Vec<crate::catalog::Problem>| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let mut catalog = catalog.write().unwrap_or_else(PoisonError::into_inner);
        let document = catalog.assign(&new, now).map_err(text)?;
        if let Some(document) = &document {
            catalog.apply(document).map_err(text)?;
        }
        Ok(document)
    })
}

fn wait_until_visible(
    views: &Views,
    epoch: Epoch,
    engine: &Mutex<Option<Engine>>,
) -> anyhow::Result<()> {
    // Short naps instead of a waker: this waits at start, at stop and in commands only.
    while views.epoch() < epoch {
        let engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = engine.as_ref().and_then(Engine::failure) {
            return Err(error).context("the dataflow failed");
        }
        drop(engine);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
