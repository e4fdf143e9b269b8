//! Named queries: SQL with parameters, one file each, kept beside the catalog.
//!
//! A file begins with comment lines, and then holds one query with `$name` where a value goes:
//!
//! ```sql
//! -- Mean of a metric of an asset
//! --
//! -- The first line is the title, what follows describes the query.
//! --
//! -- param asset string: key of the asset
//! -- param from timestamp = -1h: from this event time on
//! -- param least double = null: leave out values below
//! -- example: asset=pump-7 from=2025-03-01T12:00:00Z
//! select avg(value) as mean
//! from telemetry
//! where asset = $asset and event_time >= $from and ($least is null or value >= $least)
//! ```
//!
//! A parameter without a default must be given. Values are bound to the plan as typed literals;
//! they never become part of the text.

mod parameter;
mod header;
mod library;
mod bind;
mod check;
#[cfg(test)]
mod tests;

pub use check::check;
pub use header::{Fallback, NamedQuery, Parameter, read};
pub use library::{Library, read_folder};
pub use parameter::ParameterType;

pub(super) use bind::{Values, plan};
pub(super) use parameter::time;
