//! The command line: queries in all forms, exit codes, help.

use crate::exports;
use crate::support::*;
use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use serde_json::json;
use std::fs;
use std::process::Stdio;

#[tokio::test]
async fn queries_come_in_every_form_with_and_without_a_server() {
    let plant = Plant::new();
    let server = plant.serve();
    let message = |pump: i64| json!({"deviceId": format!("PUMP-{pump}"), "timestamp": BASE + pump, "metrics": {"TEMP": 20 + pump, "STATE": "running"}});
    server.ingest((1..=3).map(message).collect()).await;
    let query =
        "SELECT asset, metric, value, text, event_time FROM telemetry ORDER BY asset, metric";
    let formats = ["table", "json", "csv", "arrow", "parquet"];
    let ask = |format: &str| plant.run(&["sql", query, "--format", format]).expect(0).bytes;
    let online: Vec<Vec<u8>> = formats.iter().map(|format| ask(format)).collect();
    assert_eq!(server.terminate(), 0);
    let offline: Vec<Vec<u8>> = formats.iter().map(|format| ask(format)).collect();

    for (where_from, answers) in [("online", &online), ("offline", &offline)] {
        let [table, json_text, csv, arrow, parquet] = answers.as_slice() else { panic!() };
        let table = String::from_utf8_lossy(table);
        for part in ["asset", "pump-1", "temperature", "23.0", "2023-11-14T22:13:21Z"] {
            assert!(table.contains(part), "{where_from}: no {part} in\n{table}");
        }
        let csv = String::from_utf8_lossy(csv);
        assert_eq!(csv.lines().next(), Some("asset,metric,value,text,event_time"), "{where_from}");
        assert_eq!(csv.lines().count(), 7, "{where_from}: {csv}");
        let batches: Vec<RecordBatch> = StreamReader::try_new(arrow.as_slice(), None)
            .unwrap()
            .map(|batch| batch.unwrap())
            .collect();
        let rows = exports::rows(&batches);
        assert_eq!(rows.len(), 6, "{where_from}");
        assert_eq!(rows[1]["value"], 21.0, "{where_from}");
        let path = plant.path("answer.parquet");
        fs::write(&path, parquet).unwrap();
        assert_eq!(exports::parquet(&path), rows, "{where_from}");
        let told: serde_json::Value = serde_json::from_slice(json_text).unwrap();
        let told = told.get("rows").unwrap_or(&told);
        assert_eq!(told, &json!(rows), "{where_from}");
    }
    assert_eq!(online[0], offline[0], "tables");
    assert_eq!(online[1], offline[1], "JSON");
    assert_eq!(online[2], offline[2], "CSV");

    let path = plant.path("written.csv");
    let silent = plant.run(&["sql", query, "-f", "csv", "-o", text(&path)]).expect(0);
    assert!(silent.bytes.is_empty());
    assert_eq!(fs::read(path).unwrap(), offline[2]);
}

#[tokio::test]
async fn refused_queries_are_errors_with_and_without_a_server() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(json!({"deviceId": "PUMP-1", "timestamp": BASE, "metrics": {"TEMP": 1}})).await;
    let mut server = Some(server);
    for place in ["online", "offline"] {
        for (query, part) in [
            ("DROP TABLE telemetry", "DROP TABLE"),
            ("INSERT INTO telemetry VALUES (1)", "only SELECT"),
            ("SELEKT 1", "SELEKT"),
            ("SELECT * FROM nothing", "nothing"),
            ("SELECT nothing FROM telemetry", "nothing"),
        ] {
            let said = plant.run(&["sql", query]).expect(1);
            let error =
                said.err.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
            assert!(error.contains(part), "{place} {query}: {}", said.err);
            assert!(!said.err.contains("ERROR"), "{place} {query}: {}", said.err);
            assert!(said.out.is_empty(), "{place} {query}: {}", said.out);
        }
        drop(server.take());
    }
    let empty = plant.path("empty");
    let said = run(&["sql", "SELECT 1", "--data", text(&empty)]).expect(1);
    assert!(said.err.contains("holds no data"), "{}", said.err);
}

#[test]
fn the_help_names_every_command_and_wrong_usage_is_told() {
    let help = run(&["--help"]).expect(0).out;
    for command in ["serve", "demo", "replay", "sql", "query", "verify", "check", "schemas"] {
        assert!(help.contains(&format!("\n  {command} ")), "no {command} in\n{help}");
        let own = run(&[command, "--help"]).expect(0).out;
        for option in ["--data", "--catalog", "--listen"] {
            assert!(own.contains(option), "{command} has no {option}");
        }
    }
    for part in ["Exit codes:", "--data", "--catalog", "--listen", "--speed", "--once"] {
        assert!(help.contains(part), "no {part} in\n{help}");
    }
    assert!(run(&["--version"]).expect(0).out.starts_with("millstream "));
    run(&["fly"]).expect(2);
    run(&["replay"]).expect(2);
    run(&["replay", "x.csv", "--speed", "fast"]).expect(2);
    run(&["serve", "--listen", "nowhere"]).expect(2);
    let plant = Plant::new();
    let said = plant.run(&["serve", "--listen", "127.0.0.1:0", "--catalog", "/nowhere"]).expect(1);
    assert!(said.err.contains("--catalog"), "{}", said.err);
}

#[tokio::test]
async fn output_that_nobody_reads_ends_nothing() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(json!({"deviceId": "PUMP-1", "timestamp": BASE, "metrics": {"TEMP": 1}})).await;
    drop(server);
    let (data, catalog) = (plant.data(), plant.catalog());
    let recording = repository("recordings/3w/3w_class6_quick_restriction_in_pck.parquet");
    let dataflows = repository("dataflows");
    for (args, code) in [
        (vec!["sql", "select * from telemetry", "--data", text(&data)], 0),
        (vec!["sql", "select nothing", "--data", text(&data)], 1),
        (vec!["verify", "--data", text(&data)], 0),
        (vec!["check", text(&catalog)], 0),
        (vec!["query"], 0),
        (vec!["schemas", "assets"], 0),
        (vec!["replay", text(&recording), "--catalog", text(&dataflows), "--verify"], 0),
    ] {
        let mut command = program();
        command.args(&args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.env("RUST_LOG", "debug").spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(code), "{args:?}");
    }
    let mut command = program();
    command.args(["serve", "--data", text(&data), "--catalog", text(&catalog)]);
    command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.env("RUST_LOG", "debug").spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let health = eventually("its door", async || {
        let address = fs::read_to_string(data.join("address")).ok()?;
        let answer = reqwest::get(format!("http://{address}/health")).await.ok()?;
        Some(answer.status().as_u16())
    });
    assert_eq!(health.await, 200);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn other_names_of_the_server_are_allowed_by_an_option() {
    let plant = Plant::new();
    let server = plant.serve_with(&["--allowed-host", "plant.example"]);
    let ask = async |host: &str| {
        server.send(reqwest::Method::GET, "/health", &[("host", host)], "").await.status
    };
    assert_eq!(ask("plant.example:7878").await, 200);
    assert_eq!(ask("localhost").await, 200);
    assert_eq!(ask("evil.example").await, 403);
}
