//! The runtime: every room opened on one data directory, joined, and stopped in order.

use super::accord::{Accord, Standing};
use super::checkpoint::{self, Checkpoints, Hold, Taker};
use super::cluster::{Cluster, Heard, Member, Met, OwnLog, check_alone};
use super::departures::{Departures, Reader};
use super::directory::Devices;
use super::events::Events;
use super::hub::{self, Feeds, Follows, Saver};
use super::limits;
use super::memory::{Rooms, Watch};
use super::pager::{self, Pager, Paging};
use super::past::Past;
use super::recover::{Recovered, Sources, check_reach, replay, stopped};
use super::restore;
use super::retention::{self, Keep, Keeper, Outlook, Retention};
use super::sink::Asked;
use super::sources::{Behind, LiveViews, Status};
use super::submit::Submitter;
use crate::base::clock::{Clock, SystemClock};
use crate::base::fs::{Fs, RealFs};
use crate::base::link::Lines;
use crate::base::lock::DirectoryLock;
use crate::base::memory::Budget;
use crate::base::shutdown::Shutdown;
use crate::catalog::{Catalog, SharedCatalog};
use crate::checkpoint::Store;
use crate::dataflow::{self, Engine, Place};
use crate::historian::timescale::{self, Ask, Follow, Timescale};
use crate::historian::{self, Historian, OldRows};
use crate::ingest::commit::{Committer, Limits, Submission, Turn};
use crate::ingest::route::{Settings as Routing, UnknownDevices};
use crate::log::{self, Log};
use crate::model::{Epoch, Frame, NewDocument, Timestamp};
use crate::query::{self, Query};
use crate::views::{InMemory, Restored, Views};
use anyhow::{Context, anyhow, bail};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::info;

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
    /// The database that gets the history too. In a cluster the process that keeps the catalog
    /// writes points and events, and each its own dead letters.
    pub database: Option<timescale::Settings>,
    /// How long after a checkpoint the next one is taken when anything is new; `None` takes none,
    /// not at the end either. What is there is started from all the same. In a cluster that of the
    /// process that keeps the catalog counts for all, and none is taken at the end.
    pub checkpoint_every: Option<Duration>,
    /// The other processes, when the graph runs in several.
    pub cluster: Option<Arc<Cluster>>,
    /// How many bytes of memory the process may use before telemetry is refused.
    pub memory: u64,
    /// How much of the roll-ups stays in memory. What does not is read from files.
    pub in_memory: InMemory,
    /// So many archive files of one day and of about the same size become one; 0 merges none.
    pub merge_files: usize,
    /// `AS OF SYSTEM TIME` knows the source's clock of the past to within this.
    pub clock_error: crate::model::Duration,
    /// The store behind the archive that takes its old files. Without one that is told, that which
    /// the archive knows is read, and no file moves.
    pub archive_store: Option<historian::StoreSettings>,
    /// How long telemetry is kept.
    pub keep: Keep,
}

impl Settings {
    /// A runtime by itself on a data directory: one worker, devices are provisioned, the clock does
    /// not tick, no checkpoints, 16 GiB of memory.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            workers: 1,
            unknown_devices: UnknownDevices::Provision,
            live: false,
            database: None,
            checkpoint_every: None,
            cluster: None,
            memory: 16 << 30,
            in_memory: InMemory::default(),
            merge_files: historian::Options::default().merge_files,
            clock_error: historian::Options::default().clock_error,
            archive_store: None,
            keep: Keep::default(),
        }
    }
}

/// The rooms, running.
pub struct Runtime {
    // Declared first, so that a dropped runtime lets go of the committer that this thread holds
    // before it waits for the engine, whose frames end with the last committer.
    watch: Watch,
    pager: Option<Pager>,
    paging: Arc<Paging>,
    keeper: Arc<Keeper>,
    checkpoints: Option<Checkpoints>,
    /// The memory that may be used, and how much of it is.
    pub memory: Budget,
    /// The newest committed catalog.
    pub catalog: SharedCatalog,
    /// Makes telemetry and documents durable.
    pub committer: Committer,
    /// The way into the log for everybody but this process's own recordings.
    pub submitter: Submitter,
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
    /// What was found: the last epoch, the number of frames that were replayed, and the epoch of the
    /// checkpoint they were replayed on.
    pub recovered: Recovered,
    cluster: Option<Arc<Cluster>>,
    frames: query::Frames,
    engine: Arc<Mutex<Option<Engine>>>,
    writer: JoinHandle<Log>,
    hub: JoinHandle<()>,
    _lock: DirectoryLock,
}

