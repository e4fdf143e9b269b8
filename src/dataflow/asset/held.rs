//! What the assets of a type take in memory, by the capacities of what they hold.

use super::anchor::Anchor;
use super::assess::TypeState;
use super::single::Asset;
use crate::model::{ErrorRow, EventRow};

/// Bytes, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Rows of the series.
    pub series: usize,
    /// What the rules remember, and the events and errors that late rows may take back.
    pub rules: usize,
    /// Open windows.
    pub windows: usize,
    /// Rows as they were handed out last, and what it takes to find an asset.
    pub rows: usize,
}

/// The text of an event or an error that nobody else has.
const TEXT: usize = 64;

impl Held {
    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        self.series += other.series;
        self.rules += other.rules;
        self.windows += other.windows;
        self.rows += other.rows;
    }

    /// All of it.
    pub fn total(&self) -> usize {
        self.series + self.rules + self.windows + self.rows
    }
}

impl TypeState {
    /// Adds what `most` assets from index `from` on take. Returns the index of the next one; `None`
    /// when there is none, and then what they share was added too.
    pub fn measure(&self, from: usize, most: usize, held: &mut Held) -> Option<usize> {
        let end = self.assets.len().min(from + most);
        for index in from..end {
            self.assets[index].measure(held);
            held.series += self.series[index].bytes();
        }
        if end < self.assets.len() {
            return Some(end);
        }
        let spare = (self.assets.capacity() - self.assets.len()) * size_of::<Asset>();
        held.rows += spare + self.shared_bytes();
        None
    }
}

impl Asset {
    fn measure(&self, held: &mut Held) {
        held.rules += self.log.bytes()
            + self.events.capacity() * size_of::<(i64, EventRow)>()
            + self.events.len() * TEXT
            + self.errors.capacity() * size_of::<ErrorRow>()
            + self.errors.len() * TEXT;
        held.windows += self.windows.iter().map(|windows| windows.bytes()).sum::<usize>();
        let words = [&self.latest, &self.base_latest, &self.health, &self.levels, &self.scored];
        held.rows += size_of::<Self>() + words.map(Vec::capacity).iter().sum::<usize>() * 8;
        held.rows += self.parked.as_ref().map_or(0, |parked| parked.bytes());
        held.series += self.anchors.iter().map(Anchor::bytes).sum::<usize>();
        for segment in &self.past {
            held.series += size_of_val(segment) + segment.series.bytes();
            held.rules += segment.log.bytes();
        }
    }
}
