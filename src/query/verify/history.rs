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
        &self.versions[self.last()].rules
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

    /// The place of the current version.
    pub(super) fn last(&self) -> usize {
        self.versions.len() - 1
    }

    /// The place of the first version of the unbroken run, up to the one at `to`, of which
    /// something is true; behind that one when it is not such a version.
    pub(super) fn since(&self, to: usize, is_true: impl Fn(&Rules) -> bool) -> usize {
        let versions = &self.versions[..=to];
        let last = versions.iter().rposition(|version| !is_true(&version.rules));
        last.map_or(0, |last| last + 1)
    }
}
