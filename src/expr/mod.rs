//! Expressions: two surfaces, a JSONata subset and SQL scalar expressions, and one vectorised form.
//!
//! An expression is compiled once, for a scope of named and typed metrics, and then evaluated for
//! whole columns. There is no evaluator here: both surfaces become DataFusion expressions. What is
//! not in the JSONata subset is refused by name; nothing reads a clock, draws a random number or
//! keeps state, so that the same columns always give the same result.

mod compile;
mod known;
mod jsonata;
mod sql;
mod functions;
mod names;
mod error;
#[cfg(test)]
mod tests;

pub use compile::{Compiled, MAX_DEPTH, MAX_LENGTH, MAX_NODES, Scope, Source, Want, compile};
pub use error::Error;
pub use names::nearest;
