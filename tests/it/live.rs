//! Subscriptions: a snapshot and its changes, folded, are the view.

use crate::support::*;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const PATIENCE: Duration = Duration::from_secs(20);

/// Server-sent events as they come.
struct Events {
    bytes: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    waiting: Vec<u8>,
}

impl Events {
    async fn open(server: &Server, path: &str) -> Self {
        let answer = reqwest::get(format!("{}{path}", server.url)).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { bytes: answer.bytes_stream().boxed(), waiting: Vec::new() }
    }

    /// The next event: its name and its data.
    async fn next(&mut self) -> (String, Value) {
        loop {
            if let Some(end) = self.waiting.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.waiting.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("text");
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                // Lines without a name keep the connection alive.
                let (Some(name), Some(data)) = (field("event: "), field("data: ")) else {
                    continue;
                };
                return (name.to_owned(), serde_json::from_str(data).expect("JSON"));
            }
            let more = tokio::time::timeout(PATIENCE, self.bytes.next()).await;
            let more = more.expect("an event in time").expect("an open stream");
            self.waiting.extend_from_slice(&more.expect("an open stream"));
        }
    }
}

/// A view as a subscriber holds it: rows as text, and how often each is there.
#[derive(Default)]
struct Fold {
    rows: BTreeMap<String, i64>,
    complete: bool,
    epoch: u64,
    /// Rows of all batches since the last look, each with its `diff`.
    batches: Vec<Value>,
}

impl Fold {
    /// Takes a message. Epochs never go back, and no row is there twice or less than not at all
    /// when an epoch is complete.
    fn take(&mut self, name: &str, message: &Value) {
        let epoch = message["epoch"].as_u64().expect("an epoch");
        assert!(epoch >= self.epoch, "{epoch} comes after {}", self.epoch);
        match name {
            "snapshot" => {
                assert!(!self.complete, "a snapshot comes after its end");
                for row in message["rows"].as_array().expect("rows") {
                    *self.rows.entry(row.to_string()).or_default() += 1;
                }
            }
            "snapshot_complete" => self.complete = true,
            "batch" => {
                assert!(self.complete, "a batch comes before the snapshot is complete");
                for row in message["rows"].as_array().expect("rows") {
                    self.batches.push(row.clone());
                    let mut row = row.clone();
                    let diff = row.as_object_mut().expect("a row").remove("diff");
                    *self.rows.entry(row.to_string()).or_default() +=
                        diff.and_then(|diff| diff.as_i64()).expect("a diff");
                }
                self.rows.retain(|_, count| *count != 0);
            }
            "progress" => assert!(self.complete, "progress comes before the snapshot is complete"),
            other => panic!("'{other}': {message}"),
        }
        // An epoch is complete when nothing more of it can come.
        if message["more"] != true {
            assert!(self.rows.values().all(|count| *count == 1), "{:?}", self.rows);
        }
        if name != "snapshot" && message["more"] != true {
            self.epoch = epoch;
        }
    }

    fn contents(&self) -> Vec<&String> {
        self.rows.keys().collect()
    }
}

