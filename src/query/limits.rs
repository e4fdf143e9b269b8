//! How much one query, and all of them together, may take.

use std::time::Duration;

/// Limits of queries. What goes beyond is refused before it runs or ended while it does, with
/// [`Error::Limit`](super::Error::Limit).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Length of the text in bytes.
    pub text_bytes: usize,
    /// Operators in the text: a flat chain of them is a deep tree.
    pub operators: usize,
    /// Nesting of parentheses, brackets and `CASE`.
    pub depth: usize,
    /// Tables that are joined.
    pub joins: usize,
    /// Memory of one query's sorts, joins and aggregates; they spill to disk before they fail.
    pub memory_bytes: usize,
    /// Memory of all queries together: that of their sorts, joins and aggregates, and the rows of the
    /// views that they read.
    pub all_memory_bytes: usize,
    /// What all queries may spill to disk.
    pub spill_bytes: u64,
    /// From the question to the last row.
    pub time: Duration,
    /// Rows of one answer.
    pub rows: usize,
    /// Queries at the same time; others wait within their time.
    pub concurrent: usize,
    /// Answers that are read piece by piece at the same time; more are refused.
    pub cursors: usize,
    /// How long such an answer waits until the next piece is asked for.
    pub cursor_idle: Duration,
    /// Threads that plan and run queries.
    pub threads: usize,
}

/// Deep trees are planned and run by recursion: the stack must bear what `operators` and `depth`
/// let through. Only what is touched takes memory.
pub(super) const STACK_BYTES: usize = 64 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes: 64 << 10,
            operators: 500,
            depth: 64,
            joins: 16,
            memory_bytes: 256 << 20,
            all_memory_bytes: 2 << 30,
            spill_bytes: 2 << 30,
            time: Duration::from_secs(30),
            rows: 1_000_000,
            concurrent: 8,
            cursors: 32,
            cursor_idle: Duration::from_secs(300),
            threads: 2,
        }
    }
}
