//! `AS OF SYSTEM TIME`: what SQL said of telemetry once, it says again of that time.

use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ALL: &str = "asset, metric, event_time, value, text, quality, device, epoch FROM telemetry";

async fn rows(server: &Server, clause: &str) -> Vec<Value> {
    let order = "ORDER BY asset, metric, event_time";
    server.sql(&format!("SELECT {ALL} {clause} {order}")).await
}

/// Views of which every row is a function of the points that count.
const DERIVED: [&str; 12] = [
    "asset_metrics",
    "asset_health",
    "threshold_states",
    "rollups_1m",
    "rollups_1h",
    "events",
    "threshold_occurrences",
    "errors",
    "fleet_health",
    "fleet_thresholds",
    "assets",
    "asset_types",
];

/// All rows of the views. Whether a window was revised after it had settled is not told again.
async fn derived(server: &Server, clause: &str) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::new();
    for view in DERIVED {
        let rows = server.sql(&format!("SELECT * FROM {view} {clause}")).await;
        all.insert(view, crate::exports::settled(rows.iter().map(Value::to_string)));
    }
    all
}

/// The table of the asset type says the same, a row for each event time of an asset.
async fn wide(server: &Server, clause: &str, narrow: &[Value]) {
    let sql = format!("SELECT * FROM pump {clause} ORDER BY asset, event_time");
    let mut expected: BTreeMap<(String, String), BTreeMap<String, Value>> = BTreeMap::new();
    for row in narrow {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let of_time = expected.entry((text("asset"), text("event_time"))).or_default();
        of_time.insert(text("metric"), row["value"].clone());
    }
    let rows = server.sql(&sql).await;
    assert_eq!(rows.len(), expected.len(), "{sql}");
    for (row, ((asset, time), values)) in rows.iter().zip(&expected) {
        assert_eq!(
            (row["asset"].as_str(), row["event_time"].as_str()),
            (Some(&**asset), Some(&**time))
        );
        for metric in ["temperature", "flow"] {
            assert_eq!(&row[metric], values.get(metric).unwrap_or(&Value::Null), "{row}");
        }
    }
}

/// A late, duplicate, corrected or new point of one of two pumps, or a deletion.
async fn step(server: &Server, random: &mut u64) {
    let mut below = |limit: u64| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*random >> 33) % limit
    };
    let pump = 1 + below(2);
    let second = BASE + 20 * below(30) as i64;
    if below(6) > 0 {
        let metrics = json!({"TEMP": 40 + 20 * below(3), "FLOW": 100 + below(2)});
        let message =
            json!({"deviceId": format!("PUMP-{pump}"), "timestamp": second, "metrics": metrics});
        server.ingest(message).await;
        return;
    }
    let time = |second: i64| jiff::Timestamp::from_second(second).unwrap();
    let (from, to) = (time(second), time(second + 20 * below(8) as i64 + 1));
    let path = format!(
        "/api/v1/telemetry?asset=pump-{pump}&from={from}&to={to}&reason=wrong&metrics=temperature"
    );
    let answer = server.send(Method::DELETE, &path, &[], Vec::new()).await;
    assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
}

#[tokio::test]
async fn what_was_known_then_is_known_for_ever() {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = std::env::var("MILLSTREAM_SEED").map_or(seed, |text| text.parse().unwrap());
    println!("seed {seed}");
    let (plant, mut random) = (Plant::new(), seed);
    let mut server = plant.serve();
    for pump in [1, 2] {
        server.ingest(json!({"deviceId": format!("PUMP-{pump}"), "timestamp": BASE, "metrics": {"TEMP": 1}})).await;
    }
    let mut known: Vec<(u64, Vec<Value>)> = Vec::new();
    for part in 0..3 {
        for _ in 0..25 {
            step(&server, &mut random).await;
            let epoch = server.epoch().await;
            known.push((epoch, rows(&server, "").await));
        }
        // Some of it in memory, then all of it in files.
        for (epoch, then) in &known {
            let clause = format!("AS OF SYSTEM TIME {epoch}");
            assert_eq!(&rows(&server, &clause).await, then, "part {part}, epoch {epoch}");
            if epoch % 5 == 0 {
                wide(&server, &clause, then).await;
            }
        }
        wide(&server, "", &rows(&server, "").await).await;
        assert_eq!(server.terminate(), 0);
        server = plant.serve();
    }
    for (epoch, then) in &known {
        let time = jiff::Timestamp::from_millisecond(*epoch as i64).unwrap();
        let clause = format!("FOR SYSTEM_TIME AS OF '{time}'");
        assert_eq!(&rows(&server, &clause).await, then, "epoch {epoch}");
    }
    let values = |rows: &[Value]| rows.len();
    assert!(known.iter().any(|(_, rows)| values(rows) > 40), "points come");
    let less = known.windows(2).any(|pair| values(&pair[0].1) > values(&pair[1].1));
    assert!(less, "points are deleted");

    let (epoch, then) = &known[30];
    let sql = format!(
        "SELECT sum(value) AS n FROM telemetry AS OF SYSTEM TIME {epoch} WHERE asset = 'pump-1' AND metric = 'temperature'"
    );
    let is_asked = |row: &&Value| row["asset"] == "pump-1" && row["metric"] == "temperature";
    let sum: f64 = then.iter().filter(is_asked).filter_map(|row| row["value"].as_f64()).sum();
    assert_eq!(server.sql(&sql).await[0]["n"].as_f64().unwrap_or(0.0), sum);
    assert!(rows(&server, "AS OF SYSTEM TIME '1970-01-02'").await.is_empty());

    for (sql, status, said) in [
        ("SELECT 1 FROM dead_letters AS OF SYSTEM TIME '-1h'", 400, "only known as it is now"),
        ("SELECT 1 FROM millstream_memory AS OF SYSTEM TIME '-1h'", 400, "only known as it is now"),
        ("SELECT 1 AS OF SYSTEM TIME '-1h'", 400, "name telemetry"),
        ("SELECT 1 FROM telemetry AS OF SYSTEM TIME 'soon'", 400, "RFC 3339"),
        ("SELECT 1 FROM telemetry AS OF SYSTEM TIME", 400, "names no time"),
    ] {
        let problem = server.post("/api/v1/sql", "text/plain", sql).await.problem(status);
        assert!(problem.to_string().contains(said), "{problem}");
    }
}

