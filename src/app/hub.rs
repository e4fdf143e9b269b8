//! The hub: collects what the dataflow says and hands it on, epoch by epoch.

use crate::base::shutdown::Shutdown;
use crate::historian::Historian;
use crate::model::{Change, Epoch, Output, Timestamp};
use crate::views::Views;
use crossbeam_channel::Receiver;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Who gets the changes.
pub struct Feeds {
    /// Everything but telemetry.
    pub views: Views,
    /// Telemetry, and documents for the names.
    pub historian: Arc<Historian>,
}

/// Starts the thread. It ends when the outputs do; unless that was asked for, it tells everybody
/// to stop, because views would stand still for ever.
pub fn start(
    outputs: Receiver<Output>,
    feeds: Feeds,
    shutdown: Shutdown,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("hub".into()).spawn(move || {
        run(&outputs, &feeds);
        if !shutdown.is_triggered() {
            tracing::error!("the dataflow stopped by itself; stopping");
            shutdown.trigger();
        }
    })
}

fn run(outputs: &Receiver<Output>, feeds: &Feeds) {
    let mut open: BTreeMap<Epoch, Vec<Change>> = BTreeMap::new();
    for output in outputs {
        match output {
            Output::Change(epoch, change) => open.entry(epoch).or_default().push(change),
            Output::Frontier(frontier) => {
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
    /// Hands on a complete epoch: to the archive first, so that a query that sees an epoch in
    /// the views finds its points.
    fn close(&self, epoch: Epoch, changes: Vec<Change>) {
        let mut rest = Vec::with_capacity(changes.len());
        let (mut rows, mut superseded) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Telemetry(accepted) => rows.push(accepted),
                Change::Superseded(keys) => superseded.extend(keys),
                Change::Documents(documents) => {
                    for (document, _) in documents.iter().filter(|(_, diff)| *diff > 0) {
                        if let Err(error) = self.historian.apply_document(document) {
                            tracing::error!(%error, key = %document.key, "document without a name in the archive");
                        }
                    }
                    rest.push(Change::Documents(documents));
                }
                other => rest.push(other),
            }
        }
        let accepted = rows.into_iter().try_for_each(|rows| self.historian.accept(epoch, rows));
        let kept = accepted.and_then(|()| self.historian.superseded(epoch, &superseded));
        if let Err(error) = kept {
            tracing::error!(%error, %epoch, "points not archived; they are still in the log");
        }
        // Epochs are wall-clock milliseconds, made strictly increasing: the log's own time.
        self.historian.close_epoch(epoch, Timestamp(epoch.0 as i64 * 1_000));
        self.views.apply(epoch, rest);
    }
}
