//! A wide table: rows of words by key, cheap to overwrite and cheap to freeze.

use super::names::{Moved, TypeNames};
use crate::base::serial::words;
use crate::model::{Epoch, Table, Upserts};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Asset and window start; the window start is 0 where the table has none.
pub(super) type Key = (u32, i64);

/// The rows of one asset type in one wide table.
///
/// Rows stand in chunks that readers share: freezing the table copies no row, and a later upsert
/// copies only the chunks that it writes to and that a reader still holds.
pub(super) struct WideTable {
    stride: usize,
    chunks: Vec<Arc<Chunk>>,
    slots: HashMap<Key, u32>,
    /// The rows as they were before this epoch, of keys that were written; `None` while nobody
    /// wants to know.
    touched: Option<Touched>,
    /// The epoch that is taken in.
    now: u64,
    /// The last epoch at which a public row ended, or one before which nothing is known of it.
    ended: u64,
    /// Windows of which a public row has ended since somebody asked.
    emptied: Vec<Key>,
}

/// At most [`CHUNK_ROWS`] rows.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Chunk {
    pub keys: Vec<Key>,
    #[serde(with = "words")]
    pub words: Vec<u64>,
    /// The epoch at which each row changed last. In a restored table that of the table, which is
    /// no earlier.
    #[serde(skip)]
    pub epochs: Vec<u64>,
    /// None of them is later.
    #[serde(skip)]
    pub newest: u64,
}

/// Old rows, in the order of their first change.
pub(super) struct Touched {
    /// How to read the old rows.
    pub names: Arc<TypeNames>,
    stride: usize,
    rows: Vec<(Key, Option<usize>)>,
    seen: HashMap<Key, ()>,
    words: Vec<u64>,
}

const CHUNK_ROWS: usize = 1024;

impl WideTable {
    pub fn new(stride: usize) -> Self {
        let (chunks, slots, emptied) = (Vec::new(), HashMap::new(), Vec::new());
        Self { stride, chunks, slots, touched: None, now: 0, ended: 0, emptied }
    }

    /// The table that had these chunks at an epoch. `None` when they do not fit the number of words
    /// a row.
    pub fn of(stride: usize, mut chunks: Vec<Arc<Chunk>>, epoch: Epoch) -> Option<Self> {
        let mut slots = HashMap::with_capacity(chunks.iter().map(|chunk| chunk.keys.len()).sum());
        let last = chunks.len().saturating_sub(1);
        for (i, chunk) in chunks.iter().enumerate() {
            let rows = chunk.keys.len();
            let full = rows == CHUNK_ROWS || (i == last && rows <= CHUNK_ROWS);
            if !full || chunk.words.len() != rows * stride {
                return None;
            }
            let places = chunk.keys.iter().enumerate();
            slots.extend(places.map(|(row, key)| (*key, (i * CHUNK_ROWS + row) as u32)));
        }
        for chunk in &mut chunks {
            Arc::make_mut(chunk).changed_at(epoch.0);
        }
        let (now, ended, emptied) = (epoch.0, epoch.0, Vec::new());
        Some(Self { stride, chunks, slots, touched: None, now, ended, emptied })
    }

    pub fn stride(&self) -> usize {
        self.stride
    }

    pub fn bytes(&self) -> usize {
        let of_chunk = |chunk: &Arc<Chunk>| {
            size_of::<Chunk>()
                + chunk.keys.capacity() * size_of::<Key>()
                + (chunk.words.capacity() + chunk.epochs.capacity()) * 8
        };
        let chunks: usize = self.chunks.iter().map(of_chunk).sum();
        // A table of hashes has a byte beside each entry, and is at most seven eighths full.
        let entry = size_of::<(Key, u32)>() + 1;
        chunks + self.slots.capacity() * 8 / 7 * entry
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The chunks as they are now.
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// Begins an epoch. Old rows are kept from here on when `names`, how to read them, is given.
    pub fn begin(&mut self, epoch: Epoch, names: Option<&Arc<TypeNames>>) {
        self.now = epoch.0;
        self.touched = names.map(|names| Touched {
            names: Arc::clone(names),
            stride: self.stride,
            rows: Vec::new(),
            seen: HashMap::new(),
            words: Vec::new(),
        });
    }

    pub fn touched(&self) -> Option<&Touched> {
        self.touched.as_ref()
    }

    /// The last epoch at which a public row may have ended.
    pub fn ended(&self) -> Epoch {
        Epoch(self.ended)
    }

    /// Windows of which a public row has ended since the last call, although the window is there.
    pub fn emptied(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.emptied)
    }

