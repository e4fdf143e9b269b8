//! Telemetry through the HTTP door: every form of a body, every kind of fault, and what is there
//! right after the answer.

use crate::support::*;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::ipc::writer::StreamWriter;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;

fn message(device: &str, seconds: i64, temperature: f64) -> Value {
    json!({"deviceId": device, "metrics": {"TEMP": temperature}, "timestamp": BASE + seconds})
}

fn arrow_body() -> Vec<u8> {
    let times = TimestampMillisecondArray::from(vec![BASE * 1_000, BASE * 1_000 + 500]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("time", Arc::new(times)),
        ("device", Arc::new(StringArray::from(vec!["PUMP-4", "PUMP-4"]))),
        ("TEMP", Arc::new(Float64Array::from(vec![Some(41.0), None]))),
        ("STATE", Arc::new(StringArray::from(vec![None, Some("running")]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .expect("a batch");
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a stream");
    writer.write(&batch).expect("a batch");
    writer.into_inner().expect("a body")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

#[tokio::test]
async fn every_form_of_a_body_is_taken() {
    let plant = Plant::new();
    let server = plant.serve();
    let lines = format!("{}\n\n{}\n", message("PUMP-3", 0, 31.0), message("PUMP-3", 1, 32.0));
    let gzipped = gzip(message("PUMP-5", 0, 51.0).to_string().as_bytes());
    let zstd_lines = zstd::encode_all(lines.replace("PUMP-3", "PUMP-6").as_bytes(), 3).unwrap();
    let zstd_arrow = zstd::encode_all(arrow_body().as_slice(), 3).unwrap();
    let one = message("PUMP-1", 0, 11.0).to_string().into_bytes();
    let array = json!([message("PUMP-2", 0, 21.0), message("PUMP-2", 1, 22.0)]);
    let bodies: [(&str, &str, Vec<u8>, u64, u64); 8] = [
        (JSON, "", one.clone(), 1, 0),
        ("application/json; charset=utf-8", "", one, 0, 1),
        (JSON, "", array.to_string().into_bytes(), 2, 0),
        (LINES, "", lines.into_bytes(), 2, 0),
        (ARROW, "", arrow_body(), 2, 0),
        (JSON, "gzip", gzipped, 1, 0),
        (LINES, "zstd", zstd_lines, 2, 0),
        (ARROW, "zstd", zstd_arrow, 0, 2),
    ];
    for (content_type, encoding, body, accepted, duplicates) in bodies {
        let mut headers = vec![("content-type", content_type)];
        if !encoding.is_empty() {
            headers.push(("content-encoding", encoding));
        }
        let answer = server.send(Method::POST, INGEST, &headers, body).await.good();
        let counts = (&answer["accepted"], &answer["duplicates"], &answer["rejected"]);
        let expected = (&json!(accepted), &json!(duplicates), &json!([]));
        assert_eq!(counts, expected, "{content_type} {encoding}");
        assert!(answer["messageId"].as_str().is_some_and(|id| id.len() == 36), "{answer}");
    }
    let counts = server
        .sql("SELECT asset, count(*) AS points, max(value) AS value FROM telemetry GROUP BY asset ORDER BY asset")
        .await;
    let row = |asset: &str, points: u64, value: f64| json!({"asset": asset, "points": points, "value": value});
    let expected = [
        row("pump-1", 1, 11.0),
        row("pump-2", 2, 22.0),
        row("pump-3", 2, 32.0),
        row("pump-4", 2, 41.0),
        row("pump-5", 1, 51.0),
        row("pump-6", 2, 32.0),
    ];
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn a_bad_element_keeps_its_neighbours_and_is_kept_itself() {
    let plant = Plant::new();
    let server = plant.serve();
    let deep = format!(
        "{{\"deviceId\":\"PUMP-1\",\"metrics\":{}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    // Text of the element, the metric that is told, the reason.
    let bad: [(&str, Option<&str>, &str); 14] = [
        ("5", None, "SCHEMA"),
        ("\"text\"", None, "SCHEMA"),
        (r#"{"metrics":{"TEMP":1}}"#, None, "SCHEMA"),
        (r#"{"deviceId":"PUMP-1"}"#, None, "SCHEMA"),
        (r#"{"deviceId":"PUMP-1","metrics":[1]}"#, None, "SCHEMA"),
        (r#"{"deviceId":"PUMP-1","metrics":{"TEMP":NaN}}"#, None, "SYNTAX"),
        (r#"{"deviceId":"PUMP-1","metrics":{"TEMP":1}"#, None, "SYNTAX"),
        (r#"{"deviceId":"PUMP-1","metrics":{"TEMP":1},"timestamp":"noon"}"#, None, "TS"),
        (r#"{"deviceId":"VALVE-1","metrics":{"TEMP":1}}"#, None, "UNKNOWN_DEVICE"),
        (r#"{"deviceId":"PUMP-1","metrics":{"NOISE":1}}"#, Some("NOISE"), "UNKNOWN_METRIC"),
        (r#"{"deviceId":"PUMP-1","metrics":{"TEMP":"hot"}}"#, Some("TEMP"), "VALUE"),
        (r#"{"deviceId":"PUMP-1","metrics":{"TEMP":1e999}}"#, Some("TEMP"), "VALUE"),
        (r#"{"deviceId":"PUMP-1","metrics":{"STARTS":1.5}}"#, Some("STARTS"), "VALUE"),
        (&deep, None, "LIMIT"),
    ];
    let mut letters = 0;
    for (at, (text, metric, reason)) in bad.into_iter().enumerate() {
        let shown = &text[..text.len().min(80)];
        let (before, after) =
            (message("PUMP-1", 2 * at as i64, 1.0), message("PUMP-1", 2 * at as i64 + 1, 2.0));
        // A line end ends every element; in an array broken syntax takes the rest with it.
        let body = format!("{before}\n{text}\n{after}");
        let answer = server.post(INGEST, LINES, body).await.good();
        assert_eq!(answer["accepted"], 2, "{shown}: {answer}");
        let rejected = answer["rejected"].as_array().unwrap();
        assert_eq!(rejected.len(), 1, "{shown}: {answer}");
        assert_eq!(rejected[0]["index"], 1, "{shown}: {answer}");
        assert_eq!(rejected[0]["reason"], reason, "{shown}: {answer}");
        assert_eq!(rejected[0]["metric"].as_str(), metric, "{shown}: {answer}");
        assert!(!rejected[0]["detail"].as_str().unwrap().is_empty(), "{shown}");
        letters += 1;
        let dead = server.view("dead_letters").await;
        assert_eq!(dead.len(), letters, "{shown}");
        let letter = &dead[letters - 1];
        assert_eq!((&letter["reason"], &letter["source"]), (&json!(reason), &json!("http")));
        let raw = letter["raw"].as_str().unwrap();
        assert!(text.starts_with(raw) && (raw == text || raw.len() == 64 * 1024), "{shown}: {raw}");
    }
    let points = server.sql("SELECT count(*) AS n FROM telemetry").await;
    assert_eq!(points, [json!({"n": 28})]);
}

#[tokio::test]
async fn a_part_of_a_message_can_be_refused() {
    let plant = Plant::new();
    let server = plant.serve();
    let body = json!([
        message("PUMP-1", 0, 1.0),
        {"deviceId": "PUMP-1", "timestamp": BASE + 1,
         "metrics": {"TEMP": 2, "STARTS": "three", "NOISE": 4, "STATE": "running", "FLOW": null}},
        7,
        message("PUMP-1", 2, 3.0),
    ]);
    let answer = server.ingest(body).await;
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(4), &json!(0)), "{answer}");
    let rejected = answer["rejected"].as_array().unwrap().iter();
    let told: Vec<_> =
        rejected.map(|one| (&one["index"], &one["metric"], &one["reason"])).collect();
    let (one, two, null) = (json!(1), json!(2), Value::Null);
    let expected = [
        (&one, &json!("STARTS"), &json!("VALUE")),
        (&one, &json!("NOISE"), &json!("UNKNOWN_METRIC")),
        (&two, &null, &json!("SCHEMA")),
    ];
    assert_eq!(told, expected);
    let dead = server.view("dead_letters").await;
    assert_eq!(dead.len(), 3);
    assert!(dead.iter().any(|letter| letter["raw"] == "7"), "{dead:?}");
}

#[tokio::test]
async fn resent_points_are_duplicates_and_corrected_ones_replace() {
    let plant = Plant::new();
    let server = plant.serve();
    let body = json!([message("PUMP-1", 0, 20.0), message("PUMP-1", 1, 21.0)]);
    assert_eq!(server.ingest(body.clone()).await["accepted"], 2);
    let again = server.ingest(body).await;
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(2)), "{again}");
    let mixed = json!([message("PUMP-1", 1, 21.0), message("PUMP-1", 2, 22.0)]);
    let mixed = server.ingest(mixed).await;
    assert_eq!((&mixed["accepted"], &mixed["duplicates"]), (&json!(1), &json!(1)), "{mixed}");
    let corrected = server.ingest(message("PUMP-1", 1, 50.0)).await;
    assert_eq!((&corrected["accepted"], &corrected["duplicates"]), (&json!(1), &json!(0)));
    let rows = server.sql("SELECT value FROM telemetry ORDER BY event_time").await;
    assert_eq!(rows, [json!({"value": 20.0}), json!({"value": 50.0}), json!({"value": 22.0})]);
    let minutes = server.view("rollups_1d?metric=temperature").await;
    assert_eq!((&minutes[0]["count"], &minutes[0]["sum"]), (&json!(3), &json!(92.0)));
}

#[tokio::test]
async fn timestamps_come_in_many_forms() {
    let plant = Plant::new();
    let server = plant.serve();
    let forms = [
        (json!(1_700_000_000), "2023-11-14T22:13:20Z"),
        (json!(1_700_000_000.25), "2023-11-14T22:13:20.250Z"),
        (json!(1_700_000_001_500_i64), "2023-11-14T22:13:21.500Z"),
        (json!(1_700_000_002_000_001_i64), "2023-11-14T22:13:22.000001Z"),
        (json!(1_700_000_003_000_002_000_i64), "2023-11-14T22:13:23.000002Z"),
        (json!("1700000004"), "2023-11-14T22:13:24Z"),
        (json!("2023-11-14T22:13:25Z"), "2023-11-14T22:13:25Z"),
        (json!("2023-11-15T00:13:26.5+02:00"), "2023-11-14T22:13:26.500Z"),
    ];
    for (number, (form, expected)) in forms.into_iter().enumerate() {
        let device = format!("PUMP-{number}");
        let body = json!({"deviceId": device, "metrics": {"TEMP": 1}, "timestamp": form});
        assert_eq!(server.ingest(body).await["accepted"], 1, "{form}");
        let rows =
            server.view(&format!("asset_metrics?asset=pump-{number}&metric=temperature")).await;
        let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        assert_eq!(time(rows[0]["event_time"].as_str().unwrap()), time(expected), "{form}");
    }
    let before = jiff::Timestamp::now();
    server.ingest(json!({"deviceId": "PUMP-100", "metrics": {"TEMP": 1}})).await;
    let row = &server.view("asset_metrics?asset=pump-100").await[0];
    let told: jiff::Timestamp = row["event_time"].as_str().unwrap().parse().unwrap();
    assert!(told >= before && told <= jiff::Timestamp::now(), "received at {told}");
}

#[tokio::test]
async fn the_far_future_is_refused_and_moves_nothing() {
    let plant = Plant::new();
    let server = plant.serve();
    let now = jiff::Timestamp::now().as_second();
    let at = |seconds: i64| json!({"deviceId": "PUMP-1", "metrics": {"TEMP": 20}, "timestamp": now + seconds});
    assert_eq!(server.ingest(at(-30)).await["accepted"], 1);
    let before = (server.view("asset_metrics").await, server.view("rollups_1m").await);
    let answer = server.ingest(json!([at(600), at(100 * 365 * 86_400)])).await;
    assert_eq!(answer["accepted"], 0, "{answer}");
    let rejected = answer["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), 2);
    assert!(rejected.iter().all(|one| one["reason"] == "FUTURE_TS"), "{answer}");
    let dead = server.view("dead_letters").await;
    assert!(dead.iter().all(|one| one["reason"] == "FUTURE_TS" && one["device"] == "PUMP-1"));
    assert_eq!(dead.len(), 2);
    let after = (server.view("asset_metrics").await, server.view("rollups_1m").await);
    assert_eq!(after, before);
    // The type allows five minutes.
    assert_eq!(server.ingest(at(240)).await["accepted"], 1);
}

#[tokio::test]
async fn unknown_devices_are_provisioned_or_refused_by_setting() {
    let plant = Plant::new();
    let server = plant.serve();
    let body =
        json!([message("PUMP-77", 0, 1.0), message("VALVE-1", 0, 1.0), message("XPUMP-7", 0, 1.0)]);
    let answer = server.ingest(body).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
    assert_eq!(answer["rejected"].as_array().unwrap().len(), 2, "{answer}");
    let assets = server.view("assets").await;
    assert!(assets.iter().any(|asset| asset["key"] == "pump-77" && asset["asset_type"] == "pump"));
    let links = server.view("links").await;
    assert!(links.iter().any(|link| link["device"] == "PUMP-77" && link["asset"] == "pump-77"));
    drop(server);

    let server = plant.serve_with(&["--unknown-devices", "reject"]);
    let body =
        json!([message("PUMP-78", 0, 1.0), message("PUMP-77", 1, 2.0), message("MAIN", 0, 3.0)]);
    let answer = server.ingest(body).await;
    assert_eq!(answer["accepted"], 2, "{answer}");
    assert_eq!(answer["rejected"][0]["index"], 0, "{answer}");
    assert_eq!(answer["rejected"][0]["reason"], "UNKNOWN_DEVICE", "{answer}");
    assert!(server.view("assets").await.iter().all(|asset| asset["key"] != "pump-78"));
}

#[tokio::test]
async fn bodies_that_cannot_be_taken_are_problems() {
    let plant = Plant::new();
    let server = plant.serve();
    let bomb = zstd::encode_all(std::io::repeat(b' ').take_bytes(200 << 20), 1).unwrap();
    let gzip_bomb = gzip(&vec![b'['; 80 << 20]);
    let mut broken = gzip(message("PUMP-1", 0, 1.0).to_string().as_bytes());
    broken.truncate(broken.len() / 2);
    let bodies: [(&str, &str, Vec<u8>, u16); 9] = [
        (JSON, "", vec![b' '; (8 << 20) + 1], 413),
        (JSON, "zstd", bomb, 413),
        (JSON, "gzip", gzip_bomb, 413),
        (JSON, "gzip", broken, 400),
        (JSON, "gzip", b"this is not gzip".to_vec(), 400),
        (JSON, "br", b"x".to_vec(), 415),
        ("text/html", "", b"<p>".to_vec(), 415),
        (ARROW, "", b"this is not arrow".to_vec(), 400),
        (ARROW, "", Vec::new(), 400),
    ];
    for (content_type, encoding, body, status) in bodies {
        let mut headers = vec![("content-type", content_type)];
        if !encoding.is_empty() {
            headers.push(("content-encoding", encoding));
        }
        println!("{content_type} {encoding} {} bytes", body.len());
        server.send(Method::POST, INGEST, &headers, body).await.problem(status);
    }
    for (method, path, status) in [
        (Method::GET, "/api/v1/nothing", 404),
        (Method::GET, "/api/v1/views/nothing", 404),
        (Method::GET, "/api/v1/views/nothing/changes", 404),
        (Method::GET, "/api/v1/catalog/nothing", 404),
        (Method::GET, "/api/v1/catalog/assets/nothing", 404),
        (Method::DELETE, "/api/v1/catalog/assets/nothing", 404),
        (Method::GET, INGEST, 405),
        (Method::GET, "/api/v1/views/events?metric=temperature", 400),
        (Method::GET, "/api/v1/views/events?color=red", 400),
        (Method::GET, "/api/v1/views/events/changes?envelope=brown", 400),
    ] {
        println!("{method} {path}");
        server.send(method, path, &[], "").await.problem(status);
    }
    let accept = [("accept", "image/png")];
    server.send(Method::GET, "/api/v1/views/events", &accept, "").await.problem(406);
    for (query, status) in
        [("", 400), ("DROP TABLE events", 400), ("SELEKT 1", 400), ("SELECT * FROM nothing", 422)]
    {
        println!("{query}");
        server.post("/api/v1/sql", "text/plain", query).await.problem(status);
    }
    // All the others are still served.
    assert_eq!(server.ingest(message("PUMP-1", 0, 1.0)).await["accepted"], 1);
}

trait TakeBytes: std::io::Read + Sized {
    fn take_bytes(self, bytes: u64) -> std::io::Take<Self> {
        self.take(bytes)
    }
}

impl TakeBytes for std::io::Repeat {}

#[tokio::test]
async fn a_point_is_visible_as_soon_as_it_is_acknowledged() {
    let plant = Plant::new();
    let server = plant.serve();
    for round in 0..40 {
        let value = 20.0 + f64::from(round);
        let answer = server.ingest(message("PUMP-1", i64::from(round), value)).await;
        assert_eq!(answer["accepted"], 1);
        let rows = server.view("asset_metrics?asset=pump-1&metric=temperature").await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["value"], value, "round {round}");
        let time = BASE + i64::from(round);
        let query = format!(
            "SELECT value, quality FROM telemetry WHERE asset = 'pump-1' AND event_time = to_timestamp_seconds({time})"
        );
        assert_eq!(
            server.sql(&query).await,
            [json!({"value": value, "quality": 0})],
            "round {round}"
        );
    }
    let all = server
        .sql("SELECT count(*) AS n, count(DISTINCT event_time) AS times FROM telemetry")
        .await;
    assert_eq!(all, [json!({"n": 40, "times": 40})]);
}

#[tokio::test]
async fn views_come_as_json_csv_and_arrow() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(json!([message("PUMP-1", 0, 20.0), message("PUMP-2", 0, 30.0)])).await;
    let path = "/api/v1/views/asset_metrics?metric=temperature";
    let rows = server.view("asset_metrics?metric=temperature").await;
    assert_eq!(rows.len(), 2);
    let csv = server.send(Method::GET, path, &[("accept", "text/csv")], "").await;
    assert_eq!(csv.content_type, "text/csv; charset=utf-8");
    let csv = csv.text();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.starts_with("asset,asset_type,metric,event_time,value,"), "{csv}");
    let arrow = server.send(Method::GET, path, &[("accept", ARROW)], "").await;
    assert_eq!(arrow.content_type, ARROW);
    let reader = arrow::ipc::reader::StreamReader::try_new(arrow.bytes.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
    assert_eq!(server.view("asset_metrics?type=pump&limit=1").await.len(), 1);
    assert_eq!(server.view("asset_metrics?type=valve").await.len(), 0);
    for (path, part) in
        [("/metrics", "millstream"), ("/api/v1/openapi.json", "\"3.1"), ("/docs", "html")]
    {
        let answer = server.get(path).await;
        assert!(answer.text().contains(part), "{path}: {} {}", answer.status, answer.text());
    }
}
