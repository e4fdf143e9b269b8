//! The rows of one asset and day when each is one point of each metric, turned into columns.

use super::chunk::Chunk;
use super::points::RowAt;
use crate::model::DataType;
use std::sync::Arc;

/// Values by metric: rows are gone through once, not once a metric.
#[derive(Default)]
pub(super) struct Whole {
    pub asset: u32,
    pub times: Vec<i64>,
    pub devices: Vec<i32>,
    pub epochs: Vec<u64>,
    /// Metric after metric, as many as there are times.
    values: Vec<f64>,
    quality: Vec<u32>,
}

impl Whole {
    /// Takes other rows. They must have one layout.
    pub fn fill(&mut self, rows: &[RowAt], chunks: &[Arc<Chunk>]) {
        let Some(first) = rows.first() else { return };
        let of_first = &chunks[first.chunk as usize];
        self.asset = of_first.rows.assets[first.row as usize];
        let (slots, length) = (of_first.rows.slots, rows.len());
        self.times.clear();
        self.devices.clear();
        self.epochs.clear();
        self.values.clear();
        self.values.resize(slots * length, 0.0);
        self.quality.clear();
        self.quality.resize(slots * length, 0);
        let types: &[DataType] = &of_first.slots.data_types;
        for (i, at) in rows.iter().enumerate() {
            let (chunk, row) = (&chunks[at.chunk as usize], at.row as usize);
            self.times.push(at.time);
            self.devices.push(chunk.rows.devices[row] as i32);
            self.epochs.push(chunk.epoch.0);
            let (words, quality) = (chunk.rows.words(row), chunk.rows.quality(row));
            for (slot, data_type) in types.iter().enumerate() {
                let value = data_type.number(words[slot]).unwrap_or_default();
                self.values[slot * length + i] = value;
                self.quality[slot * length + i] = quality[slot];
            }
        }
    }

    /// The values of a metric and their qualities.
    pub fn slot(&self, slot: usize) -> (&[f64], &[u32]) {
        let range = slot * self.times.len()..(slot + 1) * self.times.len();
        (&self.values[range.clone()], &self.quality[range])
    }
}
