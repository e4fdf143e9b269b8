//! Documents that change while the engine runs, and what is said about wrong ones.

use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;

const PUMP: &str = "/api/v1/catalog/asset_types/pump";

fn pump(seconds: i64, metrics: Value) -> Value {
    json!({"deviceId": "PUMP-1", "timestamp": BASE + seconds, "metrics": metrics})
}

async fn put(server: &Server, path: &str, content_type: &str, body: String) -> Answer {
    server.send(Method::PUT, path, &[("content-type", content_type)], body).await
}

/// The pump's document as a version that holds from a second on.
fn since(plant: &Plant, seconds: i64) -> String {
    let from = format!("hot_horizon: PT1H, effective_from: {}", BASE + seconds);
    plant.document("asset_types/pump.yaml").replace("hot_horizon: PT1H", &from)
}

/// The level of the temperature rule of the pump, and how often it changed.
async fn level(server: &Server) -> (String, i64) {
    let rows = server.view("threshold_states?asset=pump-1").await;
    let row = rows.iter().find(|row| row["rule"] == "temperature_high").expect("the rule");
    (
        row["level"].as_str().expect("a level").to_owned(),
        row["transitions"].as_i64().expect("a count"),
    )
}

#[tokio::test]
async fn a_changed_limit_takes_effect_at_once() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(pump(0, json!({"TEMP": 50}))).await;
    assert_eq!(level(&server).await, ("normal".into(), 0));
    assert_eq!(server.get(PUMP).await.good()["version"], 1);

    let lower = plant.document("asset_types/pump.yaml").replace("value: 70", "value: 40");
    let stored = put(&server, PUMP, YAML, lower).await.good();
    assert_eq!((&stored["version"], &stored["key"]), (&json!(2), &json!("pump")));
    assert_eq!(level(&server).await, ("warning".into(), 1));
    server.ingest(pump(10, json!({"TEMP": 51}))).await;
    assert_eq!(level(&server).await, ("warning".into(), 1));

    // The document as it is told can be sent back, as JSON.
    let mut document = server.get(PUMP).await.good()["document"].take();
    document["threshold_rules"][0]["levels"]["warning"]["value"] = json!(60);
    let stored = put(&server, PUMP, JSON, document.to_string()).await.good();
    assert_eq!(stored["version"], 3);
    server.ingest(pump(20, json!({"TEMP": 51}))).await;
    assert_eq!(level(&server).await, ("normal".into(), 2));
    let types = server.view("asset_types").await;
    assert_eq!((&types[0]["key"], &types[0]["version"]), (&json!("pump"), &json!(3)));
    // The same again is no new version.
    assert_eq!(put(&server, PUMP, JSON, document.to_string()).await.good()["version"], 3);

    // The versions are there after a restart, and the folder does not undo them.
    let states = server.all_views().await;
    assert_eq!(server.terminate(), 0);
    let server = plant.serve();
    assert_eq!(server.get(PUMP).await.good()["version"], 3);
    assert_eq!(server.all_views().await, states);
}

#[tokio::test]
async fn silence_is_told_by_the_clock_and_ended_by_a_point() {
    let plant = Plant::new();
    let server = plant.serve();
    let rule = "threshold_rules:\n  - id: silent\n    kind: absence\n    metric: temperature\n    \
                levels: {warning: {on_delay: PT30S}}\n";
    let text = since(&plant, 0).replace("threshold_rules:\n", rule);
    put(&server, PUMP, YAML, text).await.good();
    let silence = async |level: &str| loop {
        let rows = server.view("threshold_states?asset=pump-1").await;
        if rows.iter().any(|row| row["rule"] == "silent" && row["level"] == level) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    // The point is long ago: it is the clock that goes on until there was silence for 30 s.
    server.ingest(pump(0, json!({"TEMP": 50}))).await;
    silence("warning").await;
    server.ingest(pump(50, json!({"TEMP": 50}))).await;
    silence("warning").await;
    let rows = server.view("threshold_occurrences?asset=pump-1").await;
    let stays: Vec<_> = rows.iter().map(|r| (&r["raised"], &r["condition_end"])).collect();
    let (first, second) = ("2023-11-14T22:13:50Z", "2023-11-14T22:14:40Z");
    let end = json!("2023-11-14T22:14:10Z");
    assert_eq!(stays, [(&json!(first), &end), (&json!(second), &Value::Null)], "{rows:?}");
    // What was not silent after all is taken back.
    server.ingest(pump(25, json!({"TEMP": 50}))).await;
    let rows = server.view("threshold_occurrences?asset=pump-1").await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(server.terminate(), 0);
    plant.run(&["verify"]).expect(0);
}

#[tokio::test]
async fn a_new_metric_and_a_new_rule_begin_while_running() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(pump(0, json!({"TEMP": 50, "FLOW": 1000}))).await;
    let text = since(&plant, 5)
        .replace("    spare:\n", "    twice:\n      expr: \"flow * 2\"\n    spare:\n")
        .replace(
            "event_rules:\n",
            "event_rules:\n  - {id: warm, when: \"temperature > 55\", event_type: pump.warm}\n",
        );
    put(&server, PUMP, YAML, text).await.good();
    server.ingest(pump(10, json!({"TEMP": 56, "FLOW": 2000}))).await;
    let rows = server.view("asset_metrics?metric=twice").await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["value"], 240.0);
    let events = server.view("events").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (&events[0]["rule"], &events[0]["event_type"]),
        (&json!("warm"), &json!("pump.warm"))
    );
}

