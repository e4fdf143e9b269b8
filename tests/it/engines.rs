//! Other engines read the archive: DuckDB and pyarrow find in its files what SQL finds.

use crate::support::*;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const POINTS: &str = "SELECT asset, metric, CAST(extract(epoch FROM event_time) * 1000000 AS BIGINT) AS at, \
                      value, text, quality, device, epoch FROM telemetry ORDER BY asset, metric, at";

#[tokio::test]
async fn duckdb_and_pyarrow_read_the_archive_also_when_its_files_were_merged() {
    let plant = Plant::new();
    let server = plant.serve_with(&["--checkpoint-every", "1s"]);
    // Every checkpoint leaves a file of each of two days, and eight are one.
    let manifest = plant.data().join("archive/manifest.json");
    let merged = || {
        let text = std::fs::read_to_string(&manifest).unwrap();
        let sealed: Value = serde_json::from_str(&text).unwrap();
        sealed["manifest"]["merged"].as_i64().unwrap() >= 2
    };
    let mut round = 0;
    eventually_within(Duration::from_secs(40), "files of both days are merged", async || {
        let messages: Vec<Value> = (0..20)
            .map(|i| {
                let time = BASE + round * 20 + i % 10 + (i / 10) * 86_400;
                let metrics = json!({"TEMP": 40 + i % 3, "FLOW": 0.1 * (round + i) as f64});
                let device = format!("PUMP-{}", 1 + round % 2);
                json!({"deviceId": device, "timestamp": time, "metrics": metrics})
            })
            .collect();
        server.ingest(json!(messages)).await;
        round += 1;
        merged().then_some(())
    })
    .await;
    let expected = server.sql(POINTS).await;
    assert_eq!(server.terminate(), 0);
    check(&[&plant.data().join("archive")], &expected);

    // The same when the files have moved to a store.
    let store = plant.path("store");
    let url = format!("file://{}", text(&store));
    let server = plant.serve_with(&["--archive-store", &url, "--archive-store-after", "0s"]);
    eventually_within(Duration::from_secs(40), "all files have moved", async || {
        let places = server.sql("SELECT place, files FROM millstream_archive ORDER BY place").await;
        (places[0]["files"] == 0 && places[1]["files"] != 0).then_some(())
    })
    .await;
    assert_eq!(server.sql(POINTS).await, expected);
    assert_eq!(server.terminate(), 0);
    check(&[&plant.data().join("archive"), &store], &expected);
}

/// What the engines find in these directories.
fn check(directories: &[&Path], expected: &[Value]) {
    let mut python = Command::new(repository("tests/python"));
    let script = repository("tests/data/clients/readers.py");
    let output = python.arg(script).args(directories).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    for engine in ["duckdb", "pyarrow"] {
        let rows = said[engine].as_array().unwrap();
        assert_eq!(rows.len(), expected.len(), "{engine}");
        for (row, expected) in rows.iter().zip(expected) {
            assert_eq!(row, expected, "{engine}");
        }
    }
    // DuckDB leaves out the days that are not asked for by the names of their folders.
    assert_eq!(said["days"], json!(["2023-11-14", "2023-11-15"]));
}
