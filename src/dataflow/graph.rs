//! The whole graph of one worker, and its inputs.

use super::capture::{self, Dated, Outlet};
use super::catalog::{self, Shelf};
use super::checkpoint::{Saver, Share};
use super::memory::Measured;
use super::rows::DeviceBatch;
use super::worker::Slice;
use super::{assess, fleet, resolve};
use crate::model::{Change, Document, Edit, Epoch, Page};
use differential_dataflow::input::InputSession;
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

/// Where slices enter. All inputs are always at the same epoch.
pub struct Inputs {
    open: Option<Open>,
    shelf: Shelf,
    saver: Saver,
}

struct Open {
    batches: InputHandle<u64, CapacityContainerBuilder<DeviceBatch>>,
    documents: InputSession<u64, Document, i64>,
    ticks: InputHandle<u64, CapacityContainerBuilder<Vec<i64>>>,
    refused: InputHandle<u64, CapacityContainerBuilder<Vec<Dated>>>,
    edits: InputHandle<u64, CapacityContainerBuilder<Vec<Edit>>>,
    pages: InputHandle<u64, CapacityContainerBuilder<Vec<Page>>>,
}

impl Inputs {
    /// Puts a slice in at its epoch and closes the epoch for this worker.
    pub fn feed(&mut self, slice: Slice) {
        let Some(open) = &mut self.open else { return };
        let epoch = slice.epoch.0;
        if slice.mark {
            self.saver.mark(slice.epoch);
        }
        open.advance_to(epoch);
        for (document, diff) in self.shelf.replace(slice.documents) {
            open.documents.update(document, diff);
        }
        open.ticks.send(slice.tick.0);
        for batch in slice.batches {
            open.batches.send_batch(&mut DeviceBatch(Some(batch)));
        }
        if !slice.dead_letters.is_empty() {
            open.refused.send((epoch, Change::DeadLetters(slice.dead_letters)));
        }
        slice.edits.into_iter().for_each(|edit| open.edits.send(edit));
        slice.pages.into_iter().for_each(|page| open.pages.send(page));
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
    let told = (saver.clone(), measured);
    let probe = worker.dataflow_named("Asset graph", |scope| {
        let batches = open.batches.to_stream(scope);
        let documents = open.documents.to_collection(scope);
        let ticks = open.ticks.to_stream(scope);
        let refused = open.refused.to_stream(scope);
        let edits = open.edits.to_stream(scope);
        let pages = open.pages.to_stream(scope);
        let asked = (ticks, edits, pages);

        let catalog = catalog::render(documents.clone());
        let resolved = resolve::render(batches, catalog.news.clone());
        let assessed = assess::render(resolved.rows, catalog.news, asked, restored, told);
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
        capture::capture(changes, outlet)
    });
    (Inputs { open: Some(open), shelf: Shelf::default(), saver }, probe)
}
