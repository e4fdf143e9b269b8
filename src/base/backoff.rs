//! Waiting longer after each failed attempt.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

const LEAST: Duration = Duration::from_millis(500);
const GREATEST: Duration = Duration::from_secs(30);

/// Waits from half a second to half a minute, each up to twice the one before. A seed of one's own
/// keeps clients of one server from coming back all at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    seed: u64,
    attempts: u32,
}

impl Backoff {
    /// Seeded by a name, so that a name's waits are always the same.
    pub fn new(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self { seed: hasher.finish(), attempts: 0 }
    }

    /// Starts again with the shortest wait.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let longest = (LEAST * 2).saturating_mul(1 << self.attempts.min(8)).min(GREATEST);
        self.attempts += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, self.attempts).hash(&mut hasher);
        self.seed = hasher.finish();
        let part = (self.seed >> 11) as f64 / (1u64 << 53) as f64;
        longest.mul_f64(0.5 + part / 2.0).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_inside_their_bounds() {
        let mut backoff = Backoff::new("client");
        let waits: Vec<_> = (0..20).map(|_| backoff.wait()).collect();
        assert!(waits.iter().all(|wait| (LEAST..=GREATEST).contains(wait)), "{waits:?}");
        assert!(waits[0] <= LEAST * 2 && waits[10] >= GREATEST / 2, "{waits:?}");
        backoff.reset();
        assert!(backoff.wait() <= LEAST * 2);
        assert_ne!(Backoff::new("a").wait(), Backoff::new("b").wait());
    }
}
