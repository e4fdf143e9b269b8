//! Lets telemetry go that is older than it is to be kept.
//!
//! ```text
//!  plan: old days --> log: expires --> nobody waits for older rows --> two checkpoints behind that
//!                                                                             |
//!           files go <-- what verification has to know <-- the database has it <-'
//! ```
//!
//! From the record in the log on, assets refuse what has expired. What was accepted before may still
//! ask the archive for it, and so may a replay that begins before: so the files stay until neither
//! can be. Whatever happens in between, nothing is lost but time.

use super::checkpoint::Shared as Checkpoints;
use super::pager::Paging;
use crate::base::clock::Clock;
use crate::catalog::SharedCatalog;
use crate::checkpoint::KEPT;
use crate::historian::timescale::Timescale;
use crate::historian::{Day, Expired, Historian};
use crate::ingest::commit::{Committer, Submission};
use crate::model::{Document, Duration, Epoch, Expiry, Timestamp};
use crate::query::Query;
use crate::serve::{self, RetentionSum as Sum};
use crate::views::Views;
use anyhow::{Context, anyhow};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use tracing::{error, info};

/// Counter: days of telemetry that were removed.
pub const DAYS: &str = "millstream_retention_days_total";
/// Counter: points in them.
pub const POINTS: &str = "millstream_retention_points_total";
/// Counter: bytes of their files.
pub const BYTES: &str = "millstream_retention_bytes_total";
/// Counter: attempts that failed.
pub const FAILURES: &str = "millstream_retention_failures_total";

/// How often old days are looked for, and how often it is looked whether they may go.
const EVERY: std::time::Duration = std::time::Duration::from_secs(3_600);
const LOOK: std::time::Duration = std::time::Duration::from_secs(10);
/// Days that go at once.
const DAYS_AT_ONCE: usize = 31;
/// How long somebody waits who wants it now, and how often is looked.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
const SOON: std::time::Duration = std::time::Duration::from_millis(20);
const DAY: i64 = 86_400_000_000;

/// How long telemetry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// By event time, measured from the clock of the source; `None` for ever.
    pub telemetry: Option<Duration>,
    /// Since it was received, at least.
    pub min_age: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { telemetry: None, min_age: Duration(7 * DAY) }
    }
}

/// What is to go, what has gone, and what waits for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// How long telemetry is kept; none for ever.
    pub keep: Option<Duration>,
    /// How long since it was received, at least.
    pub min_age: Option<Duration>,
    /// What is older than this is to go.
    pub before: Option<Timestamp>,
    /// Days that may go.
    pub removable: Sum,
    /// Days that are old and stay, because points of them were received lately.
    pub young: Sum,
    /// Days that have gone, ever.
    pub removed: Sum,
    /// What keeps days that may go; empty when nothing does.
    pub held_by: String,
}

impl Outlook {
    /// For the wire.
    pub fn wire(&self) -> serve::Retention {
        let Self { removable, young, removed, .. } = *self;
        serve::Retention {
            keep: self.keep.map(|keep| keep.to_string()),
            min_age: self.min_age.map(|age| age.to_string()).unwrap_or_default(),
            before: self.before.map(|before| before.to_string()),
            removable,
            young,
            removed,
            held_by: self.held_by.clone(),
        }
    }
}

/// What expires, as the hub has heard of it last.
#[derive(Default)]
pub struct Heard {
    last: Mutex<Option<(Epoch, Expiry)>>,
    before: AtomicI64,
}

impl Heard {
    /// Nothing yet in this process; what has gone before was before this time.
    pub fn new(before: Option<Timestamp>) -> Self {
        let before = AtomicI64::new(before.map_or(i64::MIN, |before| before.0));
        Self { last: Mutex::default(), before }
    }

    /// Telemetry has expired at an epoch.
    pub fn tell(&self, epoch: Epoch, expiry: Expiry) {
        self.announce(expiry.before);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((epoch, expiry));
    }

    /// The time before which no document may hold any more.
    pub fn before(&self) -> Timestamp {
        Timestamp(self.before.load(Ordering::SeqCst))
    }

    fn announce(&self, before: Timestamp) {
        self.before.fetch_max(before.0, Ordering::SeqCst);
    }

