//! Several processes, one graph: who they are, how they find each other, and how those that do not
//! keep the catalog have documents published.
//!
//! Every process listens at its own address of the hosts file, and connects to those before it. A
//! connection says first who comes and what for: a link for the dataflow, documents for process 0, or
//! a look into the log.
//! Nobody is authenticated: whoever reaches these addresses belongs to the cluster.

mod hosts;
mod wire;
mod peer;
mod door;
mod meet;
mod keeper;
mod frames;
mod marker;
mod heard;
#[cfg(test)]
mod tests;

pub use frames::OwnLog;
pub use heard::Heard;
pub use hosts::Hosts;
pub use marker::{Member, check_alone};
pub use meet::{Cluster, Met, Stopped, is_lost_peer};
