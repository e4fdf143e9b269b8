//! Subscriptions as a client holds them, and traffic that changes what was told.

use crate::support::*;
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a message may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Server-sent events as they come.
pub struct Events {
    bytes: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    waiting: Vec<u8>,
}

impl Events {
    pub async fn open(server: &Server, path: &str) -> Self {
        let answer = reqwest::get(format!("{}{path}", server.url)).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { bytes: answer.bytes_stream().boxed(), waiting: Vec::new() }
    }

    /// The next event: its name and its data.
    pub async fn next(&mut self) -> (String, Value) {
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
pub struct Fold {
    pub rows: BTreeMap<String, i64>,
    pub complete: bool,
    pub epoch: u64,
    /// Rows of all batches since the last look, each with its `diff`.
    pub batches: Vec<Value>,
}

impl Fold {
    /// Takes a message. Epochs never go back, and no row is there twice or less than not at all
    /// when an epoch is complete.
    pub fn take(&mut self, name: &str, message: &Value) {
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

    pub fn contents(&self) -> Vec<&String> {
        self.rows.keys().collect()
    }
}

pub fn sorted(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

pub fn pump(number: i64, seconds: i64, metrics: Value) -> Value {
    json!({"deviceId": format!("PUMP-{number}"), "timestamp": BASE + seconds, "metrics": metrics})
}

/// Bodies with points in order, late, corrected, resent and of new assets.
pub fn traffic() -> Vec<Value> {
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
