//! All integration tests, in one binary: linking DataFusion once is enough.

mod mqtt;
