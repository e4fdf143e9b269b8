//! Transports: they carry bytes and never look inside.
//!
//! A transport hands each payload to a [`Sink`] and acknowledges it to its sender when the sink
//! says that it is durable. HTTP is no transport of this room: it is a door of `serve`.

mod sink;
pub mod mqtt;

pub use sink::{Sink, SinkError};
