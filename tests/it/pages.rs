//! Points from long before: the archive is asked for what the views have forgotten, and everything
//! ends as if they had come in time.

use crate::exports;
use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Every 20 s for two days, in which the hot horizon is an hour.
const ROWS: i64 = 2 * 86_400 / 20;

fn message(device: i64, second: i64, temp: f64) -> Value {
    let state = if second % 9_000 < 60 { "tripped" } else { "running" };
    let metrics = json!({"TEMP": temp, "FLOW": 100 + second % 7, "STATE": state});
    json!({"deviceId": format!("PUMP-{device}"), "timestamp": BASE + second, "metrics": metrics})
}

/// All messages in order of time: hot in some hours, and some of the points twice.
fn all() -> Vec<Value> {
    let temp = |i: i64| if i % 700 < 30 { 95.0 } else { 40.0 + (i % 40) as f64 };
    (0..ROWS).flat_map(|i| [1, 2].map(|device| message(device, i * 20, temp(i)))).collect()
}

/// Waits until no asset waits for archived points.
async fn settled(server: &Server) {
    let begun = Instant::now();
    loop {
        let queues = server.sql("SELECT depth FROM millstream_queues WHERE queue = 'late'").await;
        if queues[0]["depth"] == 0 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "late points still wait");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn check(server: &Server) {
    let report = server.post("/api/v1/verify", JSON, "").await.good();
    assert_eq!(report["equal"], true, "{report}");
    let found = server.post("/api/v1/verify/conservation", JSON, "").await.good();
    assert!(found["holds"] == true || found["complete"] == false, "{found}");
}

/// Every view of telemetry but what tells of the order of arrival.
async fn views(server: &Server) -> Vec<(String, Vec<String>)> {
    let told = |(name, rows): (String, Vec<String>)| (name, exports::settled(rows));
    let all = server.all_views().await.into_iter();
    let other = ["corrections", "assets", "devices", "links"];
    all.filter(|(name, _)| !other.contains(&&**name)).map(told).collect()
}

/// Says the first rows that differ.
fn same(one: &[(String, Vec<String>)], two: &[(String, Vec<String>)]) {
    for ((name, one), (_, two)) in one.iter().zip(two) {
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|row| !those.contains(row)).take(3).cloned().collect()
        };
        assert!(one == two, "{name}: {:#?} against {:#?}", only(one, two), only(two, one));
    }
}

#[tokio::test]
async fn points_of_any_age_end_in_every_view_and_survive_kills() {
    let (plant, other) = (Plant::new(), Plant::new());
    let options = ["--checkpoint-every", "1s"];
    let (mut server, twin) = (plant.serve_with(&options), other.serve());
    let all = all();
    // A device that was away, single messages, and what comes again or with another value.
    let (mut in_time, mut late): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for (i, message) in all.iter().enumerate() {
        let was_away = (3_000..5_000).contains(&i) && i % 2 == 0;
        if was_away || i % 97 == 0 { &mut late } else { &mut in_time }.push(message.clone());
    }
    late.extend(in_time.iter().skip(40).step_by(531).cloned());
    let corrected: Vec<Value> = (0..20).map(|i| message(1, i * 8_000, 99.0)).collect();
    late.extend(corrected.iter().cloned());
    for some in in_time.chunks(500) {
        server.ingest(json!(some)).await;
    }
    for (i, some) in late.chunks(60).enumerate() {
        server.ingest(json!(some)).await;
        if i % 4 == 1 {
            settled(&server).await;
        }
        if i % 7 == 2 {
            server.kill();
            server = plant.serve_with(&options);
        }
    }
    for some in all.chunks(2_000) {
        twin.ingest(json!(some)).await;
    }
    twin.ingest(json!(corrected)).await;
    settled(&server).await;
    settled(&twin).await;
    let expected = views(&twin).await;
    same(&views(&server).await, &expected);
    check(&server).await;
    for way in 0..2 {
        match way {
            0 => server.kill(),
            _ => assert_eq!(server.terminate(), 0),
        }
        server = plant.serve_with(&options);
        settled(&server).await;
        same(&views(&server).await, &expected);
    }
    check(&server).await;
}

