//! Ingest: bytes come in through `transport`, `format` decodes them, `route` names and sorts them,
//! `file` reads recordings.
//!
//! Decoding never fails as a whole: good rows and refusals come back side by side, and one bad
//! message never loses its neighbours. What comes out is a [`route::Routed`], which `commit` makes
//! durable. Nothing here knows the dataflow.

pub mod route;
pub mod format;
pub mod file;
pub mod transport;
pub mod commit;
