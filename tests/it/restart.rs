//! What survives: a stop, a kill in the middle of requests, and what a second process is told.

use crate::support::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An hour of three pumps with everything that rules look at: heat, trips, late and wrong points.
fn history() -> Vec<Value> {
    let mut bodies = Vec::new();
    for pump in 1..=3_i64 {
        let message = |seconds: i64, metrics: Value| json!({"deviceId": format!("PUMP-{pump}"), "timestamp": BASE + seconds, "metrics": metrics});
        let steps = (0..120).map(|step| {
            let temperature = 65 + (step * 7 * pump) % 40;
            let state = if step % 40 == 39 { "tripped" } else { "running" };
            message(
                step * 30,
                json!({"TEMP": temperature, "FLOW": step, "STARTS": step / 40, "STATE": state}),
            )
        });
        bodies.push(steps.collect());
        // Late, corrected, refused.
        bodies.push(message(3_005, json!({"TEMP": 99})));
        bodies.push(message(3_030, json!({"TEMP": 98})));
        bodies.push(message(3_035, json!({"TEMP": "hot", "NOISE": 3})));
    }
    bodies.push(json!({"deviceId": "VALVE-1", "metrics": {"TEMP": 1}}));
    bodies
}

#[tokio::test]
async fn a_restart_changes_no_view() {
    let plant = Plant::new();
    let server = plant.serve();
    for body in history() {
        server.ingest(body).await;
    }
    let before = server.all_views().await;
    let telemetry = server.sql("SELECT * FROM telemetry ORDER BY asset, metric, event_time").await;
    for view in ["asset_health", "rollups_1h", "events", "threshold_occurrences", "dead_letters"] {
        let rows = &before.iter().find(|(name, _)| name == view).unwrap().1;
        assert!(!rows.is_empty(), "{view} is empty");
    }
    // With the server, then without it.
    plant.run(&["verify"]).expect(0);
    assert_eq!(server.terminate(), 0);
    plant.run(&["verify"]).expect(0);

    let mut server = plant.serve();
    assert_eq!(server.all_views().await, before, "after a stop");
    let again = server.sql("SELECT * FROM telemetry ORDER BY asset, metric, event_time").await;
    assert_eq!(again, telemetry);
    server.kill();
    let server = plant.serve();
    assert_eq!(server.all_views().await, before, "after a kill");
    let again = server.sql("SELECT * FROM telemetry ORDER BY asset, metric, event_time").await;
    assert_eq!(again, telemetry);
    // Duplicates are known across restarts.
    let answer = server.ingest(history().swap_remove(0)).await;
    assert_eq!(answer["accepted"], 2, "the two corrected values are taken: {answer}");
}

/// Keys of points, and the values that were acknowledged.
type Ledger = Arc<Mutex<BTreeMap<(String, i64), f64>>>;

/// Sends points of one pump until the connection breaks, and writes down what was acknowledged.
async fn client(url: String, pump: usize, start: i64, ledger: Ledger) {
    let client = reqwest::Client::new();
    for request in 0.. {
        let points: Vec<(i64, f64)> =
            (0..5).map(|i| start + request * 5 + i).map(|n| (n, n as f64 / 8.0)).collect();
        let messages: Vec<Value> = points
            .iter()
            .map(|(n, value)| {
                json!({"deviceId": format!("PUMP-{pump}"), "timestamp": BASE + n, "metrics": {"TEMP": value}})
            })
            .collect();
        let sent = client
            .post(format!("{url}{INGEST}"))
            .header("content-type", JSON)
            .body(Value::from(messages).to_string())
            .send();
        let Ok(answer) = sent.await else { return };
        if answer.status() != 200 {
            return;
        }
        let Ok(text) = answer.text().await else { return };
        let answer: Value = serde_json::from_str(&text).expect("an answer");
        assert_eq!(answer["rejected"], json!([]));
        let mut ledger = ledger.lock().expect("a ledger");
        for (n, value) in points {
            ledger.insert((format!("pump-{pump}"), n), value);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill() {
    let plant = Plant::new();
    let ledger = Ledger::default();
    for round in 0..3 {
        let mut server = plant.serve();
        let clients: Vec<_> = (0..4)
            .map(|pump| {
                let start = round * 1_000_000;
                tokio::spawn(client(server.url.clone(), pump, start, Arc::clone(&ledger)))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(600)).await;
        server.kill();
        for client in clients {
            client.await.unwrap();
        }
    }
    let acknowledged = ledger.lock().unwrap().clone();
    assert!(acknowledged.len() > 100, "only {} points", acknowledged.len());
    let server = plant.serve();
    let rows = server
        .sql("SELECT asset, CAST(date_part('epoch', event_time) AS BIGINT) AS at, max(value) AS value, count(*) AS n FROM telemetry GROUP BY 1, 2")
        .await;
    let kept: BTreeMap<(String, i64), (f64, i64)> = rows
        .iter()
        .map(|row| {
            let key =
                (row["asset"].as_str().unwrap().to_owned(), row["at"].as_i64().unwrap() - BASE);
            (key, (row["value"].as_f64().unwrap(), row["n"].as_i64().unwrap()))
        })
        .collect();
    for (key, value) in &acknowledged {
        assert_eq!(kept.get(key), Some(&(*value, 1)), "{key:?} was acknowledged");
    }
    assert!(kept.values().all(|(_, n)| *n == 1));
    assert_eq!(server.terminate(), 0);
    plant.run(&["verify"]).expect(0);
}

#[tokio::test]
async fn a_second_process_and_a_taken_port_are_refused() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(json!({"deviceId": "PUMP-1", "metrics": {"TEMP": 1}})).await;
    let second = plant.run(&["serve", "--listen", "127.0.0.1:0"]).expect(1);
    assert!(second.err.contains("data directory is in use by process"), "{}", second.err);
    assert!(second.err.contains("--data"), "{}", second.err);
    // The first one does not notice.
    let answer = server.ingest(json!({"deviceId": "PUMP-1", "metrics": {"TEMP": 2}})).await;
    assert_eq!(answer["accepted"], 1);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let other = plant.path("other");
    let args = ["serve", "--listen", &address, "--data", other.to_str().unwrap()];
    let refused = run(&args).expect(1);
    assert!(refused.err.contains(&format!("listen on {address}")), "{}", refused.err);
    assert!(refused.err.contains("--listen"), "{}", refused.err);
}