    fn last(&self) -> Option<(Epoch, Expiry)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides what goes.
pub struct Retention {
    pub keep: Keep,
    pub heard: Arc<Heard>,
    pub historian: Arc<Historian>,
    pub views: Views,
    pub paging: Arc<Paging>,
    pub database: Option<Arc<Timescale>>,
    pub checkpoints: Option<Arc<Checkpoints>>,
    pub clock: Arc<dyn Clock>,
    pub committer: Committer,
    /// Whether this process says what expires.
    pub announces: bool,
    /// The epoch of the last expiry that was looked after, and from which on nobody asks for what
    /// expired then.
    pub settled: Mutex<Option<(Epoch, Epoch)>>,
}

/// The days that are old.
struct Plan {
    expiry: Expiry,
    due: Vec<Day>,
    young: Vec<Day>,
}

impl Retention {
    /// What would be done now.
    pub fn outlook(&self) -> Outlook {
        let removed = self.historian.expired().as_ref().map(of_expired).unwrap_or_default();
        let Keep { telemetry: keep, min_age } = self.keep;
        let outlook = Outlook { keep, min_age: Some(min_age), removed, ..Outlook::default() };
        let Some(plan) = self.plan() else { return outlook };
        let held_by = match plan.due.is_empty() {
            true => String::new(),
            false => self.obstacle(&plan).unwrap_or_default(),
        };
        Outlook {
            before: Some(plan.expiry.before),
            removable: of_days(&plan.due),
            young: of_days(&plan.young),
            held_by,
            ..outlook
        }
    }

    /// The old days; `None` when all are kept for ever.
    fn plan(&self) -> Option<Plan> {
        let keep = self.keep.telemetry?;
        let clock = self.views.clock();
        if clock == Timestamp::MIN {
            return None;
        }
        let before = clock.0.saturating_sub(keep.0).div_euclid(DAY);
        let before = Timestamp(before.saturating_mul(DAY));
        let received = (self.clock.now_micros() - self.keep.min_age.0) / 1_000;
        let expiry = Expiry { before, received: Epoch(u64::try_from(received).unwrap_or(0)) };
        let old = self.historian.days().into_iter().filter(|day| day.end() <= before);
        let (due, young) = old.partition(|day| day.expires(expiry));
        Some(Plan { expiry, due, young })
    }

    /// What has been announced and covers some of the days.
    fn announced(&self, due: &[Day]) -> Option<(Epoch, Expiry)> {
        self.heard.last().filter(|(_, expiry)| due.iter().any(|day| day.expires(*expiry)))
    }

    /// Why days that are to go stay for now; `None` when nothing keeps them.
    fn obstacle(&self, plan: &Plan) -> Option<String> {
        let Some((epoch, expiry)) = self.announced(&plan.due) else {
            return Some("not announced yet".into());
        };
        self.settled(epoch, expiry).err()
    }

    /// The epoch from which on nobody asks for what has expired, when no replay begins before it and
    /// the database has it.
    fn settled(&self, epoch: Epoch, expiry: Expiry) -> Result<Epoch, String> {
        let mut known = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = match *known {
            Some((of, settled)) if of == epoch => settled,
            _ => {
                let quiet = self.paging.quiet_before(expiry.before.0).filter(|at| *at >= epoch);
                let settled = quiet.ok_or("late points wait for older ones")?;
                *known = Some((epoch, settled));
                settled
            }
        };
        let Some(checkpoints) = &self.checkpoints else {
            return Err("no checkpoints are taken".into());
        };
        let kept = checkpoints.kept();
        if kept.len() < KEPT || kept.iter().any(|taken| taken.epoch < settled) {
            return Err("two checkpoints have to come after it".into());
        }
        let place = self.database.as_ref().map(|database| database.durable_epoch());
        if place.is_some_and(|place| place.unwrap_or_default() < settled) {
            return Err("the database has not taken it".into());
        }
        Ok(settled)
    }

    /// Goes on by one step: says what expires, or removes what has. Whether anything was done.
    fn go_on(&self, query: &Query, documents: Vec<Document>) -> anyhow::Result<bool> {
        let Some(plan) = self.plan().filter(|plan| !plan.due.is_empty()) else { return Ok(false) };
        let Some((epoch, expiry)) = self.announced(&plan.due) else {
            if self.announces {
                self.announce(plan.expiry)?;
            }
            return Ok(self.announces);
        };
        let Ok(settled) = self.settled(epoch, expiry) else { return Ok(false) };
        // Where another process has said it, this archive hears of it here.
        self.historian.announce(expiry.before)?;
        let carried = query.carry(expiry, documents);
        let carried = carried.context("keep what verification has to know of old telemetry")?;
        let gone = self.historian.expire(expiry, settled, DAYS_AT_ONCE, &carried)?;
        self.historian.remove_retired();
        let Sum { days, files, bytes, points } = of_days(&gone);
        if let (Some(first), Some(last)) = (gone.first(), gone.last()) {
            let (from, to) = (first.begin, last.end());
            info!(%from, %to, days, files, points, bytes, "old telemetry removed");
        }
        metrics::counter!(DAYS).increment(days);
        metrics::counter!(POINTS).increment(points);
        metrics::counter!(BYTES).increment(bytes);
        Ok(!gone.is_empty())
    }

