//! The recent history of one asset: its rows in event-time order, each complete as of its time.

use super::block::{BLOCK_ROWS, Block};
use super::row::RowLayout;
use crate::model::Quality;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Rows of one asset, ascending by event time, no two at the same time.
///
/// They stand in blocks of a few rows: new ones come at the end and old ones go at the front,
/// block by block, and neither moves the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    /// All blocks but the last, which ends with the last row.
    blocks: VecDeque<Block>,
    last: Block,
    /// Where in the first block row 0 stands, and how many rows there are.
    head: usize,
    len: usize,
    /// The event time of the last row.
    newest: i64,
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
        let words = self.blocks.iter().chain([&self.last]).map(Block::bytes);
        size_of::<Self>() + self.blocks.capacity() * size_of::<Block>() + words.sum::<usize>()
    }

    /// Row `i`.
    #[inline]
    pub fn row(&self, layout: &RowLayout, i: usize) -> &[u64] {
        let (block, at) = self.at(i);
        self.block(block).row(layout, at)
    }

    /// Row `i`, to be changed.
    #[inline]
    pub fn row_mut(&mut self, layout: &RowLayout, i: usize) -> &mut [u64] {
        let (block, at) = self.at(i);
        self.block_mut(block).row_mut(layout, at)
    }

    /// The values of row `i`, when it is kept as one in which nothing is missing.
    #[inline]
    pub fn values(&self, layout: &RowLayout, i: usize) -> Option<&[u64]> {
        let (block, at) = self.at(i);
        self.block(block).values(layout, at)
    }

    /// The event time of row `i`.
    pub fn time(&self, layout: &RowLayout, i: usize) -> i64 {
        let (block, at) = self.at(i);
        self.block(block).time(layout, at)
    }

    /// The newest event time.
    pub fn newest(&self) -> Option<i64> {
        (self.len > 0).then_some(self.newest)
    }

    /// The first row at or after a time.
    pub fn position(&self, layout: &RowLayout, time: i64) -> usize {
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
        self.make_room(layout);
        self.last.push_empty(layout);
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
        self.make_room(layout);
        match layout.is_whole(row) {
            true => self.last.push_whole(layout, row),
            false => self.last.push(layout, row),
        }
        self.len += 1;
        self.newest = layout.time(row);
    }

    /// Puts a row behind the newest one, in which nothing is missing.
    #[inline]
    pub fn push_whole(&mut self, layout: &RowLayout, row: &[u64]) {
        self.make_room(layout);
        self.last.push_whole(layout, row);
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
        let (block, rows) = self.at(at);
        if block < self.blocks.len() {
            self.blocks.truncate(block + 1);
            self.last = self.blocks.pop_back().unwrap_or_default();
        }
        if block == self.blocks.len() {
            self.last.truncate(layout, rows);
        }
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
        self.blocks.iter_mut().for_each(Block::unread);
    }

    /// Gives room back that is not needed.
    pub fn shrink(&mut self) {
        if self.blocks.capacity() > 2 * self.blocks.len() {
            self.blocks.shrink_to_fit();
        }
    }

    /// Where row `i` stands: its block, and its place in there.
    #[inline]
    fn at(&self, i: usize) -> (usize, usize) {
        let at = self.head + i;
        (at / BLOCK_ROWS, at % BLOCK_ROWS)
    }

    #[inline]
    fn block(&self, at: usize) -> &Block {
        self.blocks.get(at).unwrap_or(&self.last)
    }

    #[inline]
    fn block_mut(&mut self, at: usize) -> &mut Block {
        self.blocks.get_mut(at).unwrap_or(&mut self.last)
    }

    /// Sees to it that the next row is one of the last block.
    #[inline]
    fn make_room(&mut self, layout: &RowLayout) {
        let (block, at) = self.at(self.len);
        if block > self.blocks.len() {
            self.blocks.push_back(std::mem::take(&mut self.last));
        }
        if self.len == 0 {
            self.last.skip(layout, at);
        }
    }

    fn copy(&mut self, layout: &RowLayout, from: usize, to: usize) {
        let (from, to) = (self.at(from), self.at(to));
        if from.0 == to.0 {
            return self.block_mut(from.0).copy(layout, from.1, to.1);
        }
        let mut block = std::mem::take(self.block_mut(to.0));
        self.block(from.0).put(layout, from.1, block.row_mut(layout, to.1));
        *self.block_mut(to.0) = block;
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
