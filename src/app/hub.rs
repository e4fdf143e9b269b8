//! The hub: collects what the dataflow says and hands it on, epoch by epoch.

use super::checkpoint::{Mark, Noted};
use super::departures::Departures;
use super::pager::Paging;
use super::retention::Heard;
use crate::base::shutdown::Shutdown;
use crate::catalog::SharedCatalog;
use crate::historian::{Historian, News};
use crate::model::{Change, Document, Epoch, Output, PageRequest, Timestamp};
use crate::views::{self, Image, Restored, Views};
use crossbeam_channel::{Receiver, Sender};
use std::collections::{BTreeMap, HashSet};
use std::iter::once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

/// Who gets the changes.
pub struct Feeds {
    /// Everything but telemetry.
    pub views: Views,
    /// Telemetry, and documents for the names.
    pub historian: Arc<Historian>,
    /// What the views are to hold when the dataflow has reached the epoch that it starts from.
    pub restored: Option<Restored>,
    /// Who wants to have the views at the epochs that are marked.
    pub saver: Saver,
    /// Who knows which assets wait, and has archived points brought back for them.
    pub paging: Arc<Paging>,
    /// Who is told what expires.
    pub heard: Arc<Heard>,
    /// What this process follows, where another one publishes the documents.
    pub follows: Option<Follows>,
    /// Lets old windows leave memory.
    pub departures: Departures,
    /// Assets that were removed: the archive has points of their keys already.
    pub removed: HashSet<u32>,
    /// Where the source's clock is.
    pub clock: Timestamp,
}

/// Hands out the views at the epochs at which a checkpoint is taken.
pub struct Saver {
    /// Whether anything has changed since the last of those epochs.
    pub changed: Arc<AtomicBool>,
    /// Who gets them.
    pub images: Sender<Result<Image, views::Error>>,
}

/// The catalog, as another process publishes it.
pub struct Follows {
    /// Has all documents up to the epoch that is shown.
    pub catalog: SharedCatalog,
    /// Gets the catalog as it is at the epochs at which a checkpoint is taken.
    pub marks: Sender<Mark>,
}

/// Starts the thread. It ends when the outputs do, which it tells; unless that was asked for, it
/// tells everybody to stop, because views would stand still for ever.
pub fn start(
    outputs: Receiver<Output>,
    feeds: Feeds,
    (shutdown, ended): (Shutdown, Shutdown),
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("hub".into()).spawn(move || {
        let paging = Arc::clone(&feeds.paging);
        run(&outputs, feeds);
        paging.stop();
        ended.trigger();
        if !shutdown.is_triggered() {
            tracing::error!("the dataflow stopped by itself; stopping");
            shutdown.trigger();
        }
    })
}

fn run(outputs: &Receiver<Output>, mut feeds: Feeds) {
    let mut open: BTreeMap<Epoch, Vec<Change>> = BTreeMap::new();
    for output in outputs {
        match output {
            Output::Change(epoch, change) => open.entry(epoch).or_default().push(change),
            Output::Frontier(frontier) => {
                if let Some(restored) = feeds.restored.take_if(|r| r.epoch() < frontier) {
                    let said = open.remove(&restored.epoch());
                    feeds.restore(restored, said.unwrap_or_default());
                }
                let later = open.split_off(&frontier);
                for (epoch, changes) in std::mem::replace(&mut open, later) {
                    feeds.close(epoch, changes);
                }
                // Epochs without changes are visible too.
                let last = Epoch(frontier.0.saturating_sub(1));
                if feeds.views.epoch() < last {
                    feeds.close(last, Vec::new());
                }
            }
        }
    }
}

impl Feeds {
    /// The dataflow has reached the epoch that it starts from: the views are as they were then.
    /// What it has said at that epoch is in them, and only the archive has to learn the names.
    fn restore(&mut self, restored: Restored, said: Vec<Change>) {
        let epoch = restored.epoch();
        let mut all = Vec::new();
        for change in said {
            match change {
                Change::Documents(documents) => {
                    self.name(&documents);
                    all.extend(documents);
                }
                Change::Wanted(requests) => self.paging.want(requests),
                _ => {}
            }
        }
        if self.historian.knows_nothing() {
            self.historian.chronicle(epoch, once(News::Begins).chain(news(&all)));
        }
        self.clock = restored.clock();
        self.historian.clock(epoch, self.clock);
        self.historian.close_epoch(epoch, tick(epoch));
        self.views.restore(restored);
    }

