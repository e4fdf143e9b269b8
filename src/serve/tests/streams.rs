//! Changes out: SSE and WebSocket transcripts fold to what a reader sees.

use super::doors::{Server, problem};
use crate::model::{Change, Epoch};
use crate::serve::SOCKET_SUBSCRIPTIONS;
use futures::{SinkExt, Stream, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const WITHIN: Duration = Duration::from_secs(10);

/// What a client knows after the messages that it took.
#[derive(Default)]
struct Fold {
    rows: BTreeMap<String, i64>,
    complete: bool,
    epoch: u64,
}

impl Fold {
    fn take(&mut self, name: &str, data: &Value) {
        assert!(data["epoch"].as_u64().unwrap() >= self.epoch);
        self.epoch = data["epoch"].as_u64().unwrap();
        match name {
            "snapshot_complete" => self.complete = true,
            "snapshot" | "batch" => {
                assert_eq!(self.complete, name == "batch");
                for row in data["rows"].as_array().unwrap() {
                    let mut row = row.as_object().unwrap().clone();
                    let diff = row.remove("diff").map_or(1, |diff| diff.as_i64().unwrap());
                    let count = self.rows.entry(Value::from(row).to_string()).or_default();
                    *count += diff;
                    assert!(*count >= 0);
                }
                self.rows.retain(|_, count| *count > 0);
            }
            "progress" => assert!(self.complete),
            other => panic!("{other}: {data}"),
        }
    }

    async fn check(&self, server: &Server, query: &str) {
        let url = format!("/api/v1/views/asset_metrics{query}");
        let now: Value = server.get(&url, "application/json").await.json().await.unwrap();
        let rows = now["rows"].as_array().unwrap().iter().map(|row| (row.to_string(), 1));
        assert_eq!(self.rows, rows.collect(), "{query}");
        assert_eq!(now["epoch"], self.epoch, "{query}");
    }
}

/// Events of a response, as (name, data).
fn events(response: reqwest::Response) -> Pin<Box<dyn Stream<Item = (String, Value)>>> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let state = (response.bytes_stream().boxed(), String::new());
    Box::pin(futures::stream::unfold(state, |(mut bytes, mut text)| async move {
        loop {
            if let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                };
                let Some(name) = field("event: ") else { continue };
                let data = serde_json::from_str(&field("data: ").unwrap()).unwrap();
                return Some(((name, data), (bytes, text)));
            }
            text.push_str(std::str::from_utf8(&bytes.next().await?.ok()?).unwrap());
        }
    }))
}

#[tokio::test]
async fn a_subscriber_hears_how_far_the_views_are_when_nothing_happens() {
    let server = Server::start().await;
    server.flow(2, 0, 1.0);
    let url = "/api/v1/views/asset_metrics/changes?asset=p-1";
    let mut events = events(server.get(url, "text/event-stream").await);
    let mut next = async || tokio::time::timeout(WITHIN, events.next()).await.unwrap().unwrap();
    while next().await.0 != "snapshot_complete" {}
    // The clock of these views stands still, so they tell no progress themselves any more.
    server.flow(3, 0, 2.0);
    for _ in 0..2 {
        let (name, data) = next().await;
        assert_eq!((name.as_str(), &data["epoch"]), ("progress", &json!(3)), "{data}");
    }
}

#[tokio::test]
async fn server_sent_events_fold_to_the_snapshot() {
    let server = Server::start().await;
    server.flow(2, 0, 1.0);
    for query in ["", "?asset=p-1"] {
        let begin = server.views.epoch().0;
        let url = format!("/api/v1/views/asset_metrics/changes{query}");
        let mut events = events(server.get(&url, "text/event-stream").await);
        let mut fold = Fold::default();
        while !fold.complete {
            let (name, data) = tokio::time::timeout(WITHIN, events.next()).await.unwrap().unwrap();
            assert_eq!(data["view"], "asset_metrics");
            fold.take(&name, &data);
        }
        for epoch in begin + 1..begin + 10 {
            server.flow(epoch, 1, (epoch % 4) as f64);
            while fold.epoch < epoch {
                let event = tokio::time::timeout(WITHIN, events.next()).await.unwrap();
                let (name, data) = event.unwrap();
                fold.take(&name, &data);
            }
            fold.check(&server, query).await;
        }
    }
}

#[tokio::test]
async fn wrong_subscriptions_are_problems() {
    let server = Server::start().await;
    for (path, status) in [
        ("/api/v1/views/nonsense/changes", 404),
        ("/api/v1/views/asset_metrics/changes?envelope=debezium", 400),
        ("/api/v1/views/dead_letters/changes?envelope=upsert", 400),
        ("/api/v1/views/events/changes?metric=a", 400),
        ("/api/v1/subscribe", 400),
    ] {
        problem(server.get(path, "text/event-stream").await, status).await;
    }
}

struct Socket(
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
);

