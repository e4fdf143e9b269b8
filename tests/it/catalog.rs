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
async fn a_new_metric_and_a_new_rule_begin_while_running() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(pump(0, json!({"TEMP": 50, "FLOW": 1000}))).await;
    let text = plant
        .document("asset_types/pump.yaml")
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

#[test]
fn check_finds_every_kind_of_mistake() {
    let plant = Plant::new();
    let good = run(&["check", plant.catalog().to_str().unwrap()]).expect(0);
    assert!(good.out.contains("5 documents, 0 problems, 2 tests, 0 failed"), "{}", good.out);

    let head = |key: &str| {
        format!(
            "apiVersion: assets/v1\nkind: AssetTypeProfile\nmetadata: {{key: {key}}}\n\
             metric_definitions:\n  temperature: {{unit: Cel}}\n  pressure: {{unit: bar}}\n"
        )
    };
    // Folder and name, what stands behind the head in line 7, and what is said after the name.
    let types = [
        (
            "a",
            "threshold_rule: []",
            ":7:1: threshold_rule: unknown key 'threshold_rule' in an asset type; did you mean 'threshold_rules'?",
        ),
        (
            "b",
            "threshold_rules: [{id: hot, metric: temperature, levels: {warning: {op: gt, value: 1, latched: true}}}]",
            ":7:87: threshold_rules[0].levels.warning.latched: not supported yet: latched",
        ),
        (
            "c",
            "transformation_engine: {derived: {a: {expr: \"b + 1\"}, b: {expr: \"a + 1\"}}}",
            ":7:35: transformation_engine.derived.a: derived metrics go round in a circle: a -> b -> a",
        ),
        (
            "d",
            "threshold_rules: [{id: hot, metric: temprature, levels: {warning: {op: gt, value: 1}}}]",
            ":7:29: threshold_rules[0].metric: unknown metric 'temprature'; did you mean 'temperature'?",
        ),
        (
            "e",
            "transformation_engine: {mappings: [{target: temperature, source: T, from_unit: bar}]}",
            ":7:69: transformation_engine.mappings[0].from_unit: 'bar' cannot be converted to 'Cel'",
        ),
        (
            "f",
            "health_algorithm: {type: worst_of}",
            ":7:20: health_algorithm.type: not supported yet: worst_of",
        ),
        (
            "g",
            "event_rules: [{id: e, when: \"temperature > \", event_type: x}]",
            ":7:23: event_rules[0].when: expression 'temperature > '",
        ),
        ("h", "time: {hot_horizon: soon}", ":7:8: time.hot_horizon: 'soon' is not a duration"),
        (
            "i",
            "tests: [{name: t, given: {temperature: 1}, expect: {temprature: 1}}]",
            ":7:53: tests[0].expect.temprature: unknown metric 'temprature'",
        ),
    ];
    let folder = plant.path("wrong");
    for kind in ["asset_types", "device_types", "assets", "devices", "links"] {
        fs::create_dir_all(folder.join(kind)).unwrap();
    }
    let mut expected = Vec::new();
    let mut write = |name: &str, text: String, said: &str| {
        fs::write(folder.join(name), text).unwrap();
        expected.push(format!("{}{said}", folder.join(name).display()));
    };
    for (key, line, said) in types {
        write(&format!("asset_types/{key}.yaml"), format!("{}{line}\n", head(key)), said);
    }
    write("asset_types/j.yaml", "apiVersion: [assets/v1\n".into(), ":1:13: unclosed bracket");
    write("asset_types/k.yaml", head("k"), "");
    write("asset_types/l.yaml", head("k"), ":1:1: the key 'k' is in ");
    let box_type = "apiVersion: devices/v1\nkind: DeviceTypeProfile\nmetadata: {key: box}\nidentity: {id_pattern: '(['}\n";
    write(
        "device_types/m.yaml",
        box_type.into(),
        ":4:12: identity.id_pattern: '([' is no regular expression",
    );
    let gateway = "apiVersion: devices/v1\nkind: DeviceTypeProfile\nmetadata: {key: gate}\nprocessing_mode: gateway\n";
    write(
        "device_types/n.yaml",
        gateway.into(),
        ":4:1: processing_mode: not supported yet: gateway",
    );
    write(
        "assets/o.yaml",
        "{key: lost, asset_type: nowhere}\n".into(),
        ":1:1: asset_type: there is no asset type 'nowhere'",
    );
    write("links/p.yaml", "{device: none, asset: lost}\n".into(), ":1:1: ");
    expected.retain(|line| !line.ends_with("k.yaml"));

    let checked = run(&["check", folder.to_str().unwrap()]).expect(4);
    for line in &expected {
        assert!(
            checked.out.lines().any(|said| said.starts_with(line)),
            "no line '{line}' in\n{}",
            checked.out
        );
    }
    let count = format!("{} problems", expected.len());
    assert!(checked.out.contains(&count), "{count}:\n{}", checked.out);
}

#[test]
fn check_runs_the_tests_of_documents() {
    let plant = Plant::new();
    let path = plant.catalog().join("asset_types/pump.yaml");
    let text =
        plant.document("asset_types/pump.yaml").replace("expect_health: 30", "expect_health: 31");
    fs::write(path, text).unwrap();
    let checked = run(&["check", plant.catalog().to_str().unwrap()]).expect(4);
    assert!(
        checked.out.contains("test 'a hot pump that tripped is critical' fails"),
        "{}",
        checked.out
    );
    assert!(checked.out.contains("0 problems, 2 tests, 1 failed"), "{}", checked.out);
    let nowhere = plant.path("nowhere");
    let missing = run(&["check", nowhere.to_str().unwrap()]).expect(1);
    assert!(missing.err.contains("is no folder"), "{}", missing.err);
}