#[tokio::test]
async fn a_version_that_holds_since_a_past_time_looks_at_its_rows_again() {
    let plant = Plant::new();
    let server = plant.serve();
    for seconds in [0, 100, 200] {
        server.ingest(pump(seconds, json!({"TEMP": 50 + seconds / 10, "FLOW": 1000}))).await;
    }
    let before = server.view("rollups_1d?metric=temperature").await;
    // 60 at 100 s is above 55, from then on.
    let lower = since(&plant, 90).replace("value: 70", "value: 55");
    put(&server, PUMP, YAML, lower.replace("flow * 2", "flow * 3")).await.good();
    assert_eq!(level(&server).await, ("warning".into(), 1));
    let states = server.view("threshold_states?asset=pump-1").await;
    let raised = states.iter().find(|row| row["rule"] == "temperature_high").expect("the rule");
    assert_eq!(raised["since"], "2023-11-14T22:15:00Z");
    assert_eq!(server.view("rollups_1d?metric=temperature").await, before);
    // A late point from before is processed by the version of that time.
    server.ingest(pump(50, json!({"TEMP": 69}))).await;
    assert_eq!(level(&server).await, ("warning".into(), 1));
    // The old document again is a rollback: a version of its own.
    let stored = put(&server, PUMP, YAML, since(&plant, 90)).await.good();
    assert_eq!(stored["version"], 3);
    assert_eq!(level(&server).await.0, "normal");
    assert_eq!(server.terminate(), 0);
    plant.run(&["verify"]).expect(0);
}

#[tokio::test]
async fn a_deleted_asset_leaves_every_view() {
    let plant = Plant::new();
    let server = plant.serve();
    for device in ["PUMP-1", "PUMP-2"] {
        let body = json!({"deviceId": device, "timestamp": BASE, "metrics": {"TEMP": 120}});
        server.ingest(body.clone()).await;
        let later = json!({"deviceId": device, "timestamp": BASE + 60, "metrics": {"TEMP": 121}});
        server.ingest(later).await;
    }
    let count = |rows: Vec<Value>| rows.iter().filter(|row| row["asset"] == "pump-1").count();
    let views = ["asset_metrics", "asset_health", "threshold_states", "rollups_1m", "events"];
    for view in views {
        assert!(count(server.view(view).await) > 0, "{view}");
    }
    let link = server.view("links").await.into_iter().find(|link| link["asset"] == "pump-1");
    let link = link.expect("a link")["key"].as_str().expect("a key").to_owned();
    for path in [format!("/api/v1/catalog/links/{link}"), "/api/v1/catalog/assets/pump-1".into()] {
        server.send(Method::DELETE, &path, &[], String::new()).await;
    }
    for view in views.into_iter().chain(["threshold_occurrences", "errors", "rollups_1d"]) {
        assert_eq!(count(server.view(view).await), 0, "{view}");
    }
    let fleet = server.view("fleet_health").await;
    let assets: i64 = fleet.iter().filter_map(|row| row["assets"].as_i64()).sum();
    assert_eq!(assets, 1, "{fleet:?}");
    assert_eq!(server.terminate(), 0);
    plant.run(&["verify"]).expect(0);
}

