//! Names of this room's metrics.

/// Counter: answered requests, by `method`, `route` and `status`.
pub const REQUESTS: &str = "millstream_http_requests_total";
/// Histogram: seconds until an answer began, by `method` and `route`.
pub const REQUEST_SECONDS: &str = "millstream_http_request_seconds";
/// Gauge: open streams of changes, by `kind` (`sse`, `websocket`).
pub const STREAMS_OPEN: &str = "millstream_http_streams";
