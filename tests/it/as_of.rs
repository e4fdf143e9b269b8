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
        let metrics = json!({"TEMP": 40 + below(3), "FLOW": 100 + below(2)});
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
        ("SELECT 1 FROM asset_health AS OF SYSTEM TIME '-1h'", 400, "only telemetry"),
        ("SELECT 1 FROM telemetry AS OF SYSTEM TIME 'soon'", 400, "RFC 3339"),
        ("SELECT 1 FROM telemetry AS OF SYSTEM TIME", 400, "names no time"),
    ] {
        let problem = server.post("/api/v1/sql", "text/plain", sql).await.problem(status);
        assert!(problem.to_string().contains(said), "{problem}");
    }
}
