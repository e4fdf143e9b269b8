//! Rows of assets: telemetry after names became ids and units became the asset's units.

use super::ids::TypeId;
use serde::{Deserialize, Serialize};

/// Rows of the assets of one type, in the order of their arrival.
///
/// A row is one asset at one event time. Row `i` owns element `i` of `assets`, `devices`, `times`
/// and `messages`, and the `i`-th chunk of `fresh` ([`mask_words`] words a row), `quality` and
/// `words` (`slots` a row, one for each metric that is measured, in the order of the type's
/// document). Where the bit of a slot is not set in `fresh`, its word and quality are zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// The type of all assets here; `None` only in an empty default value.
    pub asset_type: Option<TypeId>,
    /// Number of measured metrics of the type.
    pub slots: usize,
    /// Dense ids of the assets.
    pub assets: Vec<u32>,
    /// Dense ids of the devices that sent the rows.
    pub devices: Vec<u32>,
    /// Event times in microseconds.
    pub times: Vec<i64>,
    /// Ordinals of the messages in their frame.
    pub messages: Vec<u32>,
    /// Which slots hold a point.
    pub fresh: Vec<u64>,
    /// Quality codes of the slots.
    pub quality: Vec<u32>,
    /// Values of the slots, as words.
    pub words: Vec<u64>,
}

/// The ordinal of rows that no message of their frame has brought.
pub const NO_MESSAGE: u32 = u32::MAX;

/// How many mask words it takes to have one bit for each slot.
pub fn mask_words(slots: usize) -> usize {
    slots.div_ceil(64)
}

impl Rows {
    /// No rows yet, of a type with this number of measured metrics.
    pub fn new(asset_type: TypeId, slots: usize) -> Self {
        Self { asset_type: Some(asset_type), slots, ..Self::default() }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.assets.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.assets.is_empty()
    }

    /// The mask of row `i`.
    pub fn fresh(&self, i: usize) -> &[u64] {
        let width = mask_words(self.slots);
        &self.fresh[i * width..(i + 1) * width]
    }

    /// Whether row `i` has a point in each slot.
    pub fn is_whole(&self, i: usize) -> bool {
        let points: u32 = self.fresh(i).iter().map(|word| word.count_ones()).sum();
        points as usize == self.slots
    }

    /// The values of row `i`.
    pub fn words(&self, i: usize) -> &[u64] {
        &self.words[i * self.slots..(i + 1) * self.slots]
    }

    /// The qualities of row `i`.
    pub fn quality(&self, i: usize) -> &[u32] {
        &self.quality[i * self.slots..(i + 1) * self.slots]
    }

    /// The number of points: set bits of all masks.
    pub fn points(&self) -> usize {
        self.fresh.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The key of each point: type, asset, slot and event time, row after row, of the assets that
    /// are meant.
    pub fn keys(
        &self,
        is_meant: impl Fn(u32) -> bool,
    ) -> impl Iterator<Item = (TypeId, u32, u32, i64)> {
        let rows = self.asset_type.into_iter().flat_map(|of| (0..self.len()).map(move |i| (of, i)));
        let rows = rows.filter(move |(_, i)| is_meant(self.assets[*i]));
        rows.flat_map(move |(asset_type, i)| {
            let (fresh, asset, time) = (self.fresh(i), self.assets[i], self.times[i]);
            let slots = (0..self.slots).filter(|slot| fresh[slot / 64] >> (slot % 64) & 1 == 1);
            slots.map(move |slot| (asset_type, asset, slot as u32, time))
        })
    }

    /// Appends row `i` of other rows of the same type.
    pub fn push_row(&mut self, other: &Self, i: usize) {
        debug_assert_eq!(self.slots, other.slots);
        self.assets.push(other.assets[i]);
        self.devices.push(other.devices[i]);
        self.times.push(other.times[i]);
        self.messages.push(other.messages[i]);
        self.fresh.extend_from_slice(other.fresh(i));
        self.quality.extend_from_slice(other.quality(i));
        self.words.extend_from_slice(other.words(i));
    }
}
