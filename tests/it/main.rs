//! All integration tests, in one binary: linking DataFusion once is enough.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod readme;
mod tidy;
mod support;
mod server;
mod mqtt;
mod mqtt_street;
mod timescale;
mod http;
mod doors;
mod restart;
mod checkpoints;
mod ledger;
mod kills;
mod cluster;
mod disk_full;
mod memory;
mod conservation;
mod edits;
mod pages;
mod fold;
mod live;
mod socket;
mod budget;
mod catalog;
mod check;
mod exports;
mod recordings;
mod replay;
mod cli;
mod queries;
mod schemas;
mod browser;
mod compose;
mod random;
mod oracle;
