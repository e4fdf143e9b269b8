//! The way into TimescaleDB: accepted points, dead letters and events, each exactly once.
//!
//! Nothing is queued for the database. It has a *place*, the epoch up to which it has everything;
//! the sink asks the archive for the points behind that place (files, then hot points), reads the
//! dead letters behind it from the log, and commits both together with the new place. So a
//! database that was away for a second or a month is caught up with in the same way, ingest and
//! views never wait, and a crash anywhere repeats nothing. Events are a view of which rows come
//! and go: the sink follows it like any other subscriber, and compares the whole of it first.
//!
//! It computes nothing and reads nothing back but its own place.

mod run;
mod settings;
mod status;
mod follow;
mod session;
mod work;
mod letters;
mod rows;
mod identity;
mod error;

pub use error::Error;
pub use follow::{Follow, Told};
pub use run::{Sources, Timescale};
pub use settings::Settings;
pub use status::{CIRCUIT_OPEN, EPOCH, FAILURES, LEFT_OUT, NAME, ROWS, Report, State};
