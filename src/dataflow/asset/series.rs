//! The recent history of one asset: its rows in event-time order, each complete as of its time.

use super::row::RowLayout;
use crate::model::Quality;

/// Rows of one asset, ascending by event time, no two at the same time.
#[derive(Clone, Debug, Default)]
pub struct Series {
    words: Vec<u64>,
    /// Whether row 0 is only there to be held from: its own points were folded away.
    pub base: bool,
}

/// Where a point went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The key is new.
    New,
    /// The key was there with the same value and quality: nothing changed.
    Duplicate,
    /// The key was there with another value or quality: replaced.
    Corrected,
}

impl Series {
    /// No rows, with room for some. Assets that begin together would grow together, and all pay
    /// for it in one tick, so the room differs by the asset's id.
    pub fn of_asset(layout: &RowLayout, id: u32) -> Self {
        let rows = 4 + id as usize % 4;
        Self { words: Vec::with_capacity(rows * layout.stride), base: false }
    }

    /// The number of rows.
    pub fn len(&self, layout: &RowLayout) -> usize {
        self.words.len() / layout.stride
    }

    /// Row `i`.
    pub fn row(&self, layout: &RowLayout, i: usize) -> &[u64] {
        &self.words[i * layout.stride..(i + 1) * layout.stride]
    }

    /// Row `i`, to be changed.
    pub fn row_mut(&mut self, layout: &RowLayout, i: usize) -> &mut [u64] {
        &mut self.words[i * layout.stride..(i + 1) * layout.stride]
    }

    /// The event time of row `i`.
    pub fn time(&self, layout: &RowLayout, i: usize) -> i64 {
        layout.time(self.row(layout, i))
    }

    /// The newest event time.
    pub fn newest(&self, layout: &RowLayout) -> Option<i64> {
        self.len(layout).checked_sub(1).map(|last| self.time(layout, last))
    }

    /// The first row at or after a time.
    pub fn position(&self, layout: &RowLayout, time: i64) -> usize {
        let (mut low, mut high) = (0, self.len(layout));
        while low < high {
            let middle = (low + high) / 2;
            if self.time(layout, middle) < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The row at a time, made when it is not there: a copy of its predecessor with nothing
    /// fresh. Returns its index and whether it was made.
    pub fn row_at(&mut self, layout: &RowLayout, time: i64) -> (usize, bool) {
        let newest = self.newest(layout);
        let index = match newest {
            Some(newest) if time <= newest => self.position(layout, time),
            _ => self.len(layout),
        };
        if newest.is_some_and(|newest| time <= newest) && self.time(layout, index) == time {
            return (index, false);
        }
        let (stride, at) = (layout.stride, index * layout.stride);
        if index == self.len(layout) {
            match index {
                0 => self.words.resize(stride, 0),
                _ => self.words.extend_from_within(at - stride..at),
            }
        } else {
            self.words.splice(at..at, std::iter::repeat_n(0, stride));
            if index > 0 {
                self.words.copy_within(at - stride..at, at);
            }
        }
        layout.succeed(self.row_mut(layout, index), time);
        (index, true)
    }

    /// Puts a point into row `i` and lets later rows hold it, up to the metric's next point.
    /// Returns what it was and the first row that does not see it.
    pub fn place(
        &mut self,
        layout: &RowLayout,
        i: usize,
        slot: usize,
        value: u64,
        quality: Quality,
    ) -> (Placed, usize) {
        let row = self.row(layout, i);
        let fresh = layout.is_fresh(row, slot);
        if fresh && layout.as_of(row, slot) == Some((value, quality)) {
            return (Placed::Duplicate, i);
        }
        layout.set_point(self.row_mut(layout, i), slot, value, quality);
        let end = self.hold(layout, i, slot);
        (if fresh { Placed::Corrected } else { Placed::New }, end)
    }

    /// Lets the rows after `i` hold the metric's value of row `i`, up to the metric's next point.
    /// Returns the first row that does not see it.
    pub fn hold(&mut self, layout: &RowLayout, i: usize, slot: usize) -> usize {
        let held = layout.as_of(self.row(layout, i), slot);
        let mut next = i + 1;
        while next < self.len(layout) && !layout.is_fresh(self.row(layout, next), slot) {
            layout.set_held(self.row_mut(layout, next), slot, held);
            next += 1;
        }
        next
    }

    /// Cuts off the rows from `at` on.
    pub fn split_off(&mut self, layout: &RowLayout, at: usize) -> Self {
        let base = self.base && at == 0;
        self.base &= !base;
        Self { words: self.words.split_off(at * layout.stride), base }
    }

    /// The first row with points of its own.
    pub fn first(&self) -> usize {
        usize::from(self.base)
    }

    /// Forgets the rows before `first`, which stays as the base.
    pub fn forget(&mut self, layout: &RowLayout, first: usize) {
        self.words.drain(..first * layout.stride);
        self.base = true;
    }
}
