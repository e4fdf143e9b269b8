//! Wiring: opens the rooms in order, joins them, and stops them in order.

mod runtime;
mod hub;
mod directory;
mod sources;
mod intake;
mod doors;
mod feed;
mod folder;
pub mod examples;

pub use doors::{RuntimeDoors, wire};
pub use feed::{Fed, Feed};
pub use folder::{publish as publish_folder, publish_built_in, watch as watch_folder};
pub use intake::Intake;
pub use runtime::{Runtime, Settings};