#[tokio::test]
async fn edits_of_any_age_are_answered_when_everything_has_them() {
    let (plant, other) = (Plant::new(), Plant::new());
    let (server, twin) = (plant.serve(), other.serve());
    let all = all();
    for some in all.chunks(2_000) {
        server.ingest(json!(some)).await;
    }
    let at = |second: i64| jiff::Timestamp::from_second(BASE + second).unwrap().to_string();
    let range = |from: i64, to: i64| format!("from={}&to={}", at(from), at(to));
    let path = |range: String| format!("/api/v1/telemetry?device=PUMP-1&{range}&reason=test");
    let gone = server.send(Method::DELETE, &path(range(7_000, 9_000)), &[], "").await.good();
    assert_eq!(gone["points"], 300);
    let asset = server.sql("SELECT DISTINCT asset FROM telemetry ORDER BY asset").await;
    let asset = asset[0]["asset"].as_str().unwrap().to_owned();
    let point = json!({"metric": "temperature", "time": at(20_000), "value": 99.5});
    let body = json!({"asset": asset, "points": [point], "reason": "typo"});
    let headers = [("content-type", JSON)];
    let path = "/api/v1/telemetry";
    let done = server.send(Method::PATCH, path, &headers, body.to_string()).await.good();
    assert_eq!(done["points"], 1);
    let left = all.iter().filter(|message| {
        let second = message["timestamp"].as_i64().unwrap() - BASE;
        message["deviceId"] != "PUMP-1" || !(7_000..9_000).contains(&second)
    });
    let mut left: Vec<Value> = left.cloned().collect();
    let second = |message: &Value| message["timestamp"].as_i64().unwrap() - BASE;
    for message in &mut left {
        if message["deviceId"] == "PUMP-1" && second(message) == 20_000 {
            message["metrics"]["TEMP"] = json!(99.5);
        }
    }
    for some in left.chunks(2_000) {
        twin.ingest(json!(some)).await;
    }
    same(&views(&server).await, &views(&twin).await);
    check(&server).await;
}

#[tokio::test]
async fn a_settled_window_says_how_often_it_was_revised() {
    let plant = Plant::new();
    let mut server = plant.serve();
    let told = async |server: &Server| {
        let rows = server.view("rollups_1m?asset=pump-1&metric=temperature").await;
        let at = jiff::Timestamp::from_second(BASE - BASE % 60).unwrap().to_string();
        let row = rows.into_iter().find(|row| row["window_start"] == *at).expect("the window");
        (row["status"].as_str().unwrap().to_owned(), row["revision"].as_i64().unwrap())
    };
    let is = |status: &str, revision| (status.to_owned(), revision);
    server.ingest(message(1, 0, 50.0)).await;
    assert_eq!(told(&server).await, is("provisional", 0));
    server.ingest(message(1, 1_000, 50.0)).await;
    assert_eq!(told(&server).await, is("settled", 0));
    for _ in 0..2 {
        // The second time it is a duplicate.
        server.ingest(message(1, 1, 51.0)).await;
        assert_eq!(told(&server).await, is("revised", 1));
    }
    // Two days later its rows are in the archive only.
    for second in (1..=48).map(|hour| hour * 3_600) {
        server.ingest(message(1, second, 50.0)).await;
    }
    for (revision, temp) in [(2, 52.0), (2, 52.0), (3, 53.0)] {
        server.ingest(message(1, 2, temp)).await;
        settled(&server).await;
        assert_eq!(told(&server).await, is("revised", revision));
    }
    server.kill();
    server = plant.serve();
    settled(&server).await;
    assert_eq!(told(&server).await, is("revised", 3));
    check(&server).await;
}
