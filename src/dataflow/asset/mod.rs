//! The asset graph's core: everything that is known of the assets of one type, kept exact.
//!
//! Pure state machines: no timely, no clock, no I/O. [`TypeState::apply`] takes the rows of one
//! epoch and says what changed. All that it holds is a function of each asset's series (its
//! points in event-time order) and of the type's document, so the order of arrival cannot matter:
//! a late row restarts the machines at its event time and they run until the recomputed state
//! meets the stored one. Rows behind the hot horizon are not kept; a point that belongs there waits
//! until they are brought back.
//!
//! One room owns the series, because every stage reads it; the stages are its files, in the order
//! in which a row passes them.

mod plan;
mod row;
mod series;
mod era;
mod columns;
mod evaluate;
mod level;
mod event;
mod state;
mod state_log;
mod rollup;
mod score;
mod single;
mod telling;
mod assess;
mod tables;
mod rebuild;
mod edit;
mod parked;
mod anchor;
mod expiry;
mod page;
mod version;
mod changes;
mod message;
mod checkpoint;
mod held;

#[cfg(test)]
mod tests;

pub use assess::TypeState;
pub use changes::{Changes, Names};
pub use checkpoint::Eras;
pub use era::Era;
pub use held::Held;
pub(super) use page::word;
pub use plan::{Plan, PlanError};
