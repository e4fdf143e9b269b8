//! Several subscriptions over one WebSocket.

use crate::fold::*;
use crate::support::*;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(server: &Server) -> Self {
        let url = format!("{}/api/v1/subscribe", server.url.replace("http://", "ws://"));
        Self(connect_async(url).await.expect("a connection").0)
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.expect("an open connection");
    }

    async fn next(&mut self) -> Value {
        loop {
            let next =
                tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a message in time");
            match next.expect("an open connection").expect("an open connection") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn one_socket_carries_several_views() {
    let plant = Plant::new();
    let server = plant.serve();
    let bodies = traffic();
    for body in &bodies[..5] {
        server.ingest(body.clone()).await;
    }
    let mut socket = Socket::open(&server).await;
    let wanted = [
        ("health", "asset_health", json!({})),
        ("metrics", "asset_metrics", json!({"asset": "pump-2", "metric": "temperature"})),
        ("events", "events", json!({"asset": "pump-1"})),
        ("minutes", "rollups_1m", json!({"type": "pump"})),
    ];
    for (id, view, filter) in &wanted {
        socket.say(json!({"subscribe": {"id": id, "view": view, "filter": filter}})).await;
    }
    for body in &bodies[5..] {
        server.ingest(body.clone()).await;
    }
    let epoch = server.epoch().await;
    let mut folds: BTreeMap<String, Fold> = BTreeMap::new();
    while folds.len() < wanted.len()
        || folds.values().any(|fold| !fold.complete || fold.epoch < epoch)
    {
        let message = socket.next().await;
        let fold = folds.entry(message["id"].as_str().unwrap().to_owned()).or_default();
        fold.take(message["type"].as_str().unwrap(), &message);
    }
    for (id, view, filter) in &wanted {
        let query: Vec<String> = filter
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
            .collect();
        let rows = sorted(&server.view(&format!("{view}?{}", query.join("&"))).await);
        assert_eq!(folds[*id].contents(), rows.iter().collect::<Vec<_>>(), "{view}");
        assert!(!rows.is_empty(), "{view}");
    }
    // After the end of a subscription comes nothing of it; the others go on.
    for id in ["metrics", "events", "minutes"] {
        socket.say(json!({"unsubscribe": {"id": id}})).await;
    }
    socket.say(json!({"subscribe": {"id": "health", "view": "events"}})).await;
    loop {
        let message = socket.next().await;
        if message["type"] == "error" {
            assert_eq!(message["id"], "health", "the id is taken: {message}");
            break;
        }
    }
    server.ingest(pump(1, 400, json!({"TEMP": 20}))).await;
    loop {
        let message = socket.next().await;
        assert_eq!(message["id"], "health", "{message}");
        if message["type"] == "batch" {
            break;
        }
    }
}

#[tokio::test]
async fn a_socket_explains_what_it_does_not_understand() {
    let plant = Plant::new();
    let server = plant.serve();
    let mut socket = Socket::open(&server).await;
    for (said, detail) in [
        (json!({"subscribe": {"id": "1", "view": "nothing"}}), "nothing"),
        (json!({"subscribe": {"id": "1", "view": "events", "filter": {"metric": "x"}}}), "metric"),
        (json!({"subscribe": {"id": "1", "view": "events", "envelope": "brown"}}), "brown"),
        (json!({"unsubscribe": {"id": "1"}}), "no subscription"),
        (json!({"listen": "events"}), "not understood"),
        (json!(7), "not understood"),
    ] {
        socket.say(said.clone()).await;
        let message = socket.next().await;
        assert_eq!(message["type"], "error", "{said}: {message}");
        assert!(message["detail"].as_str().unwrap().contains(detail), "{said}: {message}");
    }
    socket.say(json!({"subscribe": {"id": "1", "view": "events"}})).await;
    assert_eq!(socket.next().await["type"], "snapshot_complete");
}
