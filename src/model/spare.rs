//! Large buffers that go from thread to thread and come back.
//!
//! What changed in an epoch is some megabytes, filled by one thread and dropped by another. Given
//! back to the operating system and asked for again, each page would be cleared every time.

use std::sync::{Mutex, PoisonError};

/// Smaller buffers are left to the allocator.
const WORDS_MIN: usize = 4_096;
/// Words that are kept at most. Beyond, buffers are given back.
pub const WORDS_MAX: usize = 4_000_000;

static SPARE: Mutex<Spare> = Mutex::new(Spare { buffers: Vec::new(), words: 0 });

struct Spare {
    buffers: Vec<Vec<u64>>,
    /// The capacities of all of them.
    words: usize,
}

/// An empty buffer with room for so many words.
pub fn buffer(words: usize) -> Vec<u64> {
    if words >= WORDS_MIN {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        // A buffer that was too small once has grown to twice its size.
        let fits = |buffer: &Vec<u64>| (words..=4 * words).contains(&buffer.capacity());
        if let Some(at) = spare.buffers.iter().rposition(fits) {
            let buffer = spare.buffers.swap_remove(at);
            spare.words -= buffer.capacity();
            return buffer;
        }
    }
    // Some room more: the next epoch is about as large, but not quite.
    Vec::with_capacity(words + words / 8)
}

/// Takes a buffer that is not needed any more.
pub fn give_back(mut buffer: Vec<u64>) {
    if buffer.capacity() < WORDS_MIN {
        return;
    }
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    if spare.words + buffer.capacity() <= WORDS_MAX {
        buffer.clear();
        spare.words += buffer.capacity();
        spare.buffers.push(buffer);
    }
}

/// The bytes of the buffers that are kept.
pub fn bytes() -> usize {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner).words * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_of_a_size_that_fits() {
        // A size that nothing else in the tests has.
        let words = WORDS_MIN * 6 + 17;
        let mut first = buffer(words);
        first.push(1);
        give_back(first);
        let second = buffer(words);
        assert!(second.is_empty() && second.capacity() >= words);
        give_back(second);
        assert!(buffer(words / 5).capacity() < words, "a fifth would waste the rest");
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = spare.buffers.iter().map(Vec::capacity).sum();
        assert_eq!(spare.words, kept);
        assert!(kept <= WORDS_MAX);
    }
}
