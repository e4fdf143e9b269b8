//! The ingest room.

pub mod commit;
