//! Reads of a file on the store, a block at a time.

use super::super::error::Error;
use super::Remote;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Each request costs its way there and back: neighbours come along.
const BLOCK: u64 = if cfg!(test) { 64 } else { 512 << 10 };
/// Blocks that are kept of a file: its columns are read side by side.
const KEPT: usize = 16;
/// More than so many blocks are read past those that are kept.
const MANY: u64 = 8;

/// A file on the store. What was read last is kept.
pub(in super::super) struct Blocks {
    remote: Arc<Remote>,
    path: String,
    length: u64,
    known: Mutex<VecDeque<(u64, Bytes)>>,
}

impl Blocks {
    /// A file of this length, which is not looked at yet.
    pub fn new(remote: &Arc<Remote>, path: &str, length: u64) -> Self {
        Self { remote: Arc::clone(remote), path: path.into(), length, known: Mutex::default() }
    }

    /// So many bytes from a place on; they must be there. Blocks.
    pub fn bytes(&self, start: u64, length: usize) -> Result<Bytes, Error> {
        let end = start + length as u64;
        if length == 0 || end - start > MANY * BLOCK {
            return self.fetch(start..end);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = BytesMut::with_capacity(length);
        let (mut block, last) = (start / BLOCK, (end - 1) / BLOCK);
        while block <= last {
            let find = |block: u64| known.iter().find(|(number, _)| *number == block);
            let Some((_, bytes)) = find(block) else {
                // All that are missing one behind the other come at once.
                let missing = (block..=last).take_while(|block| find(*block).is_none()).count();
                self.fill(&mut known, block, missing as u64)?;
                continue;
            };
            let begin = block * BLOCK;
            let part = start.max(begin) - begin..end.min(begin + BLOCK) - begin;
            all.extend_from_slice(&bytes[part.start as usize..part.end as usize]);
            block += 1;
        }
        Ok(all.freeze())
    }

    fn fill(
        &self,
        known: &mut VecDeque<(u64, Bytes)>,
        first: u64,
        count: u64,
    ) -> Result<(), Error> {
        let range = first * BLOCK..((first + count) * BLOCK).min(self.length);
        let mut bytes = self.fetch(range)?;
        for block in first..first + count {
            let rest = bytes.split_off(bytes.len().min(BLOCK as usize));
            known.push_back((block, std::mem::replace(&mut bytes, rest)));
        }
        while known.len() > KEPT {
            known.pop_front();
        }
        Ok(())
    }

    fn fetch(&self, range: Range<u64>) -> Result<Bytes, Error> {
        self.remote.range(&self.path, range)
    }
}
