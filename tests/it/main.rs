//! All integration tests, in one binary: linking DataFusion once is enough.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod readme;
mod tidy;
mod mqtt;
mod mqtt_street;
mod support;
mod http;
mod restart;
mod live;
mod catalog;
mod cli;
mod random;
mod exports;
