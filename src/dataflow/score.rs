//! Health scores that can be ordered, hashed and exchanged.

use serde::{Deserialize, Serialize};

/// A score whose order is that of its number: the bits of an `f64`, moved so that they compare as
/// whole numbers do.
///
/// NaN stands for "unknown" and is greater than every number, so that the least of several scores
/// is a number while there is one. All NaNs are one value, and so are both zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderedScore(u64);

const SIGN: u64 = 1 << 63;

impl OrderedScore {
    /// The score of a number.
    pub fn new(score: f64) -> Self {
        let canonical = match score {
            _ if score.is_nan() => f64::NAN.abs(),
            0.0 => 0.0,
            _ => score,
        };
        let bits = canonical.to_bits();
        Self(if bits & SIGN == 0 { bits | SIGN } else { !bits })
    }

    /// One of so many groups, which have about as many different scores each.
    pub fn group(self, groups: u64) -> u64 {
        // The golden ratio: scores that lie close to each other end up far apart.
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % groups
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(if self.0 & SIGN == 0 { !self.0 } else { self.0 & !SIGN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_ordered_as_numbers_and_unknown_is_last() {
        let ascending = [f64::NEG_INFINITY, -1e9, -0.5, 0.0, 1e-300, 12.5, 100.0, f64::INFINITY];
        for pair in ascending.windows(2) {
            assert!(OrderedScore::new(pair[0]) < OrderedScore::new(pair[1]), "{pair:?}");
        }
        for number in ascending {
            assert_eq!(OrderedScore::new(number).get(), number);
        }
        assert!(OrderedScore::new(f64::INFINITY) < OrderedScore::new(f64::NAN));
        assert_eq!(OrderedScore::new(f64::NAN), OrderedScore::new(-f64::NAN));
        assert_eq!(OrderedScore::new(-0.0), OrderedScore::new(0.0));
        assert!(OrderedScore::new(f64::NAN).get().is_nan());
    }
}
