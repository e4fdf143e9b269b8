//! Deletions and corrections over HTTP: exact in every view, audited, and still there after a kill.

use crate::exports::settled;
use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/telemetry";

fn at(second: i64) -> String {
    let time = jiff::Timestamp::from_second(BASE + second).unwrap();
    time.to_string()
}

async fn delete(server: &Server, query: &str) -> Answer {
    server.send(Method::DELETE, &format!("{PATH}?{query}"), &[], "").await
}

async fn correct(server: &Server, body: &Value) -> Answer {
    server.send(Method::PATCH, PATH, &[("content-type", JSON)], body.to_string()).await
}

fn message(second: i64, temp: f64, state: &str) -> Value {
    let metrics = json!({"TEMP": temp, "FLOW": 100 + second % 7, "STATE": state});
    json!({"deviceId": "PUMP-1", "timestamp": BASE + second, "metrics": metrics})
}

async fn check(server: &Server) {
    let report = server.post("/api/v1/verify", JSON, "").await.good();
    assert_eq!(report["equal"], true, "{report}");
    let found = server.post("/api/v1/verify/conservation", JSON, "").await.good();
    assert_eq!(found["holds"], true, "{found}");
}

async fn count(server: &Server, condition: &str) -> i64 {
    let rows = server.sql(&format!("SELECT count(*) AS n FROM telemetry WHERE {condition}")).await;
    rows[0]["n"].as_i64().unwrap()
}

#[tokio::test]
async fn deletions_and_corrections_survive_a_kill() {
    let plant = Plant::new();
    let mut server = plant.serve_with(&["--checkpoint-every", "off"]);
    // What it is to be like at the end: a plant that has only ever been sent what is left.
    let (other, mut left) = (Plant::new(), Vec::new());
    let twin = other.serve_with(&["--checkpoint-every", "off"]);
    let mut all = Vec::new();
    for second in 0..300 {
        let hot = if (100..160).contains(&second) { 95.0 } else { 50.0 };
        let state = if second == 200 { "tripped" } else { "running" };
        all.push(message(second, hot, state));
        if !(100..160).contains(&second) && second < 290 {
            let state = if second == 200 { "running" } else { state };
            left.push(message(second, 50.0, state));
        }
    }
    server.ingest(json!(all)).await;
    assert!(!server.view("events").await.is_empty());
    let asset = server.sql("SELECT DISTINCT asset FROM telemetry").await[0]["asset"].clone();
    let asset = asset.as_str().unwrap();

    let range = |from: i64, to: i64| format!("from={}&to={}", at(from), at(to));
    let gone = delete(&server, &format!("asset={asset}&{}&reason=test", range(100, 160))).await;
    assert_eq!(gone.good()["points"], 180);
    let gone = delete(&server, &format!("device=PUMP-1&{}&reason=test", range(290, 900))).await;
    assert_eq!(gone.good()["points"], 30);
    let point = json!({"metric": "state", "time": at(200), "value": "running"});
    let body = json!({"asset": asset, "points": [point], "reason": "typo", "user": "ada"});
    assert_eq!(correct(&server, &body).await.good()["points"], 1);
    // Again, and nothing.
    let gone = delete(&server, &format!("asset={asset}&at={}&reason=test", at(295))).await;
    assert_eq!(gone.good()["points"], 0);

    twin.ingest(json!(left)).await;
    for round in 0..3 {
        check(&server).await;
        assert_eq!(count(&server, "true").await, 230 * 3, "round {round}");
        assert_eq!(count(&server, "value > 90 AND metric = 'temperature'").await, 0);
        let shown = |views: Vec<(String, Vec<String>)>| -> Vec<(String, Vec<String>)> {
            let told = |(name, rows): (String, Vec<String>)| (name, settled(rows));
            views.into_iter().filter(|(name, _)| name != "corrections").map(told).collect()
        };
        assert_eq!(shown(server.all_views().await), shown(twin.all_views().await));
        let audit = server
            .sql("SELECT kind, metric, points, refused, reason, requested_by FROM corrections ORDER BY received_at, metric")
            .await;
        assert_eq!(audit.len(), 4 + 4 + 1 + 4, "{audit:?}");
        let corrected = json!({"kind": "correction", "metric": "state", "points": 1,
            "refused": null, "reason": "typo", "requested_by": "ada"});
        assert!(audit.contains(&corrected), "{audit:?}");
        server.kill();
        server = match round {
            0 => plant.serve_with(&["--checkpoint-every", "off"]),
            _ => plant.serve(),
        };
    }
    // What was deleted may come again.
    server.ingest(json!([message(120, 60.0, "running")])).await;
    assert_eq!(count(&server, "true").await, 231 * 3);
    check(&server).await;
    assert_eq!(server.terminate(), 0);
    let server = plant.serve();
    assert_eq!(count(&server, "true").await, 231 * 3);
    assert_eq!(server.view("corrections").await.len(), 13);
}

