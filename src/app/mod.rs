//! Wiring: opens the rooms in order, joins them, and stops them in order.

mod runtime;
mod hub;
mod accord;
mod checkpoint;
mod restore;
mod recover;
mod cluster;
mod submit;
mod directory;
mod limits;
mod memory;
mod sources;
mod sink;
mod intake;
mod gather;
mod doors;
mod edits;
mod pager;
mod feed;
mod watch;
mod windows;
mod folder;
mod queries;
mod retrieval;
pub mod examples;

pub use checkpoint::Hold;
pub use cluster::{Cluster, Hosts, Stopped, is_lost_peer};
pub use doors::{RuntimeDoors, list_queries, wire};
pub use feed::{Fed, Feed};
pub use folder::{publish as publish_folder, publish_built_in, watch as watch_folder};
pub use intake::Intake;
pub use queries::{load_queries, open_queries};
pub use recover::Recovered;
pub use runtime::{Runtime, Settings};
