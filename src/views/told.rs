//! Contents without an audience: what some changes make of nothing.

use super::error::Error;
use super::filter::Filter;
use super::limits::Limits;
use super::read::Frozen;
use super::returning::Back;
use super::state::State;
use super::view::View;
use crate::model::{Change, Epoch};
use arrow::array::RecordBatch;
use std::collections::HashSet;

/// What every view holds after the changes that were told. Nobody subscribes to it, and nothing
/// leaves memory.
pub struct Told(State);

impl Told {
    /// Nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self(State::new(limits))
    }

    /// Takes in changes, as those of one epoch.
    pub fn take(&mut self, changes: Vec<Change>) {
        let epoch = Epoch(self.0.epoch.0 + 1);
        self.0.apply(epoch, changes, HashSet::new(), &Back::default());
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        let (wide, small) = self.0.bytes();
        wide + small
    }

    /// The rows of a view. None have no batches.
    pub fn rows(&self, view: View) -> Result<Vec<RecordBatch>, Error> {
        Frozen::of(&self.0, view, &Filter::default(), usize::MAX).rows(usize::MAX)
    }
}