/// Whatever the views said, they say of that time for ever: from memory, from files, after other
/// versions, after an asset is gone, and after a start without a checkpoint.
#[tokio::test]
async fn what_views_said_is_told_again() {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = std::env::var("MILLSTREAM_SEED").map_or(seed, |text| text.parse().unwrap());
    println!("seed {seed}");
    let (plant, mut random) = (Plant::new(), seed);
    let mut server = plant.serve();
    let mut known: Vec<(u64, BTreeMap<&str, Vec<String>>)> = Vec::new();
    for part in 0..4 {
        for _ in 0..12 {
            step(&server, &mut random).await;
            // The clock of the past is known to within a second.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            let epoch = server.epoch().await;
            let said = derived(&server, "").await;
            if server.epoch().await == epoch {
                known.push((epoch, said));
            }
        }
        match part {
            1 => {
                let lower =
                    plant.document("asset_types/pump.yaml").replace("value: 70", "value: 50");
                let path = "/api/v1/catalog/asset_types/pump";
                let yaml = [("content-type", "application/yaml")];
                server.send(Method::PUT, path, &yaml, lower).await.good();
            }
            2 => {
                for path in ["links/PUMP-2->pump-2", "assets/pump-2"] {
                    let path = format!("/api/v1/catalog/{path}");
                    server.send(Method::DELETE, &path, &[], String::new()).await;
                }
            }
            _ => {}
        }
        for (epoch, then) in known.iter().rev().step_by(5) {
            let told = derived(&server, &format!("AS OF SYSTEM TIME {epoch}")).await;
            for view in DERIVED {
                assert_eq!(told[view], then[view], "{view}, part {part}, epoch {epoch}");
            }
        }
        assert_eq!(server.terminate(), 0);
        if part == 1 {
            std::fs::remove_dir_all(plant.data().join("checkpoints")).unwrap();
        }
        server = plant.serve_from(&[]);
    }
    assert!(known.len() > 10, "{} looks at a moment without a tick", known.len());
    let rows: usize = known.iter().flat_map(|(_, views)| views.values()).map(Vec::len).sum();
    assert!(rows > 1_000, "{rows} rows");

    let (epoch, then) = &known[known.len() / 2];
    let sql = format!("SELECT * FROM rollups_1m AS OF SYSTEM TIME {epoch} WHERE asset = 'pump-1'");
    let told = server.sql(&sql).await;
    let is_asked = |row: &&String| row.contains("\"asset\":\"pump-1\"");
    let expected: Vec<String> = then["rollups_1m"].iter().filter(is_asked).cloned().collect();
    assert_eq!(crate::exports::settled(told.iter().map(Value::to_string)), expected);
}

/// The health that another plant shows, to which the points come in the order of their times.
#[tokio::test]
async fn the_history_of_health_is_what_it_was_after_each_time() {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = std::env::var("MILLSTREAM_SEED").map_or(seed, |text| text.parse().unwrap());
    println!("seed {seed}");
    let (plant, mut random) = (Plant::new(), seed);
    let server = plant.serve();
    for _ in 0..60 {
        step(&server, &mut random).await;
    }
    let shown =
        "SELECT asset, event_time, score, band FROM health_history ORDER BY asset, event_time";
    let told = server.sql(shown).await;
    // Only of this the score is made.
    let points = server
        .sql("SELECT * FROM telemetry WHERE metric = 'temperature' ORDER BY event_time")
        .await;
    let other = Plant::new();
    let in_order = other.serve();
    let mut expected: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for point in points {
        let asset = point["asset"].as_str().unwrap();
        let metrics = json!({"TEMP": point["value"]});
        let time = &point["event_time"];
        let device = asset.to_uppercase();
        in_order.ingest(json!({"deviceId": device, "timestamp": time, "metrics": metrics})).await;
        let sql = format!(
            "SELECT asset, event_time, score, band FROM asset_health WHERE asset = '{asset}'"
        );
        let rows = in_order.sql(&sql).await;
        let of_asset = expected.entry(asset.to_owned()).or_default();
        let is_new = of_asset.last().is_none_or(|last| last["score"] != rows[0]["score"]);
        of_asset.extend(rows.into_iter().filter(|_| is_new));
    }
    let expected: Vec<Value> = expected.into_values().flatten().collect();
    assert!(expected.len() > 4, "{expected:?}");
    assert_eq!(told, expected);

    let time = expected[expected.len() / 2]["event_time"].as_str().unwrap();
    let sql = format!(
        "SELECT asset, event_time, score, band FROM health_history \
         WHERE asset = 'pump-1' AND event_time <= '{time}' ORDER BY event_time"
    );
    let until = |row: &&Value| row["asset"] == "pump-1" && row["event_time"].as_str() <= Some(time);
    let expected: Vec<Value> = expected.iter().filter(until).cloned().collect();
    assert_eq!(server.sql(&sql).await, expected);
}
