//! The recent history of one asset: its rows in event-time order, each complete as of its time.

use super::row::RowLayout;
use crate::base::serial::words;
use crate::model::Quality;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Rows of one asset, ascending by event time, no two at the same time.
///
/// They stand in blocks of a few rows: new ones come at the end and old ones go at the front,
/// block by block, and neither moves the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    blocks: VecDeque<Block>,
    /// Where in the first block row 0 stands, and how many rows there are.
    head: usize,
    len: usize,
    /// The event time of the last row.
    newest: i64,
    /// Whether row 0 is only there to be held from: its own points were folded away.
    pub base: bool,
}

/// The words of [`BLOCK_ROWS`] rows; the last block ends with the last row.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Block(#[serde(with = "words")] Vec<u64>);

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

/// Rows of a block: few, because most of the room in the last one is empty, and as many as a
/// list of blocks is short.
const BLOCK_ROWS: usize = 8;

impl Series {
    /// No rows. Assets that begin together would need new blocks together, and all pay for it in
    /// one tick, so the first block begins elsewhere by the asset's id.
    pub fn of_asset(id: u32) -> Self {
        Self { head: id as usize % BLOCK_ROWS, ..Self::default() }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        let words: usize = self.blocks.iter().map(|block| block.0.capacity()).sum();
        size_of::<Self>() + self.blocks.capacity() * size_of::<Block>() + words * 8
    }

    /// Row `i`.
    #[inline]
    pub fn row(&self, layout: &RowLayout, i: usize) -> &[u64] {
        let (block, at) = self.at(layout, i);
        &self.blocks[block].0[at..at + layout.stride]
    }

    /// Row `i`, to be changed.
    #[inline]
    pub fn row_mut(&mut self, layout: &RowLayout, i: usize) -> &mut [u64] {
        let (block, at) = self.at(layout, i);
        &mut self.blocks[block].0[at..at + layout.stride]
    }

    /// The event time of row `i`.
    pub fn time(&self, layout: &RowLayout, i: usize) -> i64 {
        layout.time(self.row(layout, i))
    }

    /// The newest event time.
    pub fn newest(&self) -> Option<i64> {
        (self.len > 0).then_some(self.newest)
    }

    /// The first row at or after a time.
    pub fn position(&self, layout: &RowLayout, time: i64) -> usize {
        if self.newest().is_none_or(|newest| newest < time) {
            return self.len;
        }
        let (mut low, mut high) = (0, self.len);
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
        let index = match self.newest() {
            Some(newest) if time <= newest => self.position(layout, time),
            _ => self.len,
        };
        if index < self.len && self.time(layout, index) == time {
            return (index, false);
        }
        let words = self.end(layout);
        words.resize(words.len() + layout.stride, 0);
        self.len += 1;
        // The rows behind it move up by one.
        for i in (index..self.len - 1).rev() {
            self.copy(layout, i, i + 1);
        }
        match index {
            0 => self.row_mut(layout, 0).fill(0),
            _ => self.copy(layout, index - 1, index),
        }
        layout.succeed(self.row_mut(layout, index), time);
        if index + 1 == self.len {
            self.newest = time;
        }
        (index, true)
    }

    /// Puts a row behind the newest one.
    pub fn push(&mut self, layout: &RowLayout, row: &[u64]) {
        self.end(layout).extend_from_slice(row);
        self.len += 1;
        self.newest = layout.time(row);
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
        while next < self.len && !layout.is_fresh(self.row(layout, next), slot) {
            layout.set_held(self.row_mut(layout, next), slot, held);
            next += 1;
        }
        next
    }

    /// Cuts off the rows from `at` on.
    pub fn split_off(&mut self, layout: &RowLayout, at: usize) -> Self {
        let mut cut = Self { base: self.base && at == 0, ..Self::default() };
        (at..self.len).for_each(|i| cut.push(layout, self.row(layout, i)));
        self.base &= !cut.base;
        self.len = at;
        self.newest = if at == 0 { 0 } else { self.time(layout, at - 1) };
        let (block, words) = self.at(layout, at);
        if let Some(block) = self.blocks.get_mut(block) {
            block.0.truncate(words);
        }
        self.blocks.truncate(block + 1);
        cut
    }

    /// The first row with points of its own.
    pub fn first(&self) -> usize {
        usize::from(self.base)
    }

    /// Forgets the rows before `first`, which stays as the base.
    pub fn forget(&mut self, first: usize) {
        self.head += first;
        self.len -= first;
        self.base = true;
        while self.head >= BLOCK_ROWS {
            self.head -= BLOCK_ROWS;
            // The allocator has it for the next new block.
            self.blocks.pop_front();
        }
    }

    /// Gives room back that is not needed.
    pub fn shrink(&mut self) {
        if self.blocks.capacity() > 2 * self.blocks.len() {
            self.blocks.shrink_to_fit();
        }
    }

    /// Where row `i` stands: its block, and where in there its words begin.
    #[inline]
    fn at(&self, layout: &RowLayout, i: usize) -> (usize, usize) {
        let at = self.head + i;
        (at / BLOCK_ROWS, at % BLOCK_ROWS * layout.stride)
    }

    /// The words of the block in which the next row stands, up to that row.
    #[inline]
    fn end(&mut self, layout: &RowLayout) -> &mut Vec<u64> {
        let (block, at) = self.at(layout, self.len);
        if block == self.blocks.len() {
            // Nobody looks at what stands before the first row.
            let mut words = Vec::with_capacity(BLOCK_ROWS * layout.stride);
            words.resize(at, 0);
            self.blocks.push_back(Block(words));
        }
        &mut self.blocks[block].0
    }

    fn copy(&mut self, layout: &RowLayout, from: usize, to: usize) {
        let (from, to) = (self.at(layout, from), self.at(layout, to));
        let words = from.1..from.1 + layout.stride;
        if from.0 == to.0 {
            return self.blocks[from.0].0.copy_within(words, to.1);
        }
        let mut block = std::mem::take(&mut self.blocks[to.0].0);
        block[to.1..to.1 + layout.stride].copy_from_slice(&self.blocks[from.0].0[words]);
        self.blocks[to.0].0 = block;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows come, also late ones, and go: the blocks hold what a sorted list does.
    #[test]
    fn blocks_are_a_sorted_list() {
        let layout = RowLayout::new(3, (1, 2), 0, 0, 0);
        let (mut random, mut series, mut times) = (0x5eed_u64, Series::default(), Vec::new());
        for step in 0..2_000_i64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let time = step - (random >> 33) as i64 % 5;
            let (at, made) = series.row_at(&layout, time);
            match times.binary_search(&time) {
                Ok(known) => assert_eq!((at, made), (known, false), "step {step}"),
                Err(place) => {
                    assert_eq!((at, made), (place, true), "step {step}");
                    times.insert(place, time);
                }
            }
            layout.set_point(series.row_mut(&layout, at), 1, time as u64, Quality::GOOD);
            if times.len() > 20 + (step / 40) as usize {
                series.forget(7);
                times.drain(..7);
            }
            let held: Vec<i64> = (0..series.len()).map(|i| series.time(&layout, i)).collect();
            assert_eq!(held, times, "step {step}");
            let value = |i| layout.value(series.row(&layout, i), 1) as i64;
            assert!((0..series.len()).all(|i| value(i) == times[i]), "step {step}");
        }
    }
}
