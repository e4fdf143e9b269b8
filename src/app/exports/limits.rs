//! How much exports may take.

use std::time::Duration;

/// Limits of exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Exports at the same time, those that are done included. Beyond: 429.
    pub jobs: usize,
    /// Exports that are written at the same time; others wait for their turn.
    pub running: usize,
    /// What all files take together. Beyond: new ones are refused, and one that is written fails.
    pub bytes: u64,
    /// How long an export is kept after its end.
    pub age: Duration,
    /// How long one may be written.
    pub time: Duration,
    /// Rows of one.
    pub rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            jobs: 100,
            running: 2,
            bytes: 4 << 30,
            age: Duration::from_secs(86_400),
            time: Duration::from_secs(3_600),
            rows: 100_000_000,
        }
    }
}
