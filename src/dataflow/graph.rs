//! The whole graph of one worker, and its inputs.

use super::capture::{self, Dated, Outlet};
use super::catalog::{self, Shelf};
use super::checkpoint::{Saver, Share};
use super::cluster::{Heard, Place};
use super::memory::Measured;
use super::parcels::{self, Texts};
use super::rows::DeviceBatch;
use super::worker::Slice;
use super::{assess, cluster, fleet, resolve};
use crate::model::{Change, Document, Edit, Epoch, Expiry, Page, Timestamp};
use differential_dataflow::input::InputSession;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

/// Where slices enter. All inputs are always at the same epoch.
pub struct Inputs {
    open: Option<Open>,
    voice: Voice,
    /// Whether this worker is the first of its process.
    is_first: bool,
    shelf: Shelf,
}

/// The clock of a frame, for every worker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// What it says.
    pub at: i64,
    /// Whether the state after this epoch is to be saved.
    pub mark: bool,
    /// What expires at the end of the epoch.
    pub expiry: Option<Expiry>,
}

/// Who is told of what every worker has to know.
#[derive(Clone, Copy, PartialEq)]
enum Voice {
    /// Every worker of the only process is given it, and nobody is told.
    Own,
    /// This worker tells all workers of all processes.
    All,
    /// Another worker of this process does.
    Other,
}

struct Open {
    batches: InputHandle<u64, CapacityContainerBuilder<DeviceBatch>>,
    documents: InputSession<u64, Document, i64>,
    ticks: InputHandle<u64, CapacityContainerBuilder<Vec<Tick>>>,
    refused: InputHandle<u64, CapacityContainerBuilder<Vec<Dated>>>,
    edits: InputHandle<u64, CapacityContainerBuilder<Vec<Edit>>>,
    pages: InputHandle<u64, CapacityContainerBuilder<Vec<Page>>>,
}

impl Inputs {
    /// Puts a slice in at its epoch and closes the epoch for this worker.
    pub fn feed(&mut self, slice: Slice) {
        let Some(open) = &mut self.open else { return };
        let epoch = slice.epoch.0;
        open.advance_to(epoch);
        if self.voice != Voice::Other && (slice.tick != Timestamp::MIN || slice.mark) {
            let Slice { tick, mark, expiry, .. } = slice;
            open.ticks.send(Tick { at: tick.0, mark, expiry });
        }
        if slice.mark && self.is_first {
            open.refused.send((epoch, Change::Marked(slice.tick)));
        }
        if self.voice == Voice::All && !slice.documents.is_empty() {
            open.refused.send((epoch, Change::Published(slice.documents.clone())));
        }
        for (document, diff) in self.shelf.replace(slice.documents) {
            open.documents.update(document, diff);
        }
        for batch in slice.batches {
            open.batches.send_batch(&mut DeviceBatch(Some(batch)));
        }
        if !slice.dead_letters.is_empty() {
            open.refused.send((epoch, Change::DeadLetters(slice.dead_letters)));
        }
        if self.voice != Voice::Other {
            slice.edits.into_iter().for_each(|edit| open.edits.send(edit));
            slice.pages.into_iter().for_each(|page| open.pages.send(page));
        }
        open.advance_to(epoch + 1);
    }

    /// No slice follows.
    pub fn close(&mut self) {
        self.open = None;
    }
}

impl Open {
    fn advance_to(&mut self, epoch: u64) {
        self.batches.advance_to(epoch);
        self.ticks.advance_to(epoch);
        self.documents.advance_to(epoch);
        self.documents.flush();
        self.refused.advance_to(epoch);
        self.edits.advance_to(epoch);
        self.pages.advance_to(epoch);
    }
}

/// Builds the graph. The probe passes an epoch when all its changes went through the outlets of
/// all workers.
pub fn build(
    worker: &mut Worker,
    outlet: Outlet,
    (place, heard): (Place, Option<Heard>),
    restored: Option<(Epoch, Share)>,
    (saver, measured): (Saver, Arc<Measured>),
) -> (Inputs, ProbeHandle<u64>) {
    let mut open = Open {
        batches: InputHandle::new_with_builder(),
        documents: InputSession::new(),
        ticks: InputHandle::new_with_builder(),
        refused: InputHandle::new_with_builder(),
        edits: InputHandle::new_with_builder(),
        pages: InputHandle::new_with_builder(),
    };
    let told = (saver, measured);
    let (texts, is_alone) = (Texts::default(), place.is_alone());
    let is_first = place.first() == worker.index();
    let voice = match is_first {
        _ if is_alone => Voice::Own,
        true => Voice::All,
        false => Voice::Other,
    };
    let probe = worker.dataflow_named("Asset graph", |scope| {
        let batches = open.batches.to_stream(scope);
        let documents = open.documents.to_collection(scope);
        let mut ticks = open.ticks.to_stream(scope);
        let refused = open.refused.to_stream(scope);
        let mut edits = open.edits.to_stream(scope);
        let mut pages = open.pages.to_stream(scope);

        let mut catalog = catalog::render(documents.clone());
        if !is_alone {
            ticks = cluster::hear(ticks.broadcast(), heard.filter(|_| voice == Voice::All));
            edits = edits.broadcast();
            pages = pages.broadcast();
            catalog.news = texts.watch(catalog.news);
        }
        let asked = (ticks, edits, pages);
        let resolved = resolve::render(batches, catalog.news.clone(), texts.clone());
        let assessed = assess::render(resolved.rows, catalog.news, asked, (place, restored), told);
        let documents = capture::dated(documents.inner, "Documents", Change::Documents);
        let unreadable = capture::dated(catalog.errors.inner, "Unreadable", Change::Errors);

        let changes = scope.concatenate([
            refused,
            documents,
            unreadable,
            resolved.changes,
            assessed.changes,
            fleet::health(assessed.health),
            fleet::thresholds(assessed.thresholds),
        ]);
        match is_alone {
            true => capture::capture(changes, outlet),
            false => parcels::capture(changes, texts, outlet, place),
        }
    });
    (Inputs { open: Some(open), voice, is_first, shelf: Shelf::default() }, probe)
}
