//! Asks the rooms what they hold, and tells the budget.

use crate::base::memory::{Budget, Component, Usage, resident};
use crate::catalog::SharedCatalog;
use crate::dataflow::Meter;
use crate::historian::Historian;
use crate::ingest::commit::Committer;
use crate::model::spare;
use crate::query::Query;
use crate::views::Views;
use bytesize::ByteSize;
use crossbeam_channel::{RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Gauge, label `component`: bytes that a part of the program holds.
pub const COMPONENT: &str = "millstream_memory_bytes";
/// Gauge: bytes that count as used.
pub const USED: &str = "millstream_memory_used_bytes";
/// Gauge: bytes that may be used.
pub const BUDGET: &str = "millstream_memory_budget_bytes";
/// Gauge: 1 while telemetry is refused, else 0.
pub const REFUSING: &str = "millstream_memory_refusing";

/// The name of the process among the components: its resident set.
pub const PROCESS: &str = "process";
/// The name of what counts as used among the components; its limit is the budget.
pub const COUNTED: &str = "used";

/// How often the rooms are asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often the size of the process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The same when more than three quarters of the budget are used.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(25);

/// What a document takes beside its text: it stands in the catalog, in its view, and as routes,
/// names and numbers in every worker and at the doors.
const DOCUMENT_BYTES: usize = 1_536;

/// Everybody who holds much.
pub struct Rooms {
    pub catalog: SharedCatalog,
    pub committer: Committer,
    pub meter: Meter,
    pub historian: Arc<Historian>,
    pub views: Views,
    pub query: Query,
    pub budget: Budget,
}

/// The thread that asks. It ends when this is dropped.
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Asks once, then starts the thread.
    pub fn start(rooms: Rooms) -> std::io::Result<Self> {
        // What the log's frames were made of before there was a committer is done with.
        let budget = rooms.budget.clone();
        let before = rooms.meter.finished_bytes();
        tell(&budget, Some(rooms.components(before)));
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let thread = std::thread::Builder::new().name("memory".into()).spawn(move || {
            let mut asked = Instant::now();
            loop {
                let Usage { used, budget: bytes, .. } = budget.usage();
                let close = used > bytes / 4 * 3;
                let pause = if close { LOOK_CLOSELY_EVERY } else { LOOK_EVERY };
                let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) else { return };
                let due = asked.elapsed() >= ASK_EVERY;
                if due {
                    asked = Instant::now();
                }
                tell(&budget, due.then(|| rooms.components(before)));
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread and waits for it.
    pub fn close(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the memory's thread panicked");
        }
    }
}

/// Reports to the budget, and to everybody what came of it.
fn tell(budget: &Budget, components: Option<Vec<Component>>) {
    let asked = components.is_some();
    let (usage, changed) = budget.report(components, resident());
    let Usage { used, budget: bytes, refusing } = usage;
    if changed {
        let (used, budget) = (ByteSize(used).to_string(), ByteSize(bytes).to_string());
        match refusing {
            true => tracing::error!(used, budget, "memory is used up: telemetry is refused"),
            false => tracing::info!(used, budget, "there is memory again: telemetry is taken"),
        }
    }
    metrics::gauge!(REFUSING).set(f64::from(u8::from(refusing)));
    if asked {
        metrics::gauge!(USED).set(used as f64);
        metrics::gauge!(BUDGET).set(bytes as f64);
        for component in all(budget) {
            metrics::gauge!(COMPONENT, "component" => component.name).set(component.bytes as f64);
        }
    }
}

/// All components as they were reported last, then the process and what counts as used.
pub fn all(budget: &Budget) -> Vec<Component> {
    let (mut all, resident) = budget.reported();
    let Usage { used, budget: limit, .. } = budget.usage();
    all.extend(resident.map(|bytes| Component { name: PROCESS, bytes, limit: None }));
    all.push(Component { name: COUNTED, bytes: used, limit: Some(limit) });
    all
}

impl Rooms {
    /// What everybody holds. `before`: the bytes of frames that did not come from the committer.
    fn components(&self, before: u64) -> Vec<Component> {
        let assets = self.meter.assets();
        let views = self.views.held();
        let frames =
            (self.committer.sent_bytes() + before).saturating_sub(self.meter.finished_bytes());
        let documents = self.catalog.read().unwrap_or_else(PoisonError::into_inner).size();
        let (hot, hot_limit) = self.historian.hot_bytes();
        let (sql, sql_limit) = self.query.memory();
        let (queued, queue_limit) = (self.committer.queued_bytes(), self.committer.queue_limit());
        let (reading, reading_limit) = self.budget.reading();
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let own = [
            ("bodies", size(reading), Some(size(reading_limit))),
            ("commit_queue", queued, Some(queue_limit)),
            ("frames", size(frames), None),
            ("asset_series", assets.series, None),
            ("asset_rules", assets.rules, None),
            ("asset_windows", assets.windows, None),
            ("asset_rows", assets.rows, None),
            ("wide_views", views.wide, None),
            ("small_views", views.small, None),
            ("subscriptions", views.queued, None),
            ("catalog", documents.bytes + documents.documents * DOCUMENT_BYTES, None),
            ("archive", hot, Some(hot_limit)),
            ("sql", sql, Some(sql_limit)),
            ("spare_buffers", spare::bytes(), Some(spare::WORDS_MAX * 8)),
        ];
        let component = |(name, bytes, limit): (_, usize, Option<usize>)| Component {
            name,
            bytes: bytes as u64,
            limit: limit.map(|limit| limit as u64),
        };
        own.map(component).into()
    }
}