    /// Says what expires, and waits until everybody has heard it. The archive knows it before, so
    /// that no document may hold before it after a restart either.
    fn announce(&self, expiry: Expiry) -> anyhow::Result<()> {
        self.historian.announce(expiry.before)?;
        self.heard.announce(expiry.before);
        let submission = Submission { expiry: Some(expiry), ..Submission::default() };
        let committed = self.committer.submit_blocking(submission)?;
        let begun = Instant::now();
        while self.views.epoch() < committed.epoch {
            if begun.elapsed() > PATIENCE {
                return Err(anyhow!("epoch {} is not visible yet", committed.epoch));
            }
            std::thread::sleep(SOON);
        }
        Ok(())
    }
}

/// The thread that removes old telemetry. It ends when this is dropped.
pub struct Keeper {
    work: Arc<Work>,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    retention: Arc<Retention>,
    query: Query,
    catalog: SharedCatalog,
    /// One at a time.
    turn: Mutex<()>,
    stopping: Mutex<bool>,
    changed: Condvar,
}

impl Keeper {
    /// Starts the thread where the engine is live. Elsewhere only what is asked for is done.
    pub fn start(
        retention: Arc<Retention>,
        query: Query,
        catalog: SharedCatalog,
        is_live: bool,
    ) -> std::io::Result<Self> {
        let (turn, stopping, changed) = Default::default();
        let work = Arc::new(Work { retention, query, catalog, turn, stopping, changed });
        if work.retention.keep.telemetry.is_none() || !is_live {
            return Ok(Self { work, thread: None });
        }
        let for_thread = Arc::clone(&work);
        let thread = std::thread::Builder::new().name("retention".into());
        let thread = Some(thread.spawn(move || for_thread.run())?);
        Ok(Self { work, thread })
    }

    /// Removes what may go, and waits for what it takes: checkpoints, late points, the database. What
    /// stays all the same is told. Blocks.
    pub fn now(&self) -> anyhow::Result<Outlook> {
        let _turn = self.work.turn();
        let begun = Instant::now();
        loop {
            if self.work.step()? {
                continue;
            }
            let outlook = self.work.retention.outlook();
            let checkpoints = &self.work.retention.checkpoints;
            let waits = !outlook.held_by.is_empty() && checkpoints.is_some();
            if !waits || begun.elapsed() > PATIENCE || self.work.is_stopping() {
                return Ok(outlook);
            }
            if self.work.retention.announces {
                checkpoints.iter().for_each(|checkpoints| checkpoints.ask());
            }
            std::thread::sleep(SOON);
        }
    }

    /// What would be done now.
    pub fn outlook(&self) -> Outlook {
        self.work.retention.outlook()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        *self.work.stopping() = true;
        self.work.changed.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that removes old telemetry panicked");
        }
    }
}

impl Work {
    fn run(&self) {
        loop {
            let turn = self.turn();
            let pause = loop {
                match self.step() {
                    Ok(true) if !self.is_stopping() => {}
                    Ok(_) if self.retention.outlook().held_by.is_empty() => break EVERY,
                    Ok(_) => break LOOK,
                    Err(failure) => {
                        metrics::counter!(FAILURES).increment(1);
                        let failure = format!("{failure:#}");
                        error!(failure, "old telemetry stays for now");
                        break LOOK;
                    }
                }
            };
            drop(turn);
            let stopping = self.stopping();
            let waited = self.changed.wait_timeout_while(stopping, pause, |stopping| !*stopping);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
        }
    }

    fn step(&self) -> anyhow::Result<bool> {
        let documents = {
            let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
            catalog.replaced_versions().chain(catalog.documents()).cloned().collect()
        };
        self.retention.go_on(&self.query, documents)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> MutexGuard<'_, bool> {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        *self.stopping()
    }
}

fn of_days(days: &[Day]) -> Sum {
    let add = |sum: Sum, day: &Day| Sum {
        days: sum.days + 1,
        files: sum.files + day.files,
        bytes: sum.bytes + day.bytes,
        points: sum.points + day.points,
    };
    days.iter().fold(Sum::default(), add)
}

fn of_expired(expired: &Expired) -> Sum {
    let Expired { days, files, bytes, points, .. } = *expired;
    Sum { days, files, bytes, points }
}
