//! Files that background work leaves alone for now.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// How long a file is left alone that could not be read.
const LATER: Duration = Duration::from_secs(6 * 3_600);

/// Files that somebody is at work on, and files that cannot be read.
#[derive(Default)]
pub(super) struct Aside {
    taken: HashSet<String>,
    unreadable: HashMap<String, Instant>,
}

impl Aside {
    /// Whether a file may be taken.
    pub fn is_free(&self, path: &str) -> bool {
        !self.taken.contains(path) && !self.unreadable.contains_key(path)
    }

    /// Takes files until they are given back.
    pub fn take<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) {
        self.taken.extend(paths.into_iter().map(str::to_owned));
    }

    /// Gives files back.
    pub fn give_back<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) {
        for path in paths {
            self.taken.remove(path);
        }
    }

    /// Leaves a file alone for hours, or until a restart.
    pub fn leave(&mut self, path: &str, now: Instant) {
        self.unreadable.insert(path.to_owned(), now);
    }

    /// Forgets files that were left alone for long enough.
    pub fn try_again(&mut self, now: Instant) {
        self.unreadable.retain(|_, since| now.duration_since(*since) < LATER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_tried_again_after_hours() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        aside.take(["a", "b"]);
        aside.leave("b", now);
        aside.give_back(["a", "b"]);
        aside.try_again(now + LATER / 2);
        assert_eq!(["a", "b", "c"].map(|path| aside.is_free(path)), [true, false, true]);
        aside.try_again(now + LATER);
        assert!(aside.is_free("b"));
    }
}
