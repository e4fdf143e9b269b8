//! What the HTTP doors refuse, how they say it, and how soon what they took is visible.

use crate::http::{gzip, message};
use crate::support::*;
use reqwest::Method;
use serde_json::json;

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

#[tokio::test]
async fn a_question_without_rows_has_an_answer() {
    let plant = Plant::new();
    let server = plant.serve();
    for query in ["SELECT 1 AS one FROM telemetry", "SELECT value FROM telemetry WHERE value > 1"] {
        assert!(server.sql(query).await.is_empty(), "{query}");
        let headers = [("content-type", "text/plain"), ("accept", "text/csv")];
        let answer = server.send(Method::POST, "/api/v1/sql", &headers, query).await;
        assert_eq!((answer.status, answer.text().lines().count()), (200, 1), "{}", answer.text());
    }
}
