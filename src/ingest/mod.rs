//! Ingest: bytes come in through `transport`, `format` decodes them, `route` names and sorts them,
//! `file` reads recordings.
//!
//! Decoding never fails as a whole: good rows and refusals come back side by side, and one bad
//! message never loses its neighbours. Nothing here writes the log or knows the dataflow: what
//! comes out is a [`route::Routed`], which the committer makes durable.

pub mod route;
pub mod format;
pub mod file;
pub mod transport;
