//! The handle that everybody shares: one writer, many readers.

use super::delta::delta_schema;
use super::error::Error;
use super::filed::InFiles;
use super::filter::{Envelope, Filter};
use super::image::{Image, Restored};
use super::leaving::{InMemory, Leaving, Old};
use super::limits::Limits;
use super::queue::Queue;
use super::read::Frozen;
use super::registry::Registry;
use super::returning::{Back, OldFiles};
use super::series::{APPLY_SECONDS, EPOCH};
use super::state::{Removed, State};
use super::subscription::Subscription;
use super::view::View;
use crate::base::clock::{Clock, SystemClock};
use crate::model::{ArchiveFile, Change, DataType, EditRow, Epoch, Outcome, Timestamp};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

/// All public views. Clones share the contents.
///
/// An epoch is applied under one write lock, so whoever reads sees whole epochs only. Readers
/// hold the lock for as long as it takes to share the rows, not to encode them.
#[derive(Clone)]
pub struct Views(Arc<Shared>);

struct Shared {
    // Locked in this order: state, then registry.
    state: RwLock<State>,
    registry: Mutex<Registry>,
    epoch: watch::Sender<Epoch>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    /// Where rows of old windows are read back from.
    files: OnceLock<Arc<dyn OldFiles>>,
}

/// What a view is and how much it holds.
#[derive(Clone, Debug)]
pub struct ViewInfo {
    /// The public name.
    pub name: &'static str,
    /// What it holds, in one sentence.
    pub description: &'static str,
    /// Its columns.
    pub schema: SchemaRef,
    /// The columns that tell rows apart; empty where rows may be equal.
    pub key: Vec<&'static str>,
    /// Which of `asset`, `type` and `metric` it can be filtered by.
    pub filters: Vec<&'static str>,
    /// The number of rows.
    pub rows: usize,
    /// About how many bytes its contents take.
    pub bytes: usize,
}

/// What is known at one epoch.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The epoch.
    pub epoch: Epoch,
    /// The source's clock.
    pub clock: Timestamp,
    /// Assets that were removed.
    pub removed: Arc<Removed>,
    /// The views, in the order asked for.
    pub views: Vec<Rows>,
}

/// The rows of one view.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Those in memory; no batches for a view without rows.
    pub batches: Vec<RecordBatch>,
    /// What has left memory.
    pub archived: Option<Arc<dyn InFiles>>,
}

/// What the views hold, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The tables that have a row for each asset, and for its windows.
    pub wide: usize,
    /// All other views.
    pub small: usize,
    /// What waits for subscribers. What several wait for counts for each.
    pub queued: usize,
}

impl Views {
    /// Empty views at epoch 0.
    pub fn new(limits: Limits) -> Self {
        Self::with_clock(limits, Arc::new(SystemClock))
    }

