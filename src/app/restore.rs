//! Finds the newest checkpoint that can be used.

use super::checkpoint::{ASSETS, CATALOG, SYMBOLS, VIEWS, read_catalog};
use crate::catalog::Catalog;
use crate::checkpoint::Store;
use crate::dataflow::{Place, Saved};
use crate::model::{Document, Epoch, Frame, Symbol, Timestamp};
use crate::views::{self, Image, Restored};
use anyhow::Context;
use std::sync::Arc;

/// What an engine starts from.
pub struct Start {
    /// Everything up to this epoch is in here.
    pub epoch: Epoch,
    /// The clock of the source at that epoch.
    pub tick: Timestamp,
    pub catalog: Catalog,
    pub views: Restored,
    pub assets: Saved,
}

/// The newest checkpoint that is whole and can be read; the ones after it that are not are
/// removed. `None` when there is none.
///
/// Before each try the other processes are met, after which the store has only what all of them
/// have; what came of the last meeting is given back.
pub fn newest<M>(
    store: &mut Store,
    place: Place,
    limits: views::Limits,
    mut meet: impl FnMut(&mut Store) -> anyhow::Result<M>,
) -> anyhow::Result<(M, Option<Start>)> {
    loop {
        let met = meet(store)?;
        let Some(epoch) = store.kept().last().map(|taken| taken.epoch) else {
            return Ok((met, None));
        };
        match read(store, epoch, place, limits) {
            Ok(start) => return Ok((met, Some(start))),
            Err(error) if is_denied(&error) => return Err(error),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, %epoch, "checkpoint not usable; trying the one before it");
                store.discard(epoch).context("remove a checkpoint that is not usable")?;
            }
        }
    }
}

/// Whether somebody may not read what is probably whole.
fn is_denied(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.into_iter().any(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
}

fn read(store: &Store, epoch: Epoch, place: Place, limits: views::Limits) -> anyhow::Result<Start> {
    let symbols: Vec<Arc<str>> = bincode::deserialize(&store.read(epoch, SYMBOLS)?)?;
    let (catalog, tick) = read_catalog(&store.read(epoch, CATALOG)?)?;
    let views = Image::read(&store.read(epoch, VIEWS)?, limits)?;
    let assets = store.read(epoch, ASSETS)?;
    // Plans have symbols in them: those of the checkpoint come first.
    Symbol::restore(&symbols).map_err(|text| {
        anyhow::anyhow!("this process has another number for the text '{text}' already")
    })?;
    let assets = Saved::read(epoch, &assets, place)?;
    Ok(Start { epoch, tick, catalog, views, assets })
}

impl Start {
    /// The frame that tells the dataflow of the documents that are current, where this process
    /// publishes them.
    pub fn frame(&self, keeps_catalog: bool) -> Frame {
        let documents = self.catalog.documents().filter(|_| keeps_catalog);
        let documents: Vec<Document> = documents.cloned().collect();
        Frame {
            epoch: self.epoch,
            tick: self.tick,
            documents,
            batches: Vec::new(),
            dead_letters: Vec::new(),
            edits: Vec::new(),
            pages: Vec::new(),
            expiry: None,
        }
    }
}