#[tokio::test]
async fn an_asset_of_which_all_is_deleted_leaves_the_views_and_subscribers_hear_of_it() {
    let plant = Plant::new();
    let server = plant.serve();
    let before = server.all_views().await;
    server.ingest(json!([message(0, 95.0, "tripped"), message(60, 95.0, "tripped")])).await;
    let url = format!("{}/api/v1/views/asset_health/changes", server.url);
    let mut heard = server.client.get(url).send().await.unwrap();
    let all = format!("device=PUMP-1&from={}&to={}&reason=x", at(0), at(61));
    assert_eq!(delete(&server, &all).await.good()["points"], 6);
    let mut text = String::new();
    while !text.contains("\"diff\":-1") {
        text += &String::from_utf8_lossy(&heard.chunk().await.unwrap().expect("more"));
    }
    let of_telemetry = |views: Vec<(String, Vec<String>)>| -> Vec<(String, Vec<String>)> {
        let other = ["corrections", "assets", "devices", "links"];
        views.into_iter().filter(|(name, _)| !other.contains(&&**name)).collect()
    };
    assert_eq!(of_telemetry(server.all_views().await), of_telemetry(before));
    check(&server).await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_wholly_and_said() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(json!([message(0, 50.0, "a"), message(7_200, 50.0, "b")])).await;
    server.ingest(json!([message(7_300, 51.0, "b")])).await;
    let before = server.all_views().await;
    let problem = async |query: String, status: u16, hint: &str| {
        let told = delete(&server, &query).await.problem(status);
        assert!(told.to_string().contains(hint), "{told}");
    };
    let range = format!("from={}&to={}", at(0), at(9_000));
    problem(format!("asset=nobody&{range}&reason=x"), 404, "assets").await;
    problem(format!("device=nobody&{range}&reason=x"), 404, "devices").await;
    problem(format!("device=PUMP-1&metrics=noise&{range}&reason=x"), 422, "temperature").await;
    problem(format!("device=PUMP-1&metrics=spare&{range}&reason=x"), 422, "computed").await;
    problem(format!("device=PUMP-1&{range}&reason=%20"), 422, "why").await;
    problem(format!("device=PUMP-1&{range}"), 400, "reason").await;
    problem("device=PUMP-1&reason=x".into(), 400, "from").await;
    problem("device=PUMP-1&at=noon&reason=x".into(), 400, "noon").await;
    let edit = async |metric: &str, second: i64, value: Value, status: u16, hint: &str| {
        let good = json!({"metric": "temperature", "time": at(7_300), "value": 1});
        let point = json!({"metric": metric, "time": at(second), "value": value});
        let body = json!({"device": "PUMP-1", "points": [good, point], "reason": "x"});
        let told = correct(&server, &body).await.problem(status);
        assert!(told.to_string().contains(hint), "{told}");
    };
    edit("temperature", 7_301, json!(1), 404, "ingest").await;
    edit("temperature", 7_200, json!("hot"), 422, "double").await;
    edit("noise", 7_200, json!(1), 422, "temperature").await;
    let body = json!({"device": "PUMP-1", "points": [], "reason": "x"});
    correct(&server, &body).await.problem(422);
    let after = server.all_views().await;
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        assert!(name == "corrections" || before == after, "{name}");
    }
    check(&server).await;
}
