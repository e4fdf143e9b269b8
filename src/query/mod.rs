//! The SQL front end: read-only queries over live views, telemetry and system tables.
//!
//! A query sees one epoch: the views and `telemetry` it names are taken at the same one. The room
//! plans and runs with limits on text, depth, memory, time and rows, on threads of its own, so
//! that no text brings the rest down. It writes nothing, keeps nothing between queries but file
//! footers, and knows no wire format of a server.

mod error;
mod source;
mod limits;
mod guard;
mod statement;
mod telemetry;
mod as_of;
mod database;
mod told;
mod past;
mod wide;
mod labelled;
mod part;
mod old_rows;
mod files;
mod hot;
mod pool;
mod functions;
mod yielding;
mod session;
mod tables;
mod answer;
mod named;
mod retrieval;
mod front;
mod postgres;
mod prepared;
mod cursor;
mod render;
pub mod verify;
mod conservation;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use conservation::{Conservation, Frames, FramesRead};
pub use cursor::{Cursor, Piece};
pub use database::Database;
pub use error::{Error, Kind};
pub use front::{Asking, Prepared, Query};
pub use limits::Limits;
pub use named::{
    Fallback, Library, NamedQuery, Parameter, ParameterType, check as check_named,
    read as read_named, read_folder,
};
pub use postgres::{Command, CopyForm, Question, Statement, Values};
pub use prepared::{Described, Table};
pub use render::{CELLS_MAX, Form, Renderer, SHEET_ROWS, render};
pub use retrieval::{
    Boundary, INTERVALS_MAX, METRICS_MAX, Mode, Range, Retrieval, SERIES_MAX, Source,
};
pub use source::{
    Archived, Contents, NoSystemTables, SystemTables, Telling, ToldAgain, TypeShape, ViewRows,
    ViewSource, Wanted, WideColumn,
};
pub use verify::{Difference, Finding, Report};
