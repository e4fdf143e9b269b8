//! The catalog: versioned documents that say what the plant is.

pub mod asset_type;
mod layout;

pub use layout::{Layout, Slot};
