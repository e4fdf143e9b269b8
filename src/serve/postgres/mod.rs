//! The PostgreSQL door: SQL for clients that speak PostgreSQL's protocol, version 3.
//!
//! Bytes of the protocol are `pgwire`'s business, rows in PostgreSQL's types `arrow-pg`'s. What is
//! here joins them to the one SQL front end: statements come in, answers go out row by row as the
//! client reads them, and every error has an SQLSTATE. Nothing can be written through this door.

mod server;
mod connection;
mod bounded;
mod startup;
mod door;
mod simple;
mod extended;
mod portal;
mod cursor;
mod copy;
mod session;
mod rows;
mod floats;
mod error;

pub use server::serve;
