//! Messages of the change protocol, which SSE and WebSocket share.

use super::formats::{json_parts, slices};
use super::limits::{PROGRESS_WITHIN, ROWS_PER_PART};
use crate::views::{Closed, Delta, Filter, Message, Subscription, Views};
use futures::{FutureExt, Stream, StreamExt, stream};
use std::sync::Arc;
use tokio::time::timeout;

/// One message to a subscriber. `rows` is JSON text already.
#[derive(Clone, Debug)]
pub(super) enum Wire {
    /// Rows of the view at the epoch of the subscription; several of them make the snapshot.
    Snapshot { epoch: u64, rows: String },
    /// The snapshot is complete: from here on come changes.
    SnapshotComplete { epoch: u64 },
    /// A part of the rows that changed at one epoch.
    Batch { delta: Arc<Delta>, part: usize },
    /// Nothing at or before the epoch will be told any more.
    Progress { epoch: u64 },
    /// The last message.
    Closed(Closed),
}

impl Wire {
    /// The message's type, and on SSE the event's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Snapshot { .. } => "snapshot",
            Self::SnapshotComplete { .. } => "snapshot_complete",
            Self::Batch { .. } => "batch",
            Self::Progress { .. } => "progress",
            Self::Closed(_) => "closed",
        }
    }

    /// The epoch of the message.
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Snapshot { epoch, .. }
            | Self::SnapshotComplete { epoch }
            | Self::Progress { epoch } => *epoch,
            Self::Batch { delta, .. } => delta.epoch.0,
            Self::Closed(closed) => closed.epoch.0,
        }
    }

    /// The message as a JSON object. `head` holds members to begin with, each followed by a comma.
    ///
    /// `more` is there, and true, on all but the last part of an epoch's changes: contents are
    /// consistent after a part without it.
    pub fn json(&self, head: &str) -> String {
        let epoch = self.epoch();
        let tail = match self {
            Self::Snapshot { rows, .. } => format!(",\"rows\":{rows}"),
            Self::SnapshotComplete { .. } | Self::Progress { .. } => String::new(),
            Self::Batch { delta, part } => {
                let parts = delta.texts(json_parts);
                let more = if part + 1 < parts.len() { ",\"more\":true" } else { "" };
                format!("{more},\"rows\":{}", parts.get(*part).map_or("[]", String::as_str))
            }
            Self::Closed(closed) => format!(
                ",\"reason\":{},\"hint\":{}",
                serde_json::Value::from(closed.reason.as_str()),
                serde_json::Value::from(closed.hint.as_str())
            ),
        };
        format!("{{{head}\"epoch\":{epoch}{tail}}}")
    }
}

/// All messages of a subscription to these views in order. Ends after `closed`.
///
/// When nothing is said for [`PROGRESS_WITHIN`], the visible epoch is told, so that a subscriber
/// can tell an engine that has nothing to say from a connection that is dead.
pub(super) fn messages(
    mut subscription: Subscription,
    views: Views,
) -> impl Stream<Item = Wire> + Send {
    let epoch = subscription.epoch.0;
    let snapshot = std::mem::take(&mut subscription.snapshot);
    let begin = stream::iter(snapshot.into_iter().flat_map(|batch| slices(&batch)))
        .flat_map(|rows| stream::iter(json_parts(&rows)))
        .map(move |rows| Wire::Snapshot { epoch, rows })
        .chain(stream::iter([Wire::SnapshotComplete { epoch }]));
    let changes = stream::unfold((subscription, views), |(mut subscription, views)| async {
        let message = match timeout(PROGRESS_WITHIN, subscription.next()).await {
            Ok(message) => message?,
            Err(_) => {
                let visible = views.epoch();
                // What was to be told of an epoch is queued before the epoch is visible.
                let queued = subscription.next().now_or_never();
                queued.unwrap_or(Some(Message::Progress(visible)))?
            }
        };
        Some((parts(message).await, (subscription, views)))
    });
    begin.chain(changes.flat_map(stream::iter))
}

async fn parts(message: Message) -> Vec<Wire> {
    match message {
        Message::Batch(delta) => {
            let count = if delta.rows.num_rows() <= ROWS_PER_PART {
                delta.texts(json_parts).len()
            } else {
                // Many rows take long to write: not on the threads that answer requests.
                let writing = Arc::clone(&delta);
                let count = move || writing.texts(json_parts).len();
                tokio::task::spawn_blocking(count).await.unwrap_or(0)
            };
            (0..count).map(|part| Wire::Batch { delta: Arc::clone(&delta), part }).collect()
        }
        Message::Progress(epoch) => vec![Wire::Progress { epoch: epoch.0 }],
        Message::Closed(closed) => vec![Wire::Closed(closed)],
    }
}

/// A filter as clients write it.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WireFilter {
    /// The asset's key.
    pub asset: Option<String>,
    /// The asset type's key.
    #[serde(rename = "type")]
    pub asset_type: Option<String>,
    /// The metric's name.
    pub metric: Option<String>,
}

impl From<WireFilter> for Filter {
    fn from(filter: WireFilter) -> Self {
        let WireFilter { asset, asset_type, metric } = filter;
        Self { asset, asset_type, metric }
    }
}
