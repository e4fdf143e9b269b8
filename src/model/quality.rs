//! The quality of a value: OPC UA status codes, of which the top two bits tell the class.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a value can be trusted. The number is the OPC UA status code (OPC 10000-4).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Quality(pub u32);

impl Quality {
    /// To be trusted.
    pub const GOOD: Self = Self(0);
    /// To be used with care, for no reason given.
    pub const UNCERTAIN: Self = Self(0x4000_0000);
    /// The value lies outside the range that the metric's definition gives.
    pub const OUT_OF_RANGE: Self = Self(0x4094_0000);
    /// Made of fewer good values than wanted.
    pub const SUB_NORMAL: Self = Self(0x40A4_0000);
    /// Not to be used, for no reason given.
    pub const BAD: Self = Self(0x8000_0000);
    /// There is no value.
    pub const NO_DATA: Self = Self(0x809B_0000);
    /// There is no value before, or behind, the times that were asked for.
    pub const BOUND_NOT_FOUND: Self = Self(0x80D7_0000);

    /// Whether the value must not enter any computation.
    pub fn is_bad(self) -> bool {
        self.0 >> 30 >= 2
    }

    /// Whether the value is to be trusted.
    pub fn is_good(self) -> bool {
        self.0 >> 30 == 0
    }

    /// The worse of two qualities; the greater code wins inside a class.
    pub fn worst(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    /// Reads `Good`, `Uncertain` or `Bad` in any case, or a status code as a number.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "good" | "" => Some(Self::GOOD),
            "uncertain" => Some(Self::UNCERTAIN),
            "bad" => Some(Self::BAD),
            number => number.parse().ok().map(Self),
        }
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::OUT_OF_RANGE => "UncertainEngineeringUnitsExceeded",
            Self(code) => match code >> 30 {
                0 => "Good",
                1 => "Uncertain",
                _ => "Bad",
            },
        })
    }
}