#[tokio::test]
async fn an_asset_under_the_key_of_a_deleted_one_begins_anew() {
    let plant = Plant::new();
    let server = plant.serve();
    let put_link = async |server: &Server| {
        let asset = "{key: pump-1, asset_type: pump}".to_owned();
        put(server, "/api/v1/catalog/assets/pump-1", YAML, asset).await.good();
        let link = "{device: PUMP-1, asset: pump-1}".to_owned();
        put(server, "/api/v1/catalog/links/PUMP-1->pump-1", YAML, link).await.good();
    };
    for (second, metrics) in [(0, json!({"TEMP": 120, "FLOW": 60})), (60, json!({"TEMP": 121}))] {
        server.ingest(pump(second, metrics)).await;
    }
    for path in ["links/PUMP-1->pump-1", "assets/pump-1"] {
        let path = format!("/api/v1/catalog/{path}");
        server.send(Method::DELETE, &path, &[], String::new()).await;
    }
    // What was before is in the archive's files now, and in a checkpoint.
    assert_eq!(server.terminate(), 0);
    let server = plant.serve();
    put_link(&server).await;
    // One time has a point already, and one has not.
    server.ingest(json!([pump(60, json!({"TEMP": 50})), pump(65, json!({"TEMP": 51}))])).await;
    let check = async |server: &Server| {
        let metrics = server.view("asset_metrics?asset=pump-1").await;
        assert!(metrics.iter().all(|row| row["metric"] != "flow"), "{metrics:?}");
        let hours = server.view("rollups_1h?asset=pump-1&metric=temperature").await;
        assert_eq!((&hours[0]["count"], &hours[0]["max"]), (&json!(2), &json!(51.0)), "{hours:?}");
        // Its history is that of the key: both assets', each time once.
        let sql = "SELECT value FROM telemetry WHERE metric = 'temperature' ORDER BY event_time";
        let values = server.sql(sql).await;
        let values: Vec<_> = values.iter().map(|row| row["value"].as_f64().unwrap()).collect();
        assert_eq!(values, [120.0, 50.0, 51.0]);
    };
    check(&server).await;
    plant.run(&["verify"]).expect(0);
    assert_eq!(server.terminate(), 0);
    let server = plant.serve();
    check(&server).await;
    plant.run(&["verify"]).expect(0);
}

#[tokio::test]
async fn invalid_documents_say_where() {
    let plant = Plant::new();
    let server = plant.serve();
    let good = plant.document("asset_types/pump.yaml");
    // What is replaced, by what, and what is said: path, a part of the message or hint.
    let cases = [
        ("event_rules:", "event_rule:", "event_rule", "did you mean 'event_rules'?"),
        (
            "op: gt, value: 70",
            "op: gt, value: 70, latched: true",
            "threshold_rules[0].levels.warning.latched",
            "not supported yet",
        ),
        (
            "id: is_tripped\n    metric: state",
            "id: is_tripped\n    metric: stat",
            "threshold_rules[1].metric",
            "did you mean 'state'?",
        ),
        (
            "from_unit: L/min",
            "from_unit: Cel",
            "transformation_engine.mappings[1].from_unit",
            "cannot be converted",
        ),
        ("temperature * flow", "load + flow", "transformation_engine.derived.load", "circle"),
        (
            "type: weighted_deductions",
            "type: worst_of",
            "health_algorithm.type",
            "not supported yet",
        ),
        (
            "temperature > 95\"\n    for",
            "temperature >\"\n    for",
            "event_rules[1].when",
            "expression",
        ),
        ("hot_horizon: PT1H", "hot_horizon: soon", "time.hot_horizon", "not a duration"),
        ("apiVersion: assets/v1\n", "", "", "apiVersion"),
        ("{unit: Cel, range", "{unit: Cel, range: [, ", "", ""),
    ];
    for (from, to, path, part) in cases {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let problem = put(&server, PUMP, YAML, text).await.problem(422);
        let problems = problem["problems"].as_array().unwrap();
        let found = problems.iter().any(|one| {
            let said = format!("{} {}", one["message"], one["hint"]);
            let placed = one["line"].as_u64().is_some_and(|line| line > 0)
                && one["column"].as_u64().is_some_and(|column| column > 0);
            placed && one["path"] == path && said.contains(part)
        });
        assert!(found, "{to}: {problem}");
    }
    // Nothing of it took effect.
    assert_eq!(server.get(PUMP).await.good()["version"], 1);
    put(&server, PUMP, "text/html", good.clone()).await.problem(415);
    put(&server, "/api/v1/catalog/asset_types/other", YAML, good).await.problem(409);
    let lost = "{key: lost, asset_type: nowhere}".to_owned();
    let problem = put(&server, "/api/v1/catalog/assets/lost", YAML, lost).await.problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("nowhere"), "{problem}");
    let large = format!("# {}\n", "x".repeat(1 << 20));
    put(&server, PUMP, YAML, large).await.problem(413);
}

