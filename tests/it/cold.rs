//! Files of the archive on a store that speaks the protocol of S3: nobody notices where they are.

use crate::exports;
use crate::s3::S3;
use crate::support::*;
use serde_json::{Value, json};
use std::time::Duration;

/// Files wait for checkpoints, and a merge for the one before.
const PATIENCE: Duration = Duration::from_secs(40);

const STORE: [&str; 4] =
    ["--archive-store", "s3://plant/cold/files", "--archive-store-after", "0s"];
const POINTS: &str = "SELECT asset, metric, event_time, value, text, quality, device \
                      FROM telemetry ORDER BY asset, metric, event_time";

fn message(device: i64, second: i64, temp: f64) -> Value {
    let metrics = json!({"TEMP": temp, "FLOW": 100 + second % 7});
    json!({"deviceId": format!("PUMP-{device}"), "timestamp": BASE + second, "metrics": metrics})
}

/// Some hours of one of three days.
fn messages(round: i64) -> Vec<Value> {
    let begin = (round % 3) * 86_400 + (round / 3) * 4_000;
    (0..100).map(|i| message(1 + i % 2, begin + i * 40, 40.0 + (i % 60) as f64)).collect()
}

fn serve(plant: &Plant, s3: &S3, options: &[&str]) -> Server {
    let options = [&["--checkpoint-every", "500ms"], options].concat();
    plant.serve_by(s3.known_to(program()), &options)
}

/// How many files there are here and on the store, and why files do not move.
async fn places(server: &Server) -> (i64, i64, String) {
    let query = "SELECT place, files, last_error FROM millstream_archive ORDER BY place";
    let rows = server.sql(query).await;
    let files = |row: usize| rows[row]["files"].as_i64().unwrap();
    (files(0), files(1), rows[1]["last_error"].as_str().unwrap().into())
}

async fn all_moved(server: &Server) {
    eventually_within(PATIENCE, "all files have moved", async || {
        let (here, there, _) = places(server).await;
        (here == 0 && there > 0).then_some(())
    })
    .await;
}

async fn settled(server: &Server) {
    eventually_within(PATIENCE, "nobody waits for archived points", async || {
        let queues = server.sql("SELECT depth FROM millstream_queues WHERE queue = 'late'").await;
        (queues[0]["depth"] == 0).then_some(())
    })
    .await;
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
    let other = ["corrections", "assets", "devices", "links"];
    let all = server.all_views().await.into_iter();
    all.filter(|(name, _)| !other.contains(&&**name)).map(told).collect()
}

