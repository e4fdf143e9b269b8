//! Files that no manifest names any more stay until nobody reads them.

use crate::model::Place;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// As long as it is held, every file stays that was named when it was taken.
#[derive(Clone, Debug, Default)]
pub struct Pin(Arc<()>);

/// A file on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub path: String,
    pub place: Place,
}

impl Gone {
    /// One in the archive's directory.
    pub fn local(path: &str) -> Self {
        Self { path: path.into(), place: Place::Local }
    }
}

/// Files on their way out, and who may still read them.
#[derive(Default)]
pub(super) struct Pins {
    current: Pin,
    /// For each step those who read since before it. Whoever reads since before a later step and
    /// not since before this one, does not read its files.
    waiting: VecDeque<(Weak<()>, Vec<Gone>)>,
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

    /// Whether a file on the store is on its way out and may be read still.
    pub fn hold(&self, path: &str) -> bool {
        let is_it = |gone: &Gone| gone.place == Place::Store && gone.path == path;
        let step = self.waiting.iter().position(|(_, gone)| gone.iter().any(is_it));
        let read = |(readers, _): &(Weak<()>, _)| readers.strong_count() > 0;
        step.is_some_and(|step| self.waiting.iter().take(step + 1).any(read))
    }

    /// Says that files are named no more.
    pub fn retire(&mut self, files: Vec<Gone>) {
        let before = std::mem::take(&mut self.current);
        self.waiting.push_back((Arc::downgrade(&before.0), files));
    }

    /// Takes the files that nobody reads any more.
    pub fn free(&mut self) -> Vec<Gone> {
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
        pins.retire(vec![Gone::local("a")]);
        let second = pins.pin();
        let there = Gone { path: "b".into(), place: Place::Store };
        pins.retire(vec![there.clone()]);
        // The first may read both, the second only what was there still.
        drop(second);
        assert!(pins.free().is_empty());
        drop(first);
        assert!(pins.free().is_empty() && !pins.is_empty());
        assert!(pins.hold("b") && !pins.hold("a"));
        drop(also);
        assert_eq!(pins.free(), [Gone::local("a"), there]);
        assert!(!pins.hold("b"));
        assert!(pins.is_empty() && pins.free().is_empty());
    }
}
