//! What is where: in the archive's directory, and on the store behind it.

use super::store::Historian;
use crate::model::Place;
use object_store::ObjectStore;
use std::sync::Arc;

/// The files of the archive in one place.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Where.
    pub place: Place,
    /// Its address.
    pub url: String,
    /// Why files do not move there; empty when they do.
    pub last_error: String,
    /// How many files of telemetry there are.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their points: a key as often as it had another value.
    pub points: u64,
}

impl Historian {
    /// The store behind the archive as queries read it: files by their paths. `None` when there is
    /// none.
    pub fn store(&self) -> Option<Arc<dyn ObjectStore>> {
        self.shared.places.store.as_ref().map(|store| store.shelf())
    }

    /// What there is in each place that there is.
    pub fn standing(&self) -> Vec<Standing> {
        let state = self.shared.lock();
        let of = |place: Place, url: String, last_error: String| {
            let (files, bytes, points) = state.manifest.count(place);
            Standing { place, url, last_error, files, bytes, points }
        };
        let url = format!("file://{}", self.directory().display());
        let store = self.shared.places.store.as_ref();
        let store = store.map(|at| of(Place::Store, at.url().into(), state.store_failure.clone()));
        std::iter::once(of(Place::Local, url, String::new())).chain(store).collect()
    }
}
