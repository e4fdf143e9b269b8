//! Wiring: opens the rooms in order, joins them, and stops them in order.

mod directory;
pub mod examples;
