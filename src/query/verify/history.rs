//! The versions of an asset type: which of them is in force when, and since when they agree.

use super::rules::Rules;

/// One published version.
pub(super) struct Version {
    /// The event time from which it is in force; the first one has no beginning.
    pub from: i64,
    pub rules: Rules,
}

/// All versions of an asset type in the order in which they were published.
///
/// A version that is published takes the place of those that would begin at its time or later;
/// the versions that remain are the *eras*, and the last of them is the current version.
pub(super) struct History {
    versions: Vec<Version>,
    /// Places of the versions that remain, ascending by time.
    eras: Vec<usize>,
}

impl History {
    pub(super) fn new(from: i64, rules: Rules) -> Self {
        Self { versions: vec![Version { from, rules }], eras: vec![0] }
    }

    pub(super) fn publish(&mut self, from: i64, rules: Rules) {
        let stays = self.eras.partition_point(|era| self.versions[*era].from < from);
        self.eras.truncate(stays);
        self.eras.push(self.versions.len());
        self.versions.push(Version { from, rules });
    }

    pub(super) fn current(&self) -> &Rules {
        &self.versions[self.versions.len() - 1].rules
    }

    /// The eras, each as the place of its version.
    pub(super) fn eras(&self) -> &[usize] {
        &self.eras
    }

    pub(super) fn version(&self, place: usize) -> &Version {
        &self.versions[place]
    }

    /// The place among the eras of the one that holds an event time.
    pub(super) fn era_at(&self, time: i64) -> usize {
        self.eras.partition_point(|era| self.versions[*era].from <= time).saturating_sub(1)
    }

    /// The place of the first version of the unbroken run, up to the current one, of which
    /// something is true; behind the current one when that is not such a version.
    pub(super) fn since(&self, is_true: impl Fn(&Rules) -> bool) -> usize {
        let last = self.versions.iter().rposition(|version| !is_true(&version.rules));
        last.map_or(0, |last| last + 1)
    }
}