    /// The row of a key.
    pub fn get(&self, key: Key) -> Option<&[u64]> {
        let slot = *self.slots.get(&key)? as usize;
        let at = slot % CHUNK_ROWS * self.stride;
        Some(&self.chunks[slot / CHUNK_ROWS].words[at..at + self.stride])
    }

    /// Takes in rows, which must have the table's stride. Settled windows are numbered by how often
    /// they were revised: whoever folds one anew, from archived points, does not know of before.
    pub fn upsert(&mut self, upserts: &Upserts) {
        let mut next = 0;
        for (i, asset) in upserts.assets.iter().enumerate() {
            let key = (*asset, upserts.windows.get(i).copied().unwrap_or(0));
            let words = &upserts.words[i * self.stride..(i + 1) * self.stride];
            // Assets report in turn: as a rule the row is the one behind the last.
            let known = match self.key_at(next) == Some(key) {
                true => Some(next),
                false => self.slots.get(&key).map(|slot| *slot as usize),
            };
            next = 1 + match known {
                Some(slot) => self.replace(slot, key, words, upserts.table),
                None => self.insert(key, words),
            };
        }
    }

    /// Forgets the rows whose key is meant. The last row of the table takes the place of each.
    pub fn remove(&mut self, is_meant: impl Fn(&Key) -> bool) {
        let gone: Vec<Key> = self.slots.keys().filter(|key| is_meant(key)).copied().collect();
        if !gone.is_empty() {
            self.ended = self.now;
        }
        self.take_out(gone);
    }

    /// Removes rows that are kept elsewhere from now on: nobody is told of it.
    pub fn leave(&mut self, gone: Vec<Key>) {
        let touched = self.touched.take();
        self.take_out(gone);
        self.touched = touched;
    }

