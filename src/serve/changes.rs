//! `GET /api/v1/views/{name}/changes`: a view and its changes as server-sent events.

use super::contents::blocking;
use super::doors::{DoorError, ErrorKind};
use super::limits::STREAMS;
use super::problem::Problem;
use super::series::STREAMS_OPEN;
use super::server::State;
use super::wire::{WireFilter, messages};
use crate::views::{Envelope, Filter};
use axum::extract::{self, Path, Query};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::IntoParams;

/// Which changes are wanted, and in which form.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedChanges {
    /// Rows of the asset with this key.
    asset: Option<String>,
    /// Rows of assets of this type.
    #[serde(rename = "type")]
    asset_type: Option<String>,
    /// Rows of this metric.
    metric: Option<String>,
    /// `diff` (rows with `diff` 1 or -1, the default) or `upsert` (rows with `op` upsert or
    /// delete).
    envelope: Option<String>,
}

/// A view and then its changes, as server-sent events.
///
/// `snapshot` events hold the rows, `snapshot_complete` ends them; then a `batch` holds the changes
/// of one epoch (of several batches of an epoch all but the last say `more`), `progress` says how
/// far the view is, at least every 3 seconds when nothing changes, and `closed` is the last event of a reader that was too
/// slow.
#[utoipa::path(
    get,
    path = "/api/v1/views/{name}/changes",
    tag = "views",
    params(("name" = String, Path, description = "The view's name"), WantedChanges),
    responses(
        (status = 200, description = "The events", content_type = "text/event-stream", body = String),
        (status = 400, description = "A filter or envelope that does not fit", body = Problem),
        (status = 404, description = "No such view", body = Problem),
        (status = 429, description = "Too many streams are open", body = Problem),
    )
)]
pub(super) async fn changes(
    extract::State(state): extract::State<State>,
    Path(name): Path<String>,
    Query(wanted): Query<WantedChanges>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, DoorError> {
    let envelope = Envelope::parse(wanted.envelope.as_deref())?;
    let filter = Filter::from(WireFilter {
        asset: wanted.asset,
        asset_type: wanted.asset_type,
        metric: wanted.metric,
    });
    let open = OpenStream::begin(&state.streams, "sse")?;
    let views = state.views.clone();
    let head = format!("\"view\":{},", serde_json::Value::from(name.as_str()));
    let subscribed = views.clone();
    let subscription = blocking(move || Ok(subscribed.subscribe(&name, filter, envelope)?)).await?;
    let shutdown = state.shutdown.clone();
    let events = messages(subscription, views)
        .map(move |message| {
            // The permit lives as long as the stream.
            let _ = &open;
            Ok(Event::default().event(message.name()).data(message.json(&head)))
        })
        .take_until(async move { shutdown.wait().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// One of [`STREAMS`] streams; dropping it makes room for another.
pub(super) struct OpenStream {
    kind: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl OpenStream {
    pub fn begin(streams: &Arc<Semaphore>, kind: &'static str) -> Result<Self, DoorError> {
        let permit = Arc::clone(streams).try_acquire_owned().map_err(|_| {
            DoorError::new(ErrorKind::TooMany, format!("{STREAMS} streams of changes are open"))
                .hint("use one WebSocket connection for several views, or try again later")
        })?;
        metrics::gauge!(STREAMS_OPEN, "kind" => kind).increment(1.0);
        Ok(Self { kind, _permit: permit })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        metrics::gauge!(STREAMS_OPEN, "kind" => self.kind).decrement(1.0);
    }
}