    /// Empty views with a clock, which says when progress messages are due.
    pub fn with_clock(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            state: RwLock::new(State::new(limits)),
            registry: Mutex::default(),
            epoch: watch::Sender::new(Epoch::default()),
            limits,
            clock,
            files: OnceLock::new(),
        }))
    }

    /// Where rows that have left memory are read back from. Before the first epoch is applied.
    pub fn read_from(&self, files: Arc<dyn OldFiles>) {
        let _ = self.0.files.set(files);
    }

    /// A table from which rows are to leave memory, when it is time to look for some. Whoever gets
    /// it says what became of it ([`Views::leave`], [`Views::stay`]) before asking for more.
    pub fn old(&self, stay: InMemory) -> Option<Old> {
        self.read().old(stay)
    }

    /// Lets rows leave memory that are in a file, where they are still the same. False when the
    /// file must not count because its rows read differently by now.
    pub fn leave(&self, leaving: &Leaving, file: ArchiveFile) -> bool {
        self.write().leave(leaving, file)
    }

    /// No row of the table is old enough to leave.
    pub fn stay(&self, leaving: &Leaving) {
        self.write().looked_through(leaving);
    }

    /// Takes in all changes of one epoch, also when there are none, and tells the subscribers.
    ///
    /// Called by one thread in the order of epochs. Documents take effect before all else, resets
    /// of tables before their rows. Never waits for a subscriber. Reads files when old rows change
    /// that have left memory: the epoch before is shown meanwhile.
    pub fn apply(&self, epoch: Epoch, changes: Vec<Change>) {
        let shared = &*self.0;
        let begun = shared.clock.now_micros();
        // This is the only writer: what is about to change is in files also when they are read.
        let back = match shared.files.get() {
            Some(files) => {
                let away = self.read().away(&changes);
                away.read(&**files)
            }
            None => Back::default(),
        };
        let mut state = self.write();
        debug_assert!(epoch > state.epoch, "epoch {epoch} after epoch {}", state.epoch);
        // Held until the subscribers are told: nobody can subscribe in between.
        let mut registry = shared.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = registry.watched();
        state.apply(epoch, changes, watched, &back);
        let state = RwLockWriteGuard::downgrade(state);
        let now = shared.clock.now_micros();
        registry.tell(&state, &shared.limits, now);
        drop(registry);
        drop(state);
        shared.epoch.send_replace(epoch);
        metrics::gauge!(EPOCH).set(epoch.0 as f64);
        metrics::histogram!(APPLY_SECONDS)
            .record((shared.clock.now_micros() - begun).max(0) as f64 / 1e6);
    }

    /// All contents as they are now, for a checkpoint. Takes as long as copying the rows of the
    /// small views; nothing is applied meanwhile.
    pub fn image(&self) -> Result<Image, Error> {
        self.read().image().map_err(Error::Image)
    }

    /// Takes over the contents of an image, before the first epoch is applied. Visible at once.
    pub fn restore(&self, restored: Restored) {
        let mut state = self.write();
        *state = *restored.0;
        let epoch = state.epoch;
        drop(state);
        self.0.epoch.send_replace(epoch);
        metrics::gauge!(EPOCH).set(epoch.0 as f64);
    }

    /// The newest epoch that is visible.
    pub fn epoch(&self) -> Epoch {
        *self.0.epoch.borrow()
    }

    /// The source's clock, as far as it is visible; [`Timestamp::MIN`] before it has ticked.
    pub fn clock(&self) -> Timestamp {
        self.read().clock
    }

    /// Returns when the epoch, or a later one, is visible.
    pub async fn wait_for(&self, epoch: Epoch) {
        let mut receiver = self.0.epoch.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|visible| *visible >= epoch).await;
    }

    /// What became of messages whose points were not all new, in the order of their ordinals.
    /// Nothing for epochs older than [`Limits::outcome_epochs`] epochs that had any.
    pub fn outcomes(&self, epoch: Epoch, messages: Range<u32>) -> Vec<Outcome> {
        self.read().outcomes(epoch, messages)
    }

    /// What became of an edit that a door took at a time; nothing when the view does not hold it.
    pub fn edit(&self, received_at: Timestamp, id: &str) -> Vec<EditRow> {
        self.read().edit(received_at, id)
    }

    /// All views with their sizes. Counts rows, so it takes time where there are many.
    pub fn list(&self) -> Vec<ViewInfo> {
        let filter = Filter::default();
        let mut infos = Vec::with_capacity(View::ALL.len());
        for view in View::ALL {
            let state = self.read();
            let (frozen, small, bytes) = match (view.table(), state.small(view)) {
                (Some(table), _) => {
                    let bytes = state.tables(table).map(|(_, wide)| wide.bytes()).sum();
                    (Some(Frozen::of(&state, view, &filter, usize::MAX)), 0, bytes)
                }
                (None, Some(small)) => (None, small.len(), small.bytes()),
                (None, None) => (None, 0, 0),
            };
            drop(state);
            infos.push(ViewInfo {
                name: view.name(),
                description: view.description(),
                schema: view.schema(),
                key: view.key(),
                filters: view.filters(),
                rows: frozen.map_or(small, |frozen| frozen.count()),
                bytes,
            });
        }
        infos
    }

    /// The asset types: their keys, and the names and types of the metrics that are measured.
    pub fn types(&self) -> Vec<(Arc<str>, Vec<(String, DataType)>)> {
        self.read().names.types()
    }

    /// About how many bytes they take.
    pub fn held(&self) -> Held {
        let state = self.read();
        let registry = self.0.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let (wide, small) = state.bytes();
        Held { wide, small, queued: registry.bytes() }
    }

    /// The rows of several views that the filter keeps, all at one epoch. A view without rows has
    /// no batches.
    pub fn snapshot(
        &self,
        views: &[&str],
        filter: &Filter,
    ) -> Result<(Epoch, Vec<Vec<RecordBatch>>), Error> {
        let taken = self.whole_snapshot(views, filter)?;
        let views = taken.views.into_iter().map(|rows| rows.batches).collect();
        Ok((taken.epoch, views))
    }

    /// The same as [`Views::snapshot`], with all else that is known at that epoch.
    pub fn whole_snapshot(&self, views: &[&str], filter: &Filter) -> Result<Snapshot, Error> {
        let views: Vec<View> =
            views.iter().map(|name| View::parse(name)).collect::<Result<_, _>>()?;
        self.freeze(&views, filter, usize::MAX)
    }

    /// The first rows of one view that the filter keeps, in the view's stable order.
    pub fn first(
        &self,
        view: View,
        filter: &Filter,
        limit: usize,
    ) -> Result<(Epoch, Vec<RecordBatch>), Error> {
        let mut taken = self.freeze(&[view], filter, limit)?;
        let rows = taken.views.pop().map(|rows| rows.batches);
        Ok((taken.epoch, rows.unwrap_or_default()))
    }

    /// The view's rows now and every change from now on.
    ///
    /// Takes as long as a snapshot does. Changes queue up meanwhile, up to [`Limits`]; what happens
    /// to a subscriber that does not read them is [`Limits::slow_consumer`].
    pub fn subscribe(
        &self,
        view: &str,
        filter: Filter,
        envelope: Envelope,
    ) -> Result<Subscription, Error> {
        let view = View::parse(view)?;
        filter.check(view)?;
        if envelope == Envelope::Upsert && view.key().is_empty() {
            return Err(Error::NoKey(view));
        }
        let state = self.read();
        let epoch = state.epoch;
        let queue = Arc::new(Queue::from(epoch));
        let frozen = Frozen::of(&state, view, &filter, usize::MAX);
        let archived = state.in_files(view);
        self.0
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(view, filter, envelope, &queue);
        drop(state);
        Ok(Subscription {
            epoch,
            schema: view.schema(),
            delta_schema: delta_schema(view, envelope),
            snapshot: frozen.rows(usize::MAX)?,
            archived,
            queue,
        })
    }

    fn freeze(&self, views: &[View], filter: &Filter, limit: usize) -> Result<Snapshot, Error> {
        for view in views {
            filter.check(*view)?;
        }
        let state = self.read();
        let (epoch, clock, removed) = (state.epoch, state.clock, Arc::clone(&state.removed));
        let frozen =
            |view: &View| (Frozen::of(&state, *view, filter, limit), state.in_files(*view));
        let frozen: Vec<(Frozen, Option<Arc<dyn InFiles>>)> = views.iter().map(frozen).collect();
        drop(state);
        let rows = frozen
            .into_iter()
            .map(|(frozen, archived)| frozen.rows(limit).map(|batches| Rows { batches, archived }));
        let views = rows.collect::<Result<_, _>>()?;
        Ok(Snapshot { epoch, clock, removed, views })
    }

    /// The last epoch of which the points of a key are of another asset, that was removed; 0 when
    /// there was none.
    pub fn begun_after(&self, key: &str) -> Epoch {
        let state = self.read();
        let removed = state.removed.values().find(|(known, _)| **known == *key);
        removed.map_or(Epoch(0), |(_, epoch)| Epoch(epoch.0.saturating_sub(1)))
    }

    /// Whether an asset was removed after an epoch.
    pub fn removed_after(&self, epoch: Epoch) -> bool {
        self.read().removed.values().any(|(_, removed)| *removed > epoch)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}
