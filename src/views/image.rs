//! The contents of all views at one epoch, on their way into a checkpoint and back.

use super::aging::Aged;
use super::dead_letters::DeadLetters;
use super::documents::Documents;
use super::error::Error;
use super::kept::Kept;
use super::limits::Limits;
use super::names::Names;
use super::small::Collection;
use super::state::{Removed, State};
use super::view::View;
use super::wide::{Chunk, WideTable};
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
    pub Aged<EventRow>,
    pub Aged<Occurrence>,
    pub Aged<ErrorRow>,
    pub (Collection<FleetHealthRow>, Collection<FleetThresholdRow>),
    pub (DeadLetters, Aged<EditRow>),
    pub BTreeMap<Kind, Documents>,
);

impl State {
    /// The contents as they are now. Rows of wide tables are shared, all others copied.
    pub fn image(&self) -> bincode::Result<Image> {
        let (events, occurrences, errors) = (&self.events, &self.occurrences, &self.errors);
        let fleet = (&self.fleet_health, &self.fleet_thresholds);
        let refused = (&self.dead_letters, &self.corrections);
        let small = (events, occurrences, errors, fleet, refused, &self.catalog);
        let wide = self.wide.iter().map(|((table, asset_type), wide)| {
            (*table, *asset_type, wide.stride(), wide.chunks().to_vec())
        });
        Ok(Image {
            epoch: self.epoch,
            clock: self.clock,
            removed: Arc::clone(&self.removed),
            names: Arc::clone(&self.names),
            wide: wide.collect(),
            kept: self.kept.clone(),
            small: bincode::serialize(&small)?,
        })
    }

    /// The contents that an image holds.
    pub fn of(image: Image, limits: Limits) -> bincode::Result<Self> {
        let unfit = |_| bincode::ErrorKind::Custom("rows do not fit their table".into());
        let Small(events, occurrences, errors, fleet, (dead_letters, corrections), mut catalog) =
            bincode::deserialize(&image.small)?;
        let mut wide = BTreeMap::new();
        for (table, asset_type, stride, chunks) in image.wide {
            let restored = WideTable::of(stride, chunks, image.epoch).ok_or(()).map_err(unfit)?;
            wide.insert((table, asset_type), restored);
        }
        let mut kept = image.kept;
        kept.values_mut().for_each(|kept| kept.ended = image.epoch);
        let mut names = image.names;
        Arc::make_mut(&mut names).index();
        catalog.values_mut().for_each(Documents::index);
        let mut state = Self::new(limits);
        (state.epoch, state.clock, state.removed) = (image.epoch, image.clock, image.removed);
        (state.names, state.wide, state.kept) = (names, wide, kept);
        state.documented = Kind::ALL.into_iter().map(|kind| (kind, image.epoch)).collect();
        (state.events, state.occurrences, state.errors) = (events, occurrences, errors);
        (state.fleet_health, state.fleet_thresholds) = fleet;
        (state.dead_letters, state.corrections) = (dead_letters, corrections);
        state.catalog = catalog;
        Ok(state)
    }
}

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
        let views = View::ALL.into_iter().filter_map(|view| self.0.in_files(view));
        views.flat_map(|in_files| in_files.files().to_vec()).collect()
    }
}