fn sorted(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

fn pump(number: i64, seconds: i64, metrics: Value) -> Value {
    json!({"deviceId": format!("PUMP-{number}"), "timestamp": BASE + seconds, "metrics": metrics})
}

/// Bodies with points in order, late, corrected, resent and of new assets.
fn traffic() -> Vec<Value> {
    let mut bodies = Vec::new();
    for step in 0..30_i64 {
        let temperature = 60 + (step * 11) % 45;
        let state = if step % 10 == 7 { "tripped" } else { "running" };
        bodies.push(json!([
            pump(1, step * 10, json!({"TEMP": temperature, "STATE": state})),
            pump(2, step * 10, json!({"TEMP": 100 - temperature, "FLOW": step})),
        ]));
        if step % 3 == 2 {
            // Late by two steps.
            bodies.push(pump(1, step * 10 - 15, json!({"TEMP": 99, "STATE": "tripped"})));
            // A correction of the newest value.
            bodies.push(pump(2, step * 10, json!({"TEMP": 80, "FLOW": step})));
            // Nothing new.
            bodies.push(pump(2, step * 10, json!({"TEMP": 80})));
        }
        if step % 10 == 9 {
            bodies.push(pump(10 + step, step * 10, json!({"TEMP": 97})));
        }
    }
    bodies
}

#[tokio::test]
async fn server_sent_events_fold_to_the_view() {
    let plant = Plant::new();
    let server = plant.serve();
    let bodies = traffic();
    for body in &bodies[..8] {
        server.ingest(body.clone()).await;
    }
    let views = [
        "asset_health",
        "asset_metrics",
        "events",
        "threshold_states",
        "threshold_occurrences",
        "rollups_1m",
        "fleet_health",
        "fleet_thresholds",
        "assets",
        "asset_metrics?asset=pump-1",
        "rollups_5m?metric=temperature&type=pump",
    ];
    let mut open = Vec::new();
    for view in views {
        let (name, query) = view.split_once('?').unwrap_or((view, ""));
        let path = format!("/api/v1/views/{name}/changes?{query}");
        open.push((view, Events::open(&server, &path).await, Fold::default()));
    }
    for body in &bodies[8..] {
        server.ingest(body.clone()).await;
    }
    let epoch = server.epoch().await;
    for (view, events, fold) in &mut open {
        while !fold.complete || fold.epoch < epoch {
            let (name, message) = events.next().await;
            assert_eq!(message["view"], view.split('?').next().unwrap());
            fold.take(&name, &message);
        }
        let rows = server.view(view).await;
        assert_eq!(fold.contents(), sorted(&rows).iter().collect::<Vec<_>>(), "{view}");
        assert!(!fold.batches.is_empty(), "{view} has no changes");
        assert!(!rows.is_empty(), "{view} is empty");
    }
    plant.run(&["verify"]).expect(0);
}

#[tokio::test]
async fn a_late_point_takes_a_row_back_and_gives_another() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(pump(1, 0, json!({"TEMP": 50}))).await;
    server.ingest(pump(1, 50, json!({"TEMP": 60}))).await;
    let path = "/api/v1/views/rollups_1m/changes?metric=temperature";
    let mut events = Events::open(&server, path).await;
    let mut fold = Fold::default();
    while !fold.complete {
        let (name, message) = events.next().await;
        fold.take(&name, &message);
    }
    assert_eq!(fold.rows.len(), 2);
    server.ingest(pump(1, 45, json!({"TEMP": 55}))).await;
    let epoch = server.epoch().await;
    while fold.epoch < epoch {
        let (name, message) = events.next().await;
        fold.take(&name, &message);
    }
    let told: Vec<_> = fold
        .batches
        .iter()
        .map(|row| (&row["diff"], &row["count"], &row["first"], &row["last"]))
        .collect();
    let (minus, plus, one, two) = (json!(-1), json!(1), json!(1), json!(2));
    let (early, late) = (json!(55.0), json!(60.0));
    assert_eq!(told, [(&minus, &one, &late, &late), (&plus, &two, &early, &late)]);
}

#[tokio::test]
async fn a_late_point_takes_an_event_back() {
    let plant = Plant::new();
    let server = plant.serve();
    // Above the limit for 15 s by what is known at first; the late point says that it was not.
    for (seconds, temperature) in [(0, 50), (10, 96), (30, 96)] {
        server.ingest(pump(1, seconds, json!({"TEMP": temperature}))).await;
    }
    let mut events = Events::open(&server, "/api/v1/views/events/changes?asset=pump-1").await;
    let mut fold = Fold::default();
    while !fold.complete {
        let (name, message) = events.next().await;
        fold.take(&name, &message);
    }
    assert_eq!(fold.rows.len(), 1, "{:?}", fold.rows);
    server.ingest(pump(1, 20, json!({"TEMP": 90}))).await;
    let epoch = server.epoch().await;
    while fold.epoch < epoch {
        let (name, message) = events.next().await;
        fold.take(&name, &message);
    }
    let told: Vec<_> = fold.batches.iter().map(|row| (&row["diff"], &row["rule"])).collect();
    assert!(told.contains(&(&json!(-1), &json!("overheated"))), "{told:?}");
    assert!(told.contains(&(&json!(1), &json!("cooled"))), "{told:?}");
    assert_eq!(server.view("events").await.len(), 1);
}

#[tokio::test]
async fn upserts_fold_by_key() {
    let plant = Plant::new();
    let server = plant.serve();
    let bodies = traffic();
    server.ingest(bodies[0].clone()).await;
    for (view, key) in [("asset_metrics", ["asset", "metric"]), ("events", ["rule", "event_time"])]
    {
        let path = format!("/api/v1/views/{view}/changes?envelope=upsert&asset=pump-1");
        let mut events = Events::open(&server, &path).await;
        for body in &bodies {
            server.ingest(body.clone()).await;
        }
        let epoch = server.epoch().await;
        let mut rows: BTreeMap<String, String> = BTreeMap::new();
        let mut reached = 0;
        while reached < epoch {
            let (name, message) = events.next().await;
            for row in message["rows"].as_array().into_iter().flatten() {
                let mut row = row.clone();
                let op = row.as_object_mut().unwrap().remove("op");
                let id = format!("{} {}", row[key[0]], row[key[1]]);
                match op.as_ref().and_then(Value::as_str) {
                    Some("delete") => assert!(rows.remove(&id).is_some(), "{row}"),
                    Some("upsert") => drop(rows.insert(id, row.to_string())),
                    None if name == "snapshot" => drop(rows.insert(id, row.to_string())),
                    other => panic!("{other:?}: {row}"),
                }
            }
            if name != "snapshot" && message["more"] != true {
                reached = message["epoch"].as_u64().unwrap();
            }
        }
        let mut folded: Vec<String> = rows.into_values().collect();
        folded.sort();
        assert_eq!(folded, sorted(&server.view(&format!("{view}?asset=pump-1")).await), "{view}");
    }
}

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
