//! The Flight SQL door: answers as Arrow batches over gRPC, for clients of Apache Arrow.
//!
//! Messages of the protocol are `arrow-flight`'s business, bytes on the wire `tonic`'s. What is here
//! joins them to the one SQL front end: a statement is described when a client asks about it, and
//! asked when the client fetches; batches go out as the client reads them. The server remembers
//! who has come in and the statements that clients have prepared, and forgets both by age and
//! number. Nothing can be written through this door.

mod server;
mod wire;
mod login;
mod door;
mod calls;
mod statements;
mod ticket;
mod rows;
mod about;
mod info;
mod status;

pub use server::serve;
