//! What comes out of [`super::TypeState`], and the names it needs to say it.

use crate::dataflow::score::OrderedScore;
use crate::model::Change;
use std::sync::Arc;

/// Keys of assets by dense id.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<Arc<str>>);

/// An asset's place in the fleet's health: type, band, asset, score.
pub type HealthPlace = (Arc<str>, Arc<str>, u32, OrderedScore);
/// An asset's place in the fleet's thresholds: rule, level, asset.
pub type LevelPlace = (Arc<str>, u8, u32);

/// What changed at one epoch.
#[derive(Debug, Default)]
pub struct Changes {
    /// To be handed out as they are.
    pub list: Vec<Change>,
    /// Assets that moved in the fleet's health.
    pub health: Vec<(HealthPlace, i64)>,
    /// Assets that moved in the fleet's thresholds.
    pub thresholds: Vec<(LevelPlace, i64)>,
}

impl Names {
    /// Sets the key of an asset.
    pub fn insert(&mut self, asset: u32, key: Arc<str>) {
        let at = asset as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, "".into());
        }
        self.0[at] = key;
    }

    /// All assets that were inserted.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Arc<str>)> {
        let all = self.0.iter().enumerate().filter(|(_, key)| !key.is_empty());
        all.map(|(asset, key)| (asset as u32, key))
    }

    /// The key of an asset that was inserted.
    pub fn get(&self, asset: u32) -> &Arc<str> {
        &self.0[asset as usize]
    }
}
