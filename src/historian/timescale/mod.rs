//! The way into TimescaleDB: accepted points, dead letters, events and views, each exactly once.
//!
//! Nothing is queued for the database. It has a *place*, the epoch up to which it has everything;
//! the sink asks the archive for the points behind that place (files, then hot points), reads the
//! dead letters behind it from the log, and commits both together with the new place. So a
//! database that was away for a second or a month is caught up with in the same way, ingest and
//! views never wait, and a crash anywhere repeats nothing. Events are a view of which rows come
//! and go: the sink follows it like any other subscriber, and compares it first, but for rows that
//! it knows to be in files.
//!
//! Views that have a table of their own each have a place of their own: the sink asks what has
//! changed in the view since, and commits rows and place together. What changes more often than it
//! asks is written once.
//!
//! It computes nothing and reads nothing back but its own place. [`Reader`] is another way, the
//! one back: for SQL, which asks whatever is there.

mod run;
mod settings;
mod status;
mod follow;
mod events;
mod session;
mod statements;
mod policies;
mod retain;
mod work;
mod letters;
mod look;
mod changes;
mod tables;
mod rows;
mod copy;
mod identity;
mod reader;
mod error;

pub use error::Error;
pub use follow::{Ask, Changes, Ended, Follow, Gone, Told};
pub use policies::Policies;
pub use reader::Reader;
pub use run::{Sources, Timescale};
pub use settings::Settings;
pub use status::{CIRCUIT_OPEN, EPOCH, FAILURES, LEFT_OUT, NAME, ROWS, Report, State};
