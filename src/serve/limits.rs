//! Limits of the doors, by name. What passes one is refused with a problem that names it.

use std::time::Duration;

/// The largest body of telemetry as it comes, before decompression. Beyond: 413.
pub const BODY_BYTES_ENCODED: usize = 8 << 20;
/// Of a body that is too large, so much more is read and thrown away before the answer: a client
/// that is cut off while it writes does not read why. Beyond: the connection is cut.
pub const BODY_BYTES_DRAINED: usize = 64 << 20;
/// The largest body of telemetry after decompression. Beyond: 413.
pub const BODY_BYTES_DECODED: usize = 64 << 20;
/// The largest catalog document. Beyond: 413.
pub const DOCUMENT_BYTES: usize = 1 << 20;
/// The longest list of corrections. Beyond: 413.
pub const EDIT_BYTES: usize = 64 << 10;
/// The longest SQL text. Beyond: 413.
pub const SQL_BYTES: usize = 64 << 10;
/// Rows of a page of an answer. Beyond: 400.
pub const PAGE_ROWS: usize = 10_000;
/// Answers that are read page by page. Beyond: the one that was not read for the longest time is
/// forgotten.
pub const PAGES: usize = 16;
/// Streams of changes, SSE and WebSocket together. Beyond: 429.
pub const STREAMS: usize = 1000;
/// Subscriptions of one WebSocket connection. Beyond: an error message.
pub const SOCKET_SUBSCRIPTIONS: usize = 50;
/// The largest message from a WebSocket client. Beyond: the connection is closed.
pub const SOCKET_MESSAGE_BYTES: usize = 64 << 10;
/// What may wait in the write buffer of a WebSocket.
pub const SOCKET_WRITE_BYTES: usize = 512 << 10;
/// A subscriber hears something at least this often, if only how far the views are.
pub const PROGRESS_WITHIN: Duration = Duration::from_secs(3);
/// A WebSocket client is pinged this often.
pub const SOCKET_PING_EVERY: Duration = Duration::from_secs(30);
/// A WebSocket client that says nothing for so long, not even a pong, is let go.
pub const SOCKET_SILENCE: Duration = Duration::from_secs(60);
/// An answer must have begun after this time. Beyond: 503.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// A verification must be done after this time. Beyond: 503.
pub const VERIFY_WITHIN: Duration = Duration::from_secs(600);
/// How long a closed socket waits for the client's own close. Beyond, it is dropped.
pub const SOCKET_CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Connections that are still open so long after the shutdown began are cut.
pub const SHUTDOWN_WITHIN: Duration = Duration::from_secs(10);
/// Rows that are encoded in one go.
pub const ROWS_PER_PART: usize = 512;
/// Rows of one message are split into several beyond this size.
pub const PART_BYTES: usize = 192 << 10;
/// Bytes of a Parquet file, a workbook or lines of JSON that are sent in one go.
pub const WRITE_BYTES: usize = 64 << 10;
/// So many of those may wait for a slow reader. Beyond, the writing waits.
pub const PARTS_WAITING: usize = 4;
/// A client that reads none of those for so long is cut off.
pub const READ_WITHIN: Duration = Duration::from_secs(30);
/// Connections of PostgreSQL clients. Beyond: SQLSTATE 53300.
pub const POSTGRES_CONNECTIONS: usize = 100;
/// Connections beyond them that are told so at the same time. Beyond: closed without a word.
pub const POSTGRES_REFUSED: usize = 16;
/// A PostgreSQL client must be in after this time. Beyond: closed.
pub const POSTGRES_STARTUP_WITHIN: Duration = Duration::from_secs(10);
/// The largest message of a PostgreSQL client. Beyond: the connection is closed.
pub const POSTGRES_MESSAGE_BYTES: usize = 1 << 20;
/// Prepared statements and portals that a PostgreSQL connection keeps. Beyond: SQLSTATE 53400.
pub const POSTGRES_HELD: usize = 256;
/// Texts and values of them together. Beyond: SQLSTATE 53400.
pub const POSTGRES_HELD_BYTES: usize = 4 << 20;
/// A PostgreSQL client that is silent for so long is asked whether it is there.
pub const POSTGRES_KEEPALIVE: Duration = Duration::from_secs(30);
/// Connections of Flight clients. Beyond: closed.
pub const FLIGHT_CONNECTIONS: usize = 100;
/// Calls of one Flight connection at the same time. Beyond: they wait.
pub const FLIGHT_CALLS: u32 = 64;
/// The largest message of a Flight client. Beyond: OUT_OF_RANGE.
pub const FLIGHT_MESSAGE_BYTES: usize = 1 << 20;
/// Tokens of those who have come in. Beyond: the one that was not used for the longest time ends.
pub const FLIGHT_SESSIONS: usize = 1_000;
/// A token that was not used for so long ends.
pub const FLIGHT_SESSION_IDLE: Duration = Duration::from_secs(3_600);
/// Passwords that are checked at the same time. Beyond: they wait.
pub const FLIGHT_LOGINS: usize = 2;
/// Prepared statements of all Flight clients. Beyond: the one that was not used for the longest time
/// is forgotten.
pub const FLIGHT_HELD: usize = 1_000;
/// Texts and values of them together. Beyond: the same.
pub const FLIGHT_HELD_BYTES: usize = 16 << 20;
/// A prepared statement that was not used for so long is forgotten.
pub const FLIGHT_HELD_IDLE: Duration = Duration::from_secs(3_600);
/// A Flight client is asked this often whether it is there.
pub const FLIGHT_PING_EVERY: Duration = Duration::from_secs(20);
/// A Flight client from which nothing came for so long is let go.
pub const FLIGHT_SILENCE: Duration = Duration::from_secs(60);
