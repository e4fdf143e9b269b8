//! All integration tests, in one binary: linking DataFusion once is enough.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod readme;
mod tidy;
