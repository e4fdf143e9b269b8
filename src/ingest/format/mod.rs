//! Formats: from bytes to messages and rows.
//!
//! A format never opens a socket or a file. What it cannot read goes to the router as a refusal,
//! with its bytes, and decoding goes on behind it.

pub mod json;
pub mod columns;
pub mod arrow;
