//! The HTTP doors, and those of PostgreSQL and Flight SQL: routes, wire forms and their limits, and nothing else.
//!
//! What a request means is decided elsewhere: telemetry, SQL and documents go through [`Doors`],
//! contents and changes come from the views. This room turns bytes into calls and answers into
//! bytes, and every error into a problem document (RFC 9457) that says what to do.

mod server;
mod waiting;
mod doors;
mod problem;
mod limits;
mod series;
mod formats;
mod encoder;
mod rendered;
mod middleware;
mod body;
mod telemetry;
mod edits;
mod contents;
mod changes;
mod socket;
mod wire;
mod sql;
mod queries;
mod retrieval;
mod exports;
mod hosts;
mod catalog;
mod system;
mod running;
mod held;
mod pages;
pub mod access;
pub mod postgres;
pub mod flight;
#[cfg(test)]
mod tests;

pub use doors::{
    BodyRoom, Conservation, DocumentForm, DocumentProblem, DoorError, Doors, ErrorKind, Export,
    ExportFile, Health, HealthStatus, History, IngestAnswer, JsonForm, ListedParameter,
    ListedQuery, NewExport, Owner, Rejected, Report, Retention, RetentionSum, Rows, StoredDocument,
    ViewReport,
};
pub use edits::{CorrectedPoint, Correction, Deletion, EditAnswer};
pub use hosts::Hosts;
pub use limits::{
    BODY_BYTES_DECODED, BODY_BYTES_ENCODED, DOCUMENT_BYTES, EDIT_BYTES, FLIGHT_CONNECTIONS,
    FLIGHT_HELD, FLIGHT_HELD_BYTES, FLIGHT_HELD_IDLE, FLIGHT_MESSAGE_BYTES, FLIGHT_SESSION_IDLE,
    FLIGHT_SESSIONS, PAGE_ROWS, PAGES, POSTGRES_CONNECTIONS, POSTGRES_HELD, POSTGRES_HELD_BYTES,
    POSTGRES_MESSAGE_BYTES, SOCKET_MESSAGE_BYTES, SOCKET_PING_EVERY, SOCKET_SILENCE,
    SOCKET_SUBSCRIPTIONS, SOCKET_WRITE_BYTES, SQL_BYTES, STREAMS,
};
pub use problem::Problem;
pub use series::{REQUEST_SECONDS, REQUESTS, STREAMS_OPEN};
pub use server::{openapi, serve};
pub use waiting::{Reason, refuse};
