//! The contents of all views at one epoch, on their way into a checkpoint and back.

use super::dead_letters::DeadLetters;
use super::documents::Documents;
use super::error::Error;
use super::kept::Kept;
use super::limits::Limits;
use super::names::Names;
use super::small::Collection;
use super::state::{Removed, State};
use super::wide::Chunk;
use crate::model::{
    ArchiveFile, EditRow, Epoch, ErrorRow, EventRow, FleetHealthRow, FleetThresholdRow, Kind,
    Occurrence, Table, Timestamp, TypeId, Window,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

/// All contents at one epoch. Holding it costs memory only where views change meanwhile.
#[derive(Serialize, Deserialize)]
pub struct Image {
    pub(super) epoch: Epoch,
    pub(super) clock: Timestamp,
    pub(super) removed: Arc<Removed>,
    pub(super) names: Arc<Names>,
    /// Words a row, and rows, of each wide table.
    pub(super) wide: Vec<(Table, TypeId, usize, Vec<Arc<Chunk>>)>,
    /// Rows of roll-ups that have left memory.
    pub(super) kept: BTreeMap<Window, Kept>,
    /// All other views, written already: their rows are not shared.
    #[serde(with = "crate::base::serial::bytes")]
    pub(super) small: Vec<u8>,
}

/// The views that are not read from wide tables, in the order in which they are written.
#[derive(Deserialize)]
pub(super) struct Small(
    pub Collection<EventRow>,
    pub Collection<Occurrence>,
    pub Collection<ErrorRow>,
    pub (Collection<FleetHealthRow>, Collection<FleetThresholdRow>),
    pub (DeadLetters, Collection<EditRow>),
    pub BTreeMap<Kind, Documents>,
);

/// Contents that were read back.
pub struct Restored(pub(super) Box<State>);

impl Image {
    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Writes it.
    pub fn write(&self, to: impl Write) -> Result<(), Error> {
        bincode::serialize_into(to, self).map_err(Error::Image)
    }

    /// Reads what [`Image::write`] has written.
    pub fn read(bytes: &[u8], limits: Limits) -> Result<Restored, Error> {
        let image: Self = bincode::deserialize(bytes).map_err(Error::Image)?;
        let state = State::of(image, limits).map_err(Error::Image)?;
        Ok(Restored(Box::new(state)))
    }
}

impl Restored {
    /// Assets that were removed.
    pub fn removed(&self) -> &Removed {
        &self.0.removed
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// The source's clock at the epoch.
    pub fn clock(&self) -> Timestamp {
        self.0.clock
    }

    /// The files in which rows are that have left memory.
    pub fn files(&self) -> Vec<ArchiveFile> {
        self.0.kept.values().flat_map(|kept| kept.archived.files.iter().cloned()).collect()
    }
}
