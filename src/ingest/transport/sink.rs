//! Where transports put payloads.

use bytes::Bytes;
use std::future::Future;

/// Takes payloads and makes them durable.
///
/// ```
/// use bytes::Bytes;
/// use millstream::ingest::transport::{Sink, SinkError};
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// /// Counts payloads and forgets them.
/// struct Counter(AtomicUsize);
///
/// impl Sink for Counter {
///     async fn submit(&self, _: Bytes, _: Option<String>) -> Result<(), SinkError> {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         Ok(())
///     }
/// }
/// ```
pub trait Sink: Send + Sync + 'static {
    /// Returns when the payload is durable, as rows or as a dead letter: a payload that cannot be
    /// decoded is no error. `device` is what the transport knows of the sender.
    ///
    /// A transport calls this again before earlier calls have returned, in the order in which
    /// payloads came; it acknowledges them in that order too.
    fn submit(
        &self,
        payload: Bytes,
        device: Option<String>,
    ) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Why a payload is not durable. It is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// There is no room right now: the transport tries again, and slows its senders down.
    #[error("no room for more telemetry right now")]
    Busy,
    /// Nothing will be taken any more: the transport stops.
    #[error("telemetry is not taken any more: {0}")]
    Stopped(String),
}
