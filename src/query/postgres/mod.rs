//! Questions in PostgreSQL's words: its dialect, its commands, its catalog, its names of columns.
//!
//! A question goes the same way as any other query: checked before it is parsed, planned in a
//! session of its own at one epoch, with the same limits. What is here besides is what clients of
//! PostgreSQL take for granted: commands of a session, parameters by number, and tables that tell
//! of tables. Bytes on the wire are no business of this room.

mod read;
mod command;
mod copy;
mod users;
mod names;
mod fit;
mod parameters;
mod types;
mod session;
mod catalog;
mod functions;
mod front;

pub use command::Command;
pub use copy::CopyForm;
/// Values for the parameters of a question, in order.
pub use datafusion::common::ParamValues as Values;
pub use front::Question;
pub use read::Statement;

pub(super) use parameters::types_of;

use catalog::Catalog;
use std::sync::{Arc, OnceLock};

/// What all questions share, made when the first one comes.
#[derive(Default)]
pub(super) struct Shared {
    parser: OnceLock<read::Parser>,
    catalog: OnceLock<Arc<Catalog>>,
}
