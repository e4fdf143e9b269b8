//! `GET /api/v1/subscribe`: several subscriptions over one WebSocket.

use super::changes::OpenStream;
use super::contents::blocking;
use super::doors::DoorError;
use super::limits::{
    SOCKET_CLOSE_WITHIN, SOCKET_MESSAGE_BYTES, SOCKET_PING_EVERY, SOCKET_SILENCE,
    SOCKET_SUBSCRIPTIONS, SOCKET_WRITE_BYTES,
};
use super::problem::Problem;
use super::server::State;
use super::wire::{Wire, WireFilter, messages};
use crate::views::Envelope;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{self};
use axum::response::Response;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::StreamMap;

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Ask {
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    id: String,
    view: String,
    #[serde(default)]
    filter: WireFilter,
    #[serde(default)]
    envelope: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unsubscribe {
    id: String,
}

/// The longest id of a subscription.
const ID_BYTES: usize = 128;

/// Views and their changes over a WebSocket.
///
/// The client sends `{"subscribe": {"id", "view", "filter": {"asset", "type", "metric"},
/// "envelope"}}` and `{"unsubscribe": {"id"}}`; the server sends `{id, type, epoch, rows}` with the
/// types `snapshot`, `snapshot_complete`, `batch`, `progress`, `closed` and `error`.
#[utoipa::path(
    get,
    path = "/api/v1/subscribe",
    tag = "views",
    responses(
        (status = 101, description = "The connection is a WebSocket now"),
        (status = 400, description = "Not a WebSocket request", body = Problem),
        (status = 429, description = "Too many streams are open", body = Problem),
    )
)]
pub(super) async fn subscribe(
    extract::State(state): extract::State<State>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, DoorError> {
    let open = OpenStream::begin(&state.streams, "websocket")?;
    Ok(upgrade
        .max_message_size(SOCKET_MESSAGE_BYTES)
        .max_frame_size(SOCKET_MESSAGE_BYTES)
        .max_write_buffer_size(SOCKET_WRITE_BYTES)
        .on_upgrade(async move |socket| {
            Connection { state, socket, subscriptions: StreamMap::new() }.run().await;
            drop(open);
        }))
}

struct Connection {
    state: State,
    socket: WebSocket,
    subscriptions: StreamMap<String, BoxStream<'static, Wire>>,
}

/// Why a connection ends.
enum End {
    /// The client went away, or cannot be written to.
    Gone,
    /// The server says so.
    Close(u16, &'static str),
}

impl Connection {
    async fn run(mut self) {
        if let Err(End::Close(code, reason)) = self.serve().await {
            let frame = CloseFrame { code, reason: reason.into() };
            // A client that is gone needs no farewell.
            if self.socket.send(Message::Close(Some(frame))).await.is_err() {
                return;
            }
            // A socket that is dropped with something unread is reset, and the client may never
            // see why: wait for its own close.
            let closed = async { while let Some(Ok(_)) = self.socket.recv().await {} };
            let _ = tokio::time::timeout(SOCKET_CLOSE_WITHIN, closed).await;
        }
    }

    async fn serve(&mut self) -> Result<(), End> {
        let shutdown = self.state.shutdown.clone();
        let mut ping = tokio::time::interval(SOCKET_PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.wait() => {
                    return Err(End::Close(close_code::AWAY, "the server stops"));
                }
                asked = self.socket.recv() => {
                    heard = Instant::now();
                    match asked {
                        Some(Ok(Message::Text(text))) => self.ask(text.as_str()).await?,
                        Some(Ok(Message::Binary(_))) => {
                            return Err(End::Close(close_code::UNSUPPORTED, "send text messages"));
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_))) | None => return Ok(()),
                        Some(Err(_)) => {
                            return Err(End::Close(close_code::SIZE, "unreadable or too large"));
                        }
                    }
                }
                Some((id, message)) = self.subscriptions.next(), if !self.subscriptions.is_empty()
                => {
                    let head = format!(
                        "\"id\":{},\"type\":\"{}\",",
                        serde_json::Value::from(id.as_str()),
                        message.name()
                    );
                    let is_last = matches!(message, Wire::Closed(_));
                    self.send(message.json(&head)).await?;
                    if is_last {
                        self.subscriptions.remove(&id);
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() >= SOCKET_SILENCE {
                        return Err(End::Close(close_code::POLICY, "no sign of life"));
                    }
                    self.write(Message::Ping(bytes::Bytes::new())).await?;
                }
            }
        }
    }

    async fn ask(&mut self, text: &str) -> Result<(), End> {
        match serde_json::from_str::<Ask>(text) {
            Ok(Ask::Subscribe(asked)) => self.begin(asked).await,
            Ok(Ask::Unsubscribe(Unsubscribe { id })) => {
                if self.subscriptions.remove(&id).is_none() {
                    return self.refuse(&id, "no subscription has this id", "").await;
                }
                Ok(())
            }
            Err(error) => {
                let hint = r#"send {"subscribe": {"id": "1", "view": "asset_health"}} or {"unsubscribe": {"id": "1"}}"#;
                self.refuse("", &format!("not understood: {error}"), hint).await
            }
        }
    }

    async fn begin(&mut self, asked: Subscribe) -> Result<(), End> {
        let Subscribe { id, view, filter, envelope } = asked;
        if id.len() > ID_BYTES {
            return self.refuse("", "the id is longer than 128 bytes", "use a shorter id").await;
        }
        if self.subscriptions.contains_key(&id) {
            return self.refuse(&id, "a subscription has this id", "use another id").await;
        }
        if self.subscriptions.len() >= SOCKET_SUBSCRIPTIONS {
            let detail = format!("this connection has {SOCKET_SUBSCRIPTIONS} subscriptions");
            return self.refuse(&id, &detail, "unsubscribe, or open another connection").await;
        }
        let views = self.state.views.clone();
        let subscription = blocking(move || {
            let envelope = Envelope::parse(envelope.as_deref())?;
            Ok(views.subscribe(&view, filter.into(), envelope)?)
        });
        match subscription.await {
            Ok(subscription) => {
                self.subscriptions
                    .insert(id, messages(subscription, self.state.views.clone()).boxed());
                Ok(())
            }
            Err(error) => {
                let hint = error.hint.clone().unwrap_or_default();
                self.refuse(&id, &error.detail, &hint).await
            }
        }
    }

    async fn refuse(&mut self, id: &str, detail: &str, hint: &str) -> Result<(), End> {
        let epoch = self.state.views.epoch().0;
        let message = json!({
            "id": id, "type": "error", "epoch": epoch, "detail": detail, "hint": hint
        });
        self.send(message.to_string()).await
    }

    async fn send(&mut self, text: String) -> Result<(), End> {
        self.write(Message::Text(text.into())).await
    }

    /// Writes, for as long as a client may be silent: one that does not read is let go.
    async fn write(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(SOCKET_SILENCE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}