    /// Hands on a complete epoch: to the archive first, so that a query that sees an epoch in
    /// the views finds its points.
    fn close(&mut self, epoch: Epoch, changes: Vec<Change>) {
        // The clock goes on by itself.
        let is_new = |change: &Change| !matches!(change, Change::Clock(_) | Change::Marked(_));
        if changes.iter().any(is_new) {
            self.saver.changed.store(true, Ordering::SeqCst);
        }
        let (mut marked, mut expired) = (None, None);
        let mut rest = Vec::with_capacity(changes.len());
        let (mut rows, mut superseded, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        let (mut documented, mut told) = (Vec::new(), Vec::new());
        let (mut wanted, mut paged): (Vec<PageRequest>, Vec<u32>) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Telemetry(accepted) => rows.push(accepted),
                Change::Superseded(keys) => superseded.extend(keys),
                Change::Removed(assets) => {
                    self.removed.extend(assets.iter().map(|(id, _)| *id));
                    told.extend(assets.iter().map(|(_, key)| News::Removed(Arc::clone(key))));
                    rest.push(Change::Removed(assets));
                }
                Change::Deleted(keys) => deleted.extend(keys),
                Change::Wanted(requests) => wanted.extend(requests),
                Change::Paged(assets) => paged.extend(assets),
                Change::Published(documents) => self.publish(&documents),
                Change::Marked(tick) => marked = Some(tick),
                Change::Expired(expiry) => expired = Some(expiry),
                Change::Documents(documents) => {
                    self.name(&documents);
                    documented.extend(documents.iter().cloned());
                    rest.push(Change::Documents(documents));
                }
                Change::Clock(clock) => {
                    self.clock = clock;
                    rest.push(Change::Clock(clock));
                }
                other => rest.push(other),
            }
        }
        // To an asset that begins anew all points are new; to the archive they may be not.
        if !self.removed.is_empty() {
            let is_removed = |asset| self.removed.contains(&asset);
            superseded.extend(rows.iter().flat_map(|rows| rows.keys(is_removed)));
        }
        self.historian.chronicle(epoch, told.into_iter().chain(news(&documented)));
        self.historian.clock(epoch, self.clock);
        let accepted = rows.into_iter().try_for_each(|rows| self.historian.accept(epoch, rows));
        let kept = accepted.and_then(|()| self.historian.superseded(epoch, &superseded));
        let kept = kept.and_then(|()| self.historian.deleted(epoch, &deleted));
        if let Err(error) = kept {
            tracing::error!(%error, %epoch, "points not archived; they are still in the log");
        }
        self.historian.close_epoch(epoch, tick(epoch));
        // Who sees the epoch sees who waits, and nobody is settled before that is seen.
        paged.retain(|asset| wanted.iter().all(|request| request.asset != *asset));
        if !wanted.is_empty() {
            self.paging.want(wanted);
        }
        if let Some(expiry) = expired {
            self.heard.tell(epoch, expiry);
        }
        self.views.apply(epoch, rest);
        self.paging.closed(epoch, &paged);
        if let Some(tick) = marked {
            self.save(epoch, tick);
        }
        self.departures.go_on(&self.views);
    }

    /// Hands out the views as they are at a marked epoch, and the catalog where nobody else does.
    fn save(&self, epoch: Epoch, tick: Timestamp) {
        self.saver.changed.store(false, Ordering::SeqCst);
        // Who does not want it any more does not get it.
        if let Some(Follows { catalog, marks }) = &self.follows {
            let catalog = catalog.read().unwrap_or_else(PoisonError::into_inner).saved();
            let _ = marks.send(Mark { epoch, noted: Noted { tick, catalog } });
        }
        drop(self.saver.images.send(self.views.image()));
    }

    /// Takes over what another process has published, before anybody sees the epoch.
    fn publish(&self, documents: &[Document]) {
        let Some(Follows { catalog, .. }) = &self.follows else { return };
        let mut catalog = catalog.write().unwrap_or_else(PoisonError::into_inner);
        for document in documents {
            if let Err(problems) = catalog.apply(document) {
                let problem = problems.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(problem, key = %document.key, "document of process 0 not applied");
            }
        }
    }

    fn name(&self, documents: &[(Document, i64)]) {
        for (document, _) in documents.iter().filter(|(_, diff)| *diff > 0) {
            if let Err(error) = self.historian.apply_document(document) {
                tracing::error!(%error, key = %document.key, "document without a name in the archive");
            }
        }
    }
}

/// What documents that came and went are to the chronicle.
fn news(documents: &[(Document, i64)]) -> Vec<News> {
    let name = |document: &Document| (document.kind, Arc::clone(&document.key));
    let came = || documents.iter().filter(|(_, diff)| *diff > 0).map(|(document, _)| document);
    let current: HashSet<_> = came().map(name).collect();
    let went = documents.iter().filter(|(_, diff)| *diff < 0).map(|(document, _)| name(document));
    let withdrawn = went.filter(|name| !current.contains(name));
    let withdrawn = withdrawn.map(|(kind, key)| News::Withdrawn(kind, key));
    withdrawn.chain(came().cloned().map(News::Published)).collect()
}

/// Epochs are wall-clock milliseconds, made strictly increasing: the log's own time.
fn tick(epoch: Epoch) -> Timestamp {
    Timestamp(epoch.0 as i64 * 1_000)
}
