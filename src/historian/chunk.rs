//! Hot points as they came, and the segments that become files together.

use super::chronicle::{Entry, Line};
use super::names::Slots;
use crate::model::{Epoch, Rows, Timestamp};
use std::sync::Arc;

/// The accepted rows of one asset type at one epoch.
#[derive(Debug)]
pub(super) struct Chunk {
    pub epoch: Epoch,
    pub rows: Rows,
    pub slots: Arc<Slots>,
    pub points: usize,
    pub bytes: usize,
    pub first_time: i64,
    pub last_time: i64,
}

/// A key whose older value, of an earlier epoch than this one, was replaced; or, among the deleted,
/// one whose values up to and with this epoch were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Note {
    pub epoch: Epoch,
    pub asset: u32,
    pub metric: u32,
    pub event_time: i64,
}

/// Closed epochs that become files together.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    pub chunks: Vec<Arc<Chunk>>,
    pub notes: Vec<Note>,
    pub deleted: Vec<Note>,
    pub news: Vec<Entry>,
    /// Where the clock was noted last, if it was.
    pub clock: Option<Line>,
    /// The first epoch that has points.
    pub first_epoch: Epoch,
    /// The last closed epoch, with points or not.
    pub last_epoch: Epoch,
    /// The tick of the first epoch that has points, deletions or news.
    pub first_tick: Option<Timestamp>,
    pub points: usize,
    pub bytes: usize,
}

impl Chunk {
    pub(super) fn new(epoch: Epoch, rows: Rows, slots: Arc<Slots>) -> Self {
        let words = rows.words.len() + rows.fresh.len() + rows.times.len();
        let halves =
            rows.quality.len() + rows.assets.len() + rows.devices.len() + rows.messages.len();
        Self {
            epoch,
            points: rows.points(),
            bytes: words * 8 + halves * 4,
            first_time: rows.times.iter().copied().min().unwrap_or(i64::MAX),
            last_time: rows.times.iter().copied().max().unwrap_or(i64::MIN),
            rows,
            slots,
        }
    }

    pub(super) fn holds(&self, row: usize, slot: usize) -> bool {
        self.rows.fresh(row)[slot / 64] >> (slot % 64) & 1 == 1
    }
}

impl Segment {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.deleted.is_empty() && self.news.is_empty()
    }

    /// Takes the chunks and notes of one closed epoch.
    pub(super) fn close_epoch(
        &mut self,
        epoch: Epoch,
        tick: Timestamp,
        chunks: &mut Vec<Arc<Chunk>>,
        (notes, deleted): (&mut Vec<Note>, &mut Vec<Note>),
    ) {
        if self.chunks.is_empty() && !chunks.is_empty() {
            self.first_epoch = epoch;
        }
        if !(chunks.is_empty() && deleted.is_empty() && self.news.is_empty()) {
            self.first_tick.get_or_insert(tick);
        }
        self.last_epoch = epoch;
        for chunk in chunks.drain(..) {
            self.points += chunk.points;
            self.bytes += chunk.bytes;
            self.chunks.push(chunk);
        }
        self.notes.append(notes);
        self.bytes += size_of_val(&deleted[..]);
        self.deleted.append(deleted);
    }
}
