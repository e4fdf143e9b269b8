//! Files that no manifest names any more stay until nobody reads them.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// As long as it is held, every file stays that was named when it was taken.
#[derive(Clone, Debug, Default)]
pub struct Pin(Arc<()>);

/// Files on their way out, and who may still read them.
#[derive(Default)]
pub(super) struct Pins {
    current: Pin,
    /// For each step those who read since before it. Whoever reads since before a later step and
    /// not since before this one, does not read its files.
    waiting: VecDeque<(Weak<()>, Vec<String>)>,
}

impl Pins {
    /// Holds the files that are named now.
    pub fn pin(&self) -> Pin {
        self.current.clone()
    }

    /// Whether no file is on its way out.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Says that files are named no more.
    pub fn retire(&mut self, files: Vec<String>) {
        let before = std::mem::take(&mut self.current);
        self.waiting.push_back((Arc::downgrade(&before.0), files));
    }

    /// Takes the files that nobody reads any more.
    pub fn free(&mut self) -> Vec<String> {
        let mut free = Vec::new();
        while self.waiting.front().is_some_and(|(readers, _)| readers.strong_count() == 0) {
            free.extend(self.waiting.pop_front().into_iter().flat_map(|(_, files)| files));
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_with_the_last_who_may_read_it() {
        let mut pins = Pins::default();
        let (first, also) = (pins.pin(), pins.pin());
        pins.retire(vec!["a".into()]);
        let second = pins.pin();
        pins.retire(vec!["b".into()]);
        // The first may read both, the second only what was there still.
        drop(second);
        assert!(pins.free().is_empty());
        drop(first);
        assert!(pins.free().is_empty() && !pins.is_empty());
        drop(also);
        assert_eq!(pins.free(), ["a", "b"]);
        assert!(pins.is_empty() && pins.free().is_empty());
    }
}
