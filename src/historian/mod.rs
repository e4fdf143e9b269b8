//! The telemetry archive: every accepted point exactly once, first hot in memory, then in Parquet.
//!
//! The room takes accepted points epoch by epoch, keeps them readable at once, cuts them into
//! files in the background and tells readers which files and which hot points make up `telemetry`
//! at an epoch. It runs no query, knows no SQL, and never changes a file that a manifest has
//! named. [`timescale`] takes the points on into a database.

mod error;
mod names;
mod chronicle;
mod chunk;
mod schema;
mod points;
mod whole;
mod manifest;
mod replaced;
mod durable;
mod day;
mod writer;
mod runs;
mod telemetry;
mod pins;
mod aside;
mod shared;
mod merge;
mod expire;
mod store;
mod stored;
mod places;
mod remote;
mod standing;
mod pages;
mod versions;
mod history;
mod old_rows;
pub mod timescale;

#[cfg(test)]
mod tests;

pub use crate::model::ArchiveFile;
pub use chronicle::{Chronicle, Entry, News};
pub use error::Error;
pub use expire::Day;
pub use history::Ask;
pub use manifest::Expired;
pub use names::Names;
pub use old_rows::{NewFile, OldRows, written as old_rows_schema};
pub use pins::Pin;
pub use points::Selection;
pub use remote::{StoreSettings, StoreUrl};
pub use schema::schema;
pub use standing::Standing;
pub use store::{Historian, Options};
pub use telemetry::Telemetry;
