//! All integration tests, in one binary: linking DataFusion once is enough.

mod tidy;
mod support;
mod http;
mod restart;
mod live;
mod catalog;
mod cli;
mod random;
mod exports;
