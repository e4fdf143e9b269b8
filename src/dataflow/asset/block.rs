//! A few rows of a series, side by side.
//!
//! In most rows nothing is missing: every metric has a good point and every expression a value. As
//! long as all rows of a block are like that, only what differs between them is kept: times, values
//! and which conditions are true. Whoever looks at such a row has the block unfolded, and keeps it
//! so until [`Block::unread`].

use super::row::RowLayout;
use crate::base::serial::words;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;

/// Rows of a block: few, because most of the room in the last one is empty, and as many as a
/// list of blocks is short.
pub const BLOCK_ROWS: usize = 8;

/// The words of [`BLOCK_ROWS`] rows, or of fewer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Block {
    /// Whether nothing is missing in any row, so that the words are those of
    /// [`RowLayout::fold`].
    is_folded: bool,
    #[serde(with = "words")]
    words: Vec<u64>,
    /// The rows of a folded block, when somebody has looked at one.
    #[serde(skip)]
    unfolded: OnceCell<Vec<u64>>,
}

impl Default for Block {
    /// No rows.
    fn default() -> Self {
        Self { is_folded: true, words: Vec::new(), unfolded: OnceCell::new() }
    }
}

impl Block {
    /// The bytes that it takes beside itself.
    pub fn bytes(&self) -> usize {
        (self.words.capacity() + self.unfolded.get().map_or(0, Vec::capacity)) * 8
    }

    /// Leaves so many places empty before the first row, in which nobody looks.
    pub fn skip(&mut self, layout: &RowLayout, rows: usize) {
        *self = Self::default();
        self.words.reserve_exact(BLOCK_ROWS * layout.folded());
        self.words.resize(rows * layout.folded(), 0);
    }

    /// Row `i`.
    #[inline]
    pub fn row(&self, layout: &RowLayout, i: usize) -> &[u64] {
        let rows = match self.is_folded {
            true => self.unfolded.get_or_init(|| self.unfold(layout)),
            false => &self.words,
        };
        &rows[i * layout.stride..(i + 1) * layout.stride]
    }

    /// Row `i`, to be changed.
    #[inline]
    pub fn row_mut(&mut self, layout: &RowLayout, i: usize) -> &mut [u64] {
        self.make_full(layout);
        &mut self.words[i * layout.stride..(i + 1) * layout.stride]
    }

    /// The values of row `i` of a folded block.
    #[inline]
    pub fn values(&self, layout: &RowLayout, i: usize) -> Option<&[u64]> {
        self.is_folded.then(|| &self.words[i * layout.folded() + 1..][..layout.metrics])
    }

    /// The event time of row `i`.
    #[inline]
    pub fn time(&self, layout: &RowLayout, i: usize) -> i64 {
        layout.time(&self.words[i * self.width(layout)..])
    }

    /// Appends a row.
    pub fn push(&mut self, layout: &RowLayout, row: &[u64]) {
        self.make_full(layout);
        self.words.extend_from_slice(row);
    }

    /// Appends a row in which nothing is missing.
    #[inline]
    pub fn push_whole(&mut self, layout: &RowLayout, row: &[u64]) {
        if !self.is_folded {
            return self.words.extend_from_slice(row);
        }
        self.unread();
        if self.words.is_empty() {
            self.words.reserve_exact(BLOCK_ROWS * layout.folded());
        }
        layout.fold(row, &mut self.words);
    }

    /// Appends a row of zeros.
    pub fn push_empty(&mut self, layout: &RowLayout) {
        self.make_full(layout);
        self.words.resize(self.words.len() + layout.stride, 0);
    }

    /// Keeps the first rows.
    pub fn truncate(&mut self, layout: &RowLayout, rows: usize) {
        self.unread();
        self.words.truncate(rows * self.width(layout));
    }

    /// Makes row `to` equal to row `from`.
    pub fn copy(&mut self, layout: &RowLayout, from: usize, to: usize) {
        self.make_full(layout);
        let from = from * layout.stride;
        self.words.copy_within(from..from + layout.stride, to * layout.stride);
    }

    /// Copies row `i`.
    pub fn put(&self, layout: &RowLayout, i: usize, row: &mut [u64]) {
        match self.is_folded {
            true => layout.unfold(&self.words[i * layout.folded()..][..layout.folded()], row),
            false => row.copy_from_slice(self.row(layout, i)),
        }
    }

    /// Gives back the room that it took to look at rows.
    #[inline]
    pub fn unread(&mut self) {
        if self.unfolded.get().is_some() {
            self.unfolded = OnceCell::new();
        }
    }

    fn width(&self, layout: &RowLayout) -> usize {
        if self.is_folded { layout.folded() } else { layout.stride }
    }

    fn unfold(&self, layout: &RowLayout) -> Vec<u64> {
        let folded = self.words.chunks_exact(layout.folded());
        let mut rows = Vec::with_capacity(BLOCK_ROWS * layout.stride);
        rows.resize(folded.len() * layout.stride, 0);
        for (folded, row) in folded.zip(rows.chunks_exact_mut(layout.stride)) {
            layout.unfold(folded, row);
        }
        rows
    }

    fn make_full(&mut self, layout: &RowLayout) {
        if self.is_folded {
            self.words = self.unfolded.take().unwrap_or_else(|| self.unfold(layout));
            self.is_folded = false;
        }
    }
}