#[tokio::test]
async fn files_move_to_s3_under_load_and_everything_is_as_without() {
    let (plant, other) = (Plant::new(), Plant::new());
    let s3 = S3::start(&plant.path("s3"));
    let (mut server, twin) = (serve(&plant, &s3, &STORE), other.serve());
    for round in 0..24 {
        server.ingest(json!(messages(round))).await;
        twin.ingest(json!(messages(round))).await;
        if round % 6 == 5 {
            // Some are on the store while others come.
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    }
    all_moved(&server).await;
    let before = (server.epoch().await, server.sql(POINTS).await);
    assert_eq!(before.1, twin.sql(POINTS).await);

    // Late ones into days that have moved, some with other values: pages are read from the store.
    for round in 0..6 {
        let late: Vec<Value> =
            (0..40).map(|i| message(1 + i % 2, i * 5_000 + round * 40, 95.0 - i as f64)).collect();
        server.ingest(json!(late)).await;
        twin.ingest(json!(late)).await;
    }
    settled(&server).await;
    settled(&twin).await;
    let expected = (views(&twin).await, twin.sql(POINTS).await);
    for restarted in 0..3 {
        assert!(server.sql(POINTS).await == expected.1, "after {restarted} restarts");
        assert!(views(&server).await == expected.0, "after {restarted} restarts");
        let then =
            POINTS.replace("telemetry", &format!("telemetry AS OF SYSTEM TIME {}", before.0));
        assert!(server.sql(&then).await == before.1, "after {restarted} restarts");
        match restarted {
            0 => server.kill(),
            _ => assert_eq!(server.terminate(), 0),
        }
        server = serve(&plant, &s3, &STORE);
        settled(&server).await;
        all_moved(&server).await;
    }
    check(&server).await;
    eventually("metrics of the store", async || {
        let metrics = server.get("/metrics").await.text();
        metrics.contains("millstream_archive_files{place=\"store\"}").then_some(())
    })
    .await;

    // What is asked of the directory finds the store by itself.
    assert_eq!(server.terminate(), 0);
    let data = plant.data();
    let count = ["sql", "--data", text(&data), "SELECT count(*) AS n FROM telemetry"];
    let output = s3.known_to(program()).args(count).args(["--format", "ndjson"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), format!("{{\"n\":{}}}", expected.1.len()), "{output:?}");
}

#[tokio::test]
async fn a_store_that_is_away_is_told_and_holds_up_nothing_else() {
    let plant = Plant::new();
    let mut s3 = S3::start(&plant.path("s3"));
    let server = serve(&plant, &s3, &STORE);
    for round in 0..6 {
        server.ingest(json!(messages(round))).await;
    }
    all_moved(&server).await;
    let expected = server.sql(POINTS).await;
    s3.kill();

    // Now: a day that goes on does not move. Old days would, and wait.
    let now = jiff::Timestamp::now().as_second() - BASE;
    server.ingest(json!([message(1, now, 41.5), message(2, 86_400 * 9, 42.5)])).await;
    let away = "SELECT count(*) AS n FROM telemetry WHERE event_time < '2023-11-20'";
    let told = server.post("/api/v1/sql", "text/plain", away.to_owned()).await;
    let told = told.problem(500);
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.contains("read archive store s3://plant/cold/files/"), "{told}");
    assert!(told["hint"].as_str().unwrap().contains("event_time"), "{told}");
    let here = "SELECT count(*) AS n FROM telemetry WHERE event_time > '2023-11-20'";
    assert_eq!(server.sql(here).await, [json!({"n": 4})]);
    eventually_within(PATIENCE, "files wait for the store", async || {
        let (_, _, error) = places(&server).await;
        error.contains("s3://plant/cold/files/").then_some(())
    })
    .await;
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("millstream_archive_move_failures_total"), "{metrics}");

    // It does not have to be there when the program starts.
    assert_eq!(server.terminate(), 0);
    let server = serve(&plant, &s3, &STORE);
    assert_eq!(server.sql(here).await, [json!({"n": 4})]);
    // A late point waits for the store, and its answer for nothing.
    server.ingest(json!([message(1, 50, 95.0)])).await;
    s3.go_on();
    eventually_within(PATIENCE, "the old day has moved", async || {
        let (here, _, error) = places(&server).await;
        (here == 1 && error.is_empty()).then_some(())
    })
    .await;
    settled(&server).await;
    let points = server.sql(POINTS).await;
    assert_eq!(points.len(), expected.len() + 6);
    check(&server).await;
}

#[tokio::test]
async fn a_key_that_is_refused_is_told_and_nothing_moves() {
    let plant = Plant::new();
    let s3 = S3::start(&plant.path("s3"));
    let mut wrong = s3.known_to(program());
    wrong.env("AWS_SECRET_ACCESS_KEY", "another");
    let options = [&["--checkpoint-every", "500ms"], &STORE[..]].concat();
    let server = plant.serve_by(wrong, &options);
    server.ingest(json!(messages(0))).await;
    eventually_within(PATIENCE, "the store refuses", async || {
        let (here, there, error) = places(&server).await;
        (here > 0 && there == 0 && error.contains("SignatureDoesNotMatch")).then_some(())
    })
    .await;
    assert_eq!(server.sql(POINTS).await.len(), 200);
    assert_eq!(server.terminate(), 0);

    // Nor does it take a start to know that there is no such store.
    for (url, why) in [("s3://", "names no bucket"), ("gs://plant", "is no store")] {
        let said = run(&["serve", "--archive-store", url]).expect(2);
        assert!(said.err.contains(why) && said.err.contains("give s3://BUCKET"), "{}", said.err);
    }
}
