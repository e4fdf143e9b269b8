//! Health algorithms: pure functions from a row's values to a score of 0 (worst) to 100 (best).
//!
//! This room knows no asset, no time and no history. Whoever calls it brings one number for each
//! part of the algorithm and gets the score and what each part contributed. Adding an algorithm
//! is one variant of [`Algorithm`] and one function.

mod algorithm;
mod score;

pub use algorithm::{
    Algorithm, Band, Combine, Deduction, Deductions, Missing, Part, PartInput, Ramp, RampEnd,
    ScorePart, Scores,
};
pub use score::{band, score};