    fn take_out(&mut self, gone: Vec<Key>) {
        for key in gone {
            let Some(slot) = self.slots.remove(&key) else { continue };
            let (at, last) = (slot as usize, self.slots.len());
            let words = |slot: usize| slot % CHUNK_ROWS * self.stride..;
            let end = &self.chunks[last / CHUNK_ROWS];
            let moved_key = end.keys[last % CHUNK_ROWS];
            let moved = end.words[words(last)][..self.stride].to_vec();
            let moved_epoch = end.epochs[last % CHUNK_ROWS];
            let chunk = Arc::make_mut(&mut self.chunks[at / CHUNK_ROWS]);
            let row = &mut chunk.words[words(at)][..self.stride];
            if let Some(touched) = &mut self.touched {
                touched.note(key, Some(row));
            }
            row.copy_from_slice(&moved);
            chunk.keys[at % CHUNK_ROWS] = moved_key;
            chunk.set_epoch(at % CHUNK_ROWS, moved_epoch);
            if moved_key != key {
                self.slots.insert(moved_key, slot);
            }
            let end = Arc::make_mut(&mut self.chunks[last / CHUNK_ROWS]);
            end.keys.pop();
            end.epochs.pop();
            end.words.truncate(end.words.len() - self.stride);
            if end.keys.is_empty() {
                self.chunks.pop();
            }
        }
        // What was made for many more rows is given back.
        if self.slots.capacity() > 4 * self.slots.len() {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }

    /// Puts a row in again that had left, before it changes: nobody is told of it.
    pub fn bring_back(&mut self, key: Key, words: &[u64]) {
        let touched = self.touched.take();
        self.insert(key, words);
        self.touched = touched;
    }

    fn replace(&mut self, slot: usize, key: Key, words: &[u64], table: Table) -> usize {
        let at = slot % CHUNK_ROWS * self.stride;
        let chunk = Arc::make_mut(&mut self.chunks[slot / CHUNK_ROWS]);
        let row = &mut chunk.words[at..at + self.stride];
        if let Some(touched) = &mut self.touched {
            touched.note(key, Some(row));
        }
        if row == words {
            return slot;
        }
        let is_window = matches!(table, Table::Rollups(_));
        if ends(table, row, words) {
            match is_window {
                true => self.emptied.push(key),
                false => self.ended = self.now,
            }
        }
        let before = row.first().copied().unwrap_or_default();
        let is_revised = is_window && before > 0 && words[0] > 0;
        let least = before + u64::from(is_revised && row[1..] != words[1..]);
        row.copy_from_slice(words);
        if is_revised {
            row[0] = least.max(words[0]);
        }
        chunk.set_epoch(slot % CHUNK_ROWS, self.now);
        slot
    }

    fn insert(&mut self, key: Key, words: &[u64]) -> usize {
        if self.chunks.last().is_none_or(|chunk| chunk.keys.len() == CHUNK_ROWS) {
            self.chunks.push(Arc::default());
        }
        let chunk = self.chunks.len() - 1;
        let last = Arc::make_mut(&mut self.chunks[chunk]);
        let slot = chunk * CHUNK_ROWS + last.keys.len();
        self.slots.insert(key, slot as u32);
        last.keys.push(key);
        last.words.extend_from_slice(words);
        last.epochs.push(self.now);
        last.newest = self.now;
        if let Some(touched) = &mut self.touched {
            touched.note(key, None);
        }
        slot
    }

    fn key_at(&self, slot: usize) -> Option<Key> {
        self.chunks.get(slot / CHUNK_ROWS)?.keys.get(slot % CHUNK_ROWS).copied()
    }

    /// Marks every row as changed, because it reads differently from now on.
    pub fn touch_all(&mut self) {
        self.ended = self.now;
        for chunk in &mut self.chunks {
            Arc::make_mut(chunk).changed_at(self.now);
        }
        let Some(touched) = &mut self.touched else { return };
        for chunk in &self.chunks {
            for (i, key) in chunk.keys.iter().enumerate() {
                touched.note(*key, Some(&chunk.words[i * self.stride..(i + 1) * self.stride]));
            }
        }
    }

    /// Moves the words of all rows to other columns.
    pub fn relay(&mut self, moved: &Moved) {
        let stride = moved.head + moved.width * moved.from.len();
        let identity = moved.from.iter().enumerate().all(|(at, from)| *from == Some(at));
        if identity && stride == self.stride {
            return;
        }
        for chunk in &mut self.chunks {
            let mut words = Vec::with_capacity(chunk.keys.len() * stride);
            for row in chunk.words.chunks_exact(self.stride) {
                words.extend_from_slice(&row[..moved.head]);
                for from in &moved.from {
                    words.extend_from_slice(match from {
                        Some(from) => &row[moved.head + from * moved.width..][..moved.width],
                        None => moved.nothing,
                    });
                }
            }
            let Chunk { keys, epochs, newest, .. } = &**chunk;
            let (keys, epochs) = (keys.clone(), epochs.clone());
            *chunk = Arc::new(Chunk { keys, words, epochs, newest: *newest });
        }
        self.stride = stride;
    }

    /// Forgets all rows; rows that follow have `stride` words.
    pub fn reset(&mut self, stride: usize) {
        self.touch_all();
        self.stride = stride;
        self.chunks.clear();
        self.slots.clear();
    }
}

impl Chunk {
    fn set_epoch(&mut self, row: usize, epoch: u64) {
        self.epochs[row] = epoch;
        self.newest = self.newest.max(epoch);
    }

    /// All rows changed at an epoch.
    fn changed_at(&mut self, epoch: u64) {
        self.epochs.clear();
        self.epochs.resize(self.keys.len(), epoch);
        self.newest = epoch;
    }
}

/// Whether a public row of the old words is none of the new ones.
fn ends(table: Table, old: &[u64], new: &[u64]) -> bool {
    const NEVER: u64 = i64::MIN as u64;
    let pairs = |head: usize, width: usize| {
        old[head..].chunks_exact(width).zip(new[head..].chunks_exact(width))
    };
    match table {
        Table::Health => old[0] != NEVER && new[0] == NEVER,
        Table::Latest | Table::Thresholds => {
            pairs(0, 3).any(|(old, new)| old[1] != NEVER && new[1] == NEVER)
        }
        Table::Rollups(_) => pairs(1, 6).any(|(old, new)| old[0] != 0 && new[0] == 0),
    }
}

impl Touched {
    /// Keys that changed and their old rows, in the order of the first change.
    pub fn rows(&self) -> impl Iterator<Item = (Key, Option<&[u64]>)> {
        self.rows.iter().map(|(key, at)| (*key, at.map(|at| &self.words[at..at + self.stride])))
    }

    fn note(&mut self, key: Key, old: Option<&[u64]>) {
        if self.seen.insert(key, ()).is_some() {
            return;
        }
        let at = old.map(|old| {
            let at = self.words.len();
            self.words.extend_from_slice(old);
            at
        });
        self.rows.push((key, at));
    }
}