#[tokio::test]
async fn what_is_in_use_stays() {
    let plant = Plant::new();
    let server = plant.serve();
    for path in [
        PUMP,
        "/api/v1/catalog/device_types/pump_box",
        "/api/v1/catalog/assets/main-pump",
        "/api/v1/catalog/devices/MAIN",
    ] {
        let problem = server.send(Method::DELETE, path, &[], "").await.problem(409);
        assert!(problem["detail"].as_str().unwrap().contains("still used by"), "{problem}");
        server.get(path).await.good();
    }
    server.ingest(json!({"deviceId": "MAIN", "timestamp": BASE, "metrics": {"TEMP": 75}})).await;
    assert_eq!(server.view("asset_health").await.len(), 1);
    // From the link on, everything can go.
    for path in [
        "/api/v1/catalog/links/MAIN->main-pump",
        "/api/v1/catalog/assets/main-pump",
        "/api/v1/catalog/devices/MAIN",
    ] {
        let answer = server.send(Method::DELETE, path, &[], "").await;
        assert_eq!(answer.status, 204, "{path}: {}", answer.text());
        server.get(path).await.problem(404);
    }
    assert_eq!(server.view("assets").await, Vec::<Value>::new());
    // The device's type takes no such id, so that it is unknown now.
    let message = json!({"deviceId": "MAIN", "timestamp": BASE + 1, "metrics": {"TEMP": 76}});
    assert_eq!(server.ingest(message).await["rejected"][0]["reason"], "UNKNOWN_DEVICE");
}

#[tokio::test]
async fn a_changed_file_takes_effect() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(pump(0, json!({"TEMP": 50}))).await;
    let path = plant.catalog().join("asset_types/pump.yaml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("value: 70", "value: 40")).unwrap();
    let warned = async || (level(&server).await.0 == "warning").then_some(());
    eventually("the warning", warned).await;

    // A broken file changes nothing; a good one beside it counts.
    fs::write(&path, "metadata: {key: pump").unwrap();
    let second = plant.catalog().join("assets/second.yaml");
    fs::write(&second, "{key: second-pump, asset_type: pump}").unwrap();
    let lost = plant.catalog().join("assets/lost.yaml");
    fs::write(&lost, "{key: lost-pump, asset_type: nowhere}").unwrap();
    let there =
        async || server.view("assets").await.into_iter().find(|row| row["key"] == "second-pump");
    eventually("the second pump", there).await;
    assert_eq!(server.get(PUMP).await.good()["version"], 2);

    fs::write(&path, &good).unwrap();
    let back = async || (server.get(PUMP).await.good()["version"] == 3).then_some(());
    eventually("the third version", back).await;
    server.ingest(pump(10, json!({"TEMP": 50}))).await;
    assert_eq!(level(&server).await.0, "normal");

    // A start gets over a document that is wrong, too.
    assert_eq!(server.terminate(), 0);
    let server = plant.serve();
    assert_eq!(server.get(PUMP).await.good()["version"], 3);
    assert!(server.view("assets").await.iter().all(|row| row["key"] != "lost-pump"));
    // What was missing comes, and what depends on it is taken.
    let nowhere = good.replace("key: pump", "key: nowhere");
    fs::write(plant.catalog().join("asset_types/nowhere.yaml"), nowhere).unwrap();
    let found =
        async || server.view("assets").await.into_iter().find(|row| row["key"] == "lost-pump");
    eventually("the lost pump", found).await;
}