impl Runtime {
    /// Locks the data directory, takes over the newest checkpoint that is whole, replays the log
    /// behind it and is ready: every view is as it was.
    ///
    /// One process of a cluster takes over the newest checkpoint that all of them have, and is ready
    /// when all of them are.
    ///
    /// Fails when another process has the directory, when the log is damaged or does not reach
    /// back to a checkpoint, or when a document in it cannot be applied.
    pub fn open(settings: &Settings) -> anyhow::Result<Self> {
        let data = &settings.data;
        let lock = DirectoryLock::acquire(data)?;
        let cluster = settings.cluster.as_ref();
        match cluster {
            Some(cluster) => Member::take(data, cluster.hosts())?,
            None => check_alone(data)?,
        }
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let log_directory = data.join("log");
        let log = Log::open(Arc::clone(&fs), &log_directory, log::Options::default())?;
        let memory = Budget::new(settings.memory);
        let (merge_files, clock_error) = (settings.merge_files, settings.clock_error);
        let store = settings.archive_store.clone();
        let options =
            historian::Options { merge_files, clock_error, store, ..limits::archive(&memory) };
        let historian = Historian::open(&data.join("archive"), options)?;
        let historian = Arc::new(historian);
        let views = Views::new(limits::views(&memory));
        let old_rows = OldRows::open(historian.directory())?;
        let reader = Reader(old_rows.clone());
        views.read_from(Arc::new(reader.clone()));
        let shutdown = Shutdown::new();
        let mut store = Store::open(Arc::clone(&fs), &data.join("checkpoints"))?;
        let place = match cluster {
            Some(cluster) => cluster.place(),
            None => Place::alone(settings.workers),
        };
        let meet = |store: &mut Store| {
            let Some(cluster) = cluster else { return Ok(None) };
            let standing = Standing::of(store, Epoch(0));
            let met = cluster.meet(log.last_epoch().unwrap_or_default(), standing)?;
            check_reach(&log, met.common.first().copied().unwrap_or_default(), Some(cluster))?;
            store.retain(&met.common)?;
            store.prune();
            Ok(Some(met))
        };
        let (met, start) = restore::newest(&mut store, place, limits::views(&memory), meet)?;
        let kept = start.as_ref().map(|start| start.views.files()).unwrap_or_default();
        old_rows.check(&kept).context("old rows of views; restore the file from a backup")?;
        // What left memory later comes again from the log.
        old_rows.retain(&kept)?;
        let departures = Departures::start(reader, settings.in_memory)?;
        let base = start.as_ref().map_or(Epoch(0), |start| start.epoch);
        check_reach(&log, base, cluster.map(|cluster| &**cluster))?;
        let newest = met.as_ref().map(|met| met.newest);
        let (frames, to_engine) = crossbeam_channel::bounded(FRAMES_QUEUED);
        let (from_engine, outputs) = crossbeam_channel::bounded(OUTPUTS_QUEUED);
        let keeps_catalog = cluster.is_none_or(|cluster| cluster.keeps_catalog());
        let first = start.as_ref().map(|start| start.frame(keeps_catalog));
        let (catalog, restored, assets) = match start {
            Some(start) => (start.catalog, Some(start.views), Some(start.assets)),
            None => (Catalog::new(), None, None),
        };
        let (pieces, to_taker) = crossbeam_channel::unbounded();
        let heard = Arc::new(Heard::default());
        let states = dataflow::Checkpoints { from: assets, pieces: Some(pieces) };
        let Place { process, processes, workers } = place;
        let lines = Lines::new(workers);
        let others = (0..processes).filter(|number| *number != process);
        let accord = Accord::new(Arc::clone(&lines), others);
        let engine = match met {
            Some(Met { sockets, .. }) => {
                let hears = Arc::clone(&heard);
                let heard: dataflow::Heard = Arc::new(move |epoch| hears.tell(epoch));
                let others = dataflow::Cluster { process, sockets, lines, heard };
                Engine::start_among(workers, to_engine, from_engine, states, others)?
            }
            None => Engine::start_from(workers, to_engine, from_engine, states)?,
        };
        let (marker, meter) = (engine.marker(), engine.meter());
        let engine = Arc::new(Mutex::new(Some(engine)));
        let changed = Arc::new(AtomicBool::new(false));
        let (images, to_save) = crossbeam_channel::bounded(1);
        let (marks, marked) = crossbeam_channel::unbounded();
        let saver = Saver { changed: Arc::clone(&changed), images };
        let (to_views, to_archive) = (views.clone(), Arc::clone(&historian));
        let removed = restored.iter().flat_map(|views: &Restored| views.removed().keys().copied());
        let removed = removed.collect();
        let paging: Arc<Paging> = Arc::default();
        let to_paging = Arc::clone(&paging);
        let expiring = Arc::new(retention::Heard::new(historian.announced()));
        let catalog: SharedCatalog = Arc::new(RwLock::new(catalog));
        let keeper = cluster.filter(|_| !keeps_catalog);
        let follows =
            keeper.map(|_| Follows { catalog: Arc::clone(&catalog), marks: marks.clone() });
        let feeds = Feeds {
            views: to_views,
            historian: to_archive,
            restored,
            saver,
            paging: to_paging,
            departures,
            removed,
            heard: Arc::clone(&expiring),
            follows,
            clock: Timestamp::MIN,
        };
        let ended = Shutdown::new();
        let told = (shutdown.clone(), ended.clone());
        let hub = hub::start(outputs, feeds, told).context("start the hub")?;

        let behind = Epoch(base.0 + u64::from(first.is_some()));
        let reader = log::read(&fs, &log_directory, behind)?;
        let refill = |frame: &mut Frame, before: Epoch| {
            wait_until_visible(&views, before, &engine)?;
            pager::fill(&mut frame.pages, &historian, before)
        };
        let sources = Sources { keeps_catalog, is_alone: cluster.is_none(), refill: &refill };
        let replayed = replay(reader, first, &catalog, &frames, &sources);
        let replayed = replayed.and_then(|mut recovered| {
            if let Some(newest) = newest {
                // The others' logs may go further than this one.
                if newest > recovered.epoch {
                    frames.send(Frame::pass(newest)).map_err(|_| stopped())?;
                }
                recovered.epoch = newest;
            }
            wait_until_visible(&views, recovered.epoch, &engine)?;
            Ok(recovered)
        });
        let recovered = match replayed {
            Ok(recovered) => recovered,
            Err(error) => {
                // Nothing of this engine goes on when it is opened again.
                drop(frames);
                let engine = engine.lock().unwrap_or_else(PoisonError::into_inner).take();
                let ended = engine.map_or(Ok(()), Engine::join);
                let _ = hub.join();
                return Err(ended
                    .err()
                    .map_or(error, |ended| anyhow!(ended).context("the dataflow failed")));
            }
        };
        let Recovered { epoch, frames: replayed, rows, checkpoint } = recovered;
        let checkpoint = checkpoint.unwrap_or_default();
        info!(%epoch, %checkpoint, frames = replayed, rows, "log replayed");

        let own = OwnLog { fs: Arc::clone(&fs), directory: log_directory.clone() };
        let all_frames: query::Frames = match cluster.map(Arc::clone) {
            Some(cluster) => {
                cluster.lend(Some(own.clone()));
                Arc::new(move |up_to| cluster.frames(&own, up_to))
            }
            None => Arc::new(move |up_to| {
                let frames = own.read(Epoch(0), up_to).map_err(|error| error.to_string())?;
                Ok(Box::new(frames.map(|frame| frame.map_err(|error| error.to_string()))))
            }),
        };
        let events = Events { views: views.clone(), old_rows: old_rows.clone() };
        let asked = Asked { views: views.clone(), old_rows };
        let database = settings.database.clone().map(|database| {
            let sources = timescale::Sources {
                data: data.clone(),
                fs: Arc::clone(&fs),
                log: log_directory,
                recovered: recovered.epoch,
                started: base,
                historian: Arc::clone(&historian),
                events: keeps_catalog.then(|| Box::new(events) as Box<dyn Follow>),
                views: keeps_catalog.then(|| Box::new(asked) as Box<dyn Ask>),
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
            memory: memory.clone(),
            paging: Arc::clone(&paging),
        };
        let ticks = settings.live.then_some(Duration::from_secs(1));
        let turn = cluster.map(|cluster| Turn {
            processes: cluster.hosts().processes() as u64,
            process: cluster.process() as u64,
            passed: recovered.epoch,
        });
        let turn = turn.unwrap_or_default();
        let limits = Limits { ticks, turn, ..limits::commit(&memory) };
        let assign = match keeper {
            Some(_) => Box::new(|_, _| Err("process 0 keeps the catalog".to_owned())),
            None => assign(Arc::clone(&catalog), Arc::clone(&expiring)),
        };
        let on_mark = checkpoint::on_mark(Arc::clone(&catalog), marker, marks);
        let told = (assign, on_mark);
        let (committer, writer) =
            Committer::start_marking(log, told, Arc::clone(&clock), frames, limits)?;
        heard.pass_to(committer.passer());
        let submitter = Submitter {
            committer: committer.clone(),
            views: views.clone(),
            ended,
            keeper: keeper.map(Arc::clone),
        };
        if let Some(cluster) = cluster.filter(|cluster| cluster.keeps_catalog()) {
            let committer = committer.clone();
            cluster.keep(Some(Arc::new(move |documents| {
                let submission = Submission { documents, ..Submission::default() };
                committer.submit_blocking(submission).map(|committed| committed.epoch)
            })));
        }
        let every = settings.checkpoint_every.filter(|_| keeps_catalog);
        // Who does not mark frames takes checkpoints when another process does.
        let takes = every.is_some() || !keeps_catalog;
        let taker = takes.then(|| Taker {
            every,
            store,
            accord,
            clock: Arc::clone(&clock),
            committer: committer.clone(),
            historian: Arc::clone(&historian),
            changed,
            workers,
            marks: marked,
            pieces: to_taker,
            images: to_save,
        });
        let checkpoints = taker.map(Checkpoints::start).transpose()?;
        if let (Some(checkpoints), Some(database)) = (&checkpoints, &database) {
            // It reads dead letters from the log.
            let database = Arc::clone(database);
            let place = move || database.durable_epoch().unwrap_or_default();
            checkpoints.shared().hold(Arc::new(place));
        }
        let shown = checkpoints.as_ref().map(|checkpoints| Arc::clone(checkpoints.shared()));
        let past = Past { historian: Arc::clone(&historian) };
        let retention = Arc::new(Retention {
            keep: settings.keep,
            heard: expiring,
            historian: Arc::clone(&historian),
            views: views.clone(),
            paging: Arc::clone(&paging),
            database: database.clone(),
            checkpoints: shown.clone(),
            clock: Arc::clone(&clock),
            committer: committer.clone(),
            announces: keeps_catalog,
            settled: Mutex::default(),
        });
        let query = Query::new(
            Arc::new(LiveViews { views: views.clone(), past: Arc::new(past) }),
            Arc::new(status.with(committer.clone(), shown, Arc::clone(&retention))),
            Arc::clone(&historian),
            limits::query(&memory),
        )?;
        let query = match &settings.database {
            Some(database) => {
                let reader = Arc::new(timescale::Reader::new(database));
                query.with_database(Arc::new(Behind(reader)))
            }
            None => query,
        };
        let rooms = Rooms {
            catalog: Arc::clone(&catalog),
            committer: committer.clone(),
            meter,
            historian: Arc::clone(&historian),
            views: views.clone(),
            query: query.clone(),
            budget: memory.clone(),
        };
        let watch = Watch::start(rooms)?;
        // Who publishes the documents brings the pages too.
        let pager = keeper.is_none().then(|| pager::Rooms {
            paging: Arc::clone(&paging),
            historian: Arc::clone(&historian),
            views: views.clone(),
            committer: committer.clone(),
        });
        let pager = pager.map(Pager::start).transpose()?;
        let keeper = Keeper::start(retention, query.clone(), Arc::clone(&catalog), settings.live)?;
        let keeper = Arc::new(keeper);
        let devices = Arc::new(Devices::new(Arc::clone(&catalog)));
        let routing = Routing { unknown_devices: settings.unknown_devices, ..Routing::default() };
        Ok(Self {
            watch,
            pager,
            paging,
            keeper,
            memory,
            catalog,
            committer,
            submitter,
            cluster: settings.cluster.clone(),
            views,
            historian,
            database,
            query,
            devices,
            routing,
            clock,
            shutdown,
            recovered,
            frames: all_frames,
            engine,
            checkpoints,
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

    /// Waits until all that was committed is visible. Fails when late points wait for archived ones
    /// that cannot be read.
    pub fn settle(&self) -> anyhow::Result<()> {
        wait_until_visible(&self.views, self.committer.durable_epoch(), &self.engine)?;
        self.paging.settle()
    }

    /// Recomputes every view from the archived points and compares. Assets that wait for archived
    /// points, or for their turn, are waited for.
    pub async fn verify(&self) -> Result<query::Report, query::Error> {
        self.paged().await?;
        let documents = {
            let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
            catalog.replaced_versions().chain(catalog.documents()).cloned().collect()
        };
        self.query.verify(documents).await
    }

    /// Recounts from the log, in a cluster from all logs, that every accepted point is in telemetry
    /// exactly once.
    ///
    /// What came late and waits for archived points is waited for.
    pub async fn conservation(&self) -> Result<query::Conservation, query::Error> {
        self.paged().await?;
        self.query.conservation(Arc::clone(&self.frames)).await
    }

    /// What retention would do now.
    pub fn retention(&self) -> Outlook {
        self.keeper.outlook()
    }

    /// Removes the telemetry that is older than it is to be kept, and waits for what it takes. What
    /// stays all the same is told.
    pub async fn retain(&self) -> anyhow::Result<Outlook> {
        let keeper = Arc::clone(&self.keeper);
        tokio::task::spawn_blocking(move || keeper.now()).await?
    }

    /// Waits until no asset waits for archived points or for its turn.
    async fn paged(&self) -> Result<(), query::Error> {
        let paging = Arc::clone(&self.paging);
        let settled = tokio::task::spawn_blocking(move || paging.settle()).await;
        let settled = settled.map_err(query::Error::failed)?;
        settled.map_err(|error| query::Error::failed(format!("{error:#}")))
    }

    /// Whether an asset still waits that did so when [`Runtime::pages_wanted`] was `count`.
    pub fn waits_for_pages(&self, count: u64) -> bool {
        self.paging.waits(count)
    }

    /// How often, since it was opened, an asset has asked for archived points or for its turn.
    pub fn pages_wanted(&self) -> u64 {
        self.paging.count()
    }

    /// Keeps the log from being cut before what somebody still needs of it.
    pub fn hold_log(&self, hold: Hold) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.shared().hold(hold);
        }
    }

    /// Why the engine stopped, if it did.
    pub fn failure(&self) -> Option<String> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.as_ref().and_then(Engine::failure).map(|error| error.to_string())
    }

    /// Stops in order: everything committed becomes visible, a last checkpoint is taken, no more
    /// commits, the last points are archived, then the threads end. A runtime that is dropped
    /// instead stops too, but nobody waits.
    pub fn close(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        if let Some(cluster) = &self.cluster {
            cluster.keep(None);
            cluster.lend(None);
        }
        // An engine that has failed is told of below.
        let committed = self.committer.durable_epoch();
        let settled = wait_until_visible(&self.views, committed, &self.engine);
        self.watch.close();
        drop((self.pager, self.keeper));
        // The last one of a cluster would need all processes to stop together.
        let abandoned = match (self.checkpoints, &self.cluster, &settled) {
            (Some(checkpoints), None, Ok(())) => {
                checkpoints.close();
                None
            }
            (checkpoints, ..) => checkpoints.map(Checkpoints::abandon),
        };
        self.committer.clone().close();
        let panicked = |thread: &str| anyhow!("the {thread} thread panicked");
        let log = self.writer.join().map_err(|_| panicked("committer's"))?;
        // Only system tables still hold a sender of frames: they go with the query room.
        drop((self.query, self.devices));
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(engine), Some(_)) = (&engine, &self.cluster) {
            // The others go on, or wait for this process to come back.
            engine.leave();
        }
        let ended = engine.map_or(Ok(()), Engine::join);
        self.hub.join().map_err(|_| panicked("hub"))?;
        // The next runtime on this directory is not to find it at work.
        if let Some(thread) = abandoned {
            thread.join().map_err(|_| panicked("checkpoints'"))?;
        }
        if ended.is_ok() {
            self.historian.flush().context("archive the last points")?;
        }
        if let Some(database) = self.database {
            database.finish(SINK_PATIENCE);
        }
        ended.context("the dataflow failed")?;
        if let Some(reason) = log.poisoned() {
            bail!("the log failed: {reason}");
        }
        Ok(())
    }
}

/// The catalog's part of a commit: checks a document, gives it its id, applies it.
fn assign(
    catalog: SharedCatalog,
    expiring: Arc<retention::Heard>,
) -> crate::ingest::commit::Assign {
    Box::new(move |new: NewDocument, now: Timestamp| {
        let text = |problems: Vec<crate::catalog::Problem>| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let mut catalog = catalog.write().unwrap_or_else(PoisonError::into_inner);
        let document = catalog.assign(&new, now).map_err(text)?;
        if let Some(document) = &document {
            let (from, kept_from) = (document.effective_from, expiring.before());
            if from != Timestamp::MIN && from < kept_from {
                return Err(format!(
                    "it is to hold from {from} on, but telemetry before {kept_from} is not kept"
                ));
            }
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
