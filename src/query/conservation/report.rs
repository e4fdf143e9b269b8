//! What a recount found.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Every accepted point by what became of it. All counts are points unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conservation {
    /// The epoch of both sides.
    pub epoch: u64,
    /// Points in the log: all that was acknowledged, with a value that could be read.
    pub received: u64,
    /// Further copies of points that feed more than one metric or asset.
    pub copies: u64,
    /// In telemetry, each key once.
    pub stored: u64,
    /// Came with another value or quality for a key that was there, and took its place or gave it
    /// up.
    pub replaced: u64,
    /// Came again as they were.
    pub duplicates: u64,
    /// Deleted because somebody asked for it.
    #[serde(default)]
    pub deleted: u64,
    /// Removed because they were old, or refused because they came after that.
    #[serde(default)]
    pub expired: u64,
    /// Of metrics that no asset takes.
    pub unmapped: u64,
    /// Must be in telemetry and are not.
    pub lost: u64,
    /// Rows of telemetry that no point of the log explains, and keys that are there twice.
    pub unexplained: u64,
    /// The first keys that are wrong, for people.
    pub examples: Vec<String>,
    /// Messages with points in the log.
    pub messages: u64,
    /// Dead letters in the log, by the door that took them.
    pub dead_letters: BTreeMap<String, u64>,
    /// Dead letters in the view `dead_letters`, which holds the newest.
    pub dead_letters_shown: u64,
    /// Whether the view may hold fewer than the log, because it is full.
    pub dead_letters_full: bool,
}

impl Conservation {
    /// Whether every accepted point is accounted for.
    pub fn holds(&self) -> bool {
        let kept = self.stored + self.replaced + self.duplicates;
        let became = kept + self.deleted + self.expired + self.unmapped;
        let shown = self.dead_letters_shown;
        let letters = self.letters() == shown || (self.dead_letters_full && self.letters() > shown);
        self.received + self.copies == became && self.lost + self.unexplained == 0 && letters
    }

    fn letters(&self) -> u64 {
        self.dead_letters.values().sum()
    }
}

impl fmt::Display for Conservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "holds" } else { "DOES NOT HOLD" };
        writeln!(f, "conservation {verdict} at epoch {}", self.epoch)?;
        writeln!(f, "  {:>12} points received, in {} messages", self.received, self.messages)?;
        if self.copies > 0 {
            writeln!(f, "+ {:>12} copies for further metrics and assets", self.copies)?;
        }
        writeln!(f, "= {:>12} stored, each key once", self.stored)?;
        writeln!(f, "+ {:>12} replaced by another value of their key", self.replaced)?;
        writeln!(f, "+ {:>12} duplicates", self.duplicates)?;
        if self.deleted > 0 {
            writeln!(f, "+ {:>12} deleted on request", self.deleted)?;
        }
        if self.expired > 0 {
            writeln!(f, "+ {:>12} expired, or refused because their time had", self.expired)?;
        }
        writeln!(f, "+ {:>12} unmapped: no asset takes them", self.unmapped)?;
        if self.lost > 0 {
            writeln!(f, "+ {:>12} LOST", self.lost)?;
        }
        if self.unexplained > 0 {
            writeln!(f, "  {:>12} in telemetry UNEXPLAINED", self.unexplained)?;
        }
        for example in &self.examples {
            writeln!(f, "      {example}")?;
        }
        let (letters, shown) = (self.letters(), self.dead_letters_shown);
        writeln!(f, "  {letters:>12} refusals kept as dead letters, {shown} of them in the view")?;
        for (source, count) in &self.dead_letters {
            writeln!(f, "  {count:>12} of them through {source}")?;
        }
        Ok(())
    }
}