impl Socket {
    async fn open(server: &Server) -> Self {
        let url = format!("ws://{}/api/v1/subscribe", server.address);
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(WITHIN, self.0.next()).await.unwrap();
            if let Message::Text(text) = message.unwrap().unwrap() {
                return serde_json::from_str(text.as_str()).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn several_subscriptions_share_a_socket() {
    let server = Server::start().await;
    server.flow(2, 0, 1.0);
    let mut socket = Socket::open(&server).await;
    socket.say(json!({"subscribe": {"id": "all", "view": "asset_metrics"}})).await;
    let filter = json!({"asset": "p-1", "type": "pump"});
    socket
        .say(json!({"subscribe": {"id": "one", "view": "asset_metrics", "filter": filter}}))
        .await;
    let mut folds: BTreeMap<String, Fold> = BTreeMap::new();
    let take = |folds: &mut BTreeMap<String, Fold>, message: Value| {
        let fold = folds.entry(message["id"].as_str().unwrap().into()).or_default();
        fold.take(message["type"].as_str().unwrap(), &message);
    };
    while folds.len() < 2 || folds.values().any(|fold| !fold.complete) {
        take(&mut folds, socket.hear().await);
    }
    for epoch in 3..20 {
        server.flow(epoch, 1, epoch as f64);
        while folds.values().any(|fold| fold.epoch < epoch) {
            take(&mut folds, socket.hear().await);
        }
        folds["all"].check(&server, "").await;
        folds["one"].check(&server, "?asset=p-1").await;
    }
    socket.say(json!({"unsubscribe": {"id": "all"}})).await;
    socket.say(json!({"unsubscribe": {"id": "all"}})).await;
    assert_eq!(socket.hear().await["type"], "error");
    server.flow(20, 1, 0.0);
    assert_eq!(socket.hear().await["id"], "one");
}

#[tokio::test]
async fn upserts_name_the_operation() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server).await;
    socket
        .say(json!({"subscribe": {"id": "1", "view": "asset_metrics", "envelope": "upsert"}}))
        .await;
    assert_eq!(socket.hear().await["type"], "snapshot_complete");
    server.flow(2, 0, 7.0);
    let row = &socket.hear().await["rows"][0];
    assert_eq!((&row["op"], &row["value"]), (&json!("upsert"), &json!(7.0)));
    let reset = Change::Reset(crate::model::TypeId(0), crate::model::Table::Latest);
    server.views.apply(Epoch(3), vec![reset]);
    assert_eq!(socket.hear().await["rows"][0]["op"], "delete");
}

#[tokio::test]
async fn a_socket_refuses_what_is_wrong_and_goes_on() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server).await;
    for (ask, id) in [
        (json!("hello"), ""),
        (json!({"subscribe": {"id": "1"}}), ""),
        (json!({"subscribe": {"id": "1", "view": "nonsense"}}), "1"),
        (json!({"subscribe": {"id": "2", "view": "events", "filter": {"metric": "a"}}}), "2"),
        (json!({"subscribe": {"id": "3", "view": "events", "envelope": "other"}}), "3"),
    ] {
        socket.say(ask.clone()).await;
        let answer = socket.hear().await;
        assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &json!(id)), "{ask}");
        assert!(!answer["hint"].as_str().unwrap().is_empty(), "{ask}");
    }
    for i in 0..=SOCKET_SUBSCRIPTIONS {
        socket.say(json!({"subscribe": {"id": i.to_string(), "view": "events"}})).await;
        let answer = socket.hear().await;
        let expected = if i < SOCKET_SUBSCRIPTIONS { "snapshot_complete" } else { "error" };
        assert_eq!(answer["type"], expected);
    }
    socket.0.send(Message::text("x".repeat(65 << 10))).await.unwrap();
    let closed = tokio::time::timeout(WITHIN, socket.0.next()).await.unwrap();
    assert!(!matches!(closed, Some(Ok(Message::Text(_)))), "{closed:?}");
}

#[tokio::test]
async fn large_batches_are_sent_in_parts() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server).await;
    socket.say(json!({"subscribe": {"id": "1", "view": "devices"}})).await;
    assert_eq!(socket.hear().await["type"], "snapshot_complete");
    let documents = (0..20_000).map(|id| {
        let document = crate::model::Document {
            kind: crate::model::Kind::Devices,
            key: format!("device-{id}").into(),
            id,
            version: 1,
            effective_from: crate::model::Timestamp::MIN,
            body: Some("{}".into()),
        };
        (document, 1)
    });
    server.views.apply(Epoch(2), vec![Change::Documents(documents.collect())]);
    let mut rows = 0;
    loop {
        let message = socket.hear().await;
        assert_eq!((&message["type"], &message["epoch"]), (&json!("batch"), &json!(2)));
        rows += message["rows"].as_array().unwrap().len();
        if message["more"] != true {
            break;
        }
    }
    assert_eq!(rows, 20_000);
}

#[tokio::test]
async fn a_shutdown_ends_streams() {
    let server = Server::start().await;
    let mut events = events(server.get("/api/v1/views/events/changes", "*/*").await);
    let mut socket = Socket::open(&server).await;
    socket.say(json!({"subscribe": {"id": "1", "view": "events"}})).await;
    socket.hear().await;
    assert_eq!(events.next().await.unwrap().0, "snapshot_complete");
    server.shutdown.trigger();
    assert!(tokio::time::timeout(WITHIN, events.next()).await.unwrap().is_none());
    // A ping may be under way already.
    let mut heard = tokio::time::timeout(WITHIN, socket.0.next()).await.unwrap();
    while matches!(heard, Some(Ok(Message::Ping(_)))) {
        heard = tokio::time::timeout(WITHIN, socket.0.next()).await.unwrap();
    }
    assert!(matches!(heard, Some(Ok(Message::Close(_)))), "{heard:?}");
    tokio::time::timeout(WITHIN, server.task).await.unwrap().unwrap().unwrap();
}
