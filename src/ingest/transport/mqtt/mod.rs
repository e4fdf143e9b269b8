//! MQTT: subscribes to a broker, v3.1.1 or v5, plain or TLS.
//!
//! **At least once.** The session is persistent, and a message is acknowledged only when the sink
//! says that it is durable, in the order of arrival. What was not acknowledged, the broker sends
//! again after a reconnect; the log's keys make a second copy a duplicate. Messages published
//! with QoS 0 have no acknowledgement and are lost when the connection is.
//!
//! ```text
//! broker -> poll (one task owns the connection) -> deliveries (bounded) -> sink, pipelined
//!              ^                                                              |
//!              '----- acknowledgements, in order, of this connection only <---'
//! ```
//!
//! Packet ids die with their connection: an acknowledgement that comes too late for its
//! connection is dropped, because on the next one its id may mean another message.
//!
//! **Full.** When [`Settings::in_flight`] messages wait for the sink, nothing more is read. A v5
//! broker knows that limit and keeps messages; a v3.1.1 broker has its own.

mod settings;
mod topic;
mod link;
mod deliver;
mod run;

pub use run::{CONNECTED, Error, MESSAGES, RECONNECTS, run};
pub use settings::{Settings, Tls, Version};
pub use topic::{Template, TemplateError};
