//! Old events leave memory for files, and a real TimescaleDB has all of them all the same.

use crate::support::*;
use crate::timescale::{Database, message, serve};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PUMPS: i64 = 60;

/// A minute of a pump that trips, overheated, every other minute.
fn minute(pump: i64, minute: i64) -> Value {
    let (temp, state) = if minute % 2 == 1 { (97, "tripped") } else { (40, "running") };
    message(pump, 60 * minute, json!({"TEMP": temp, "STATE": state}))
}

async fn minutes(server: &Server, minutes: std::ops::Range<i64>) {
    for at in minutes.collect::<Vec<i64>>().chunks(10) {
        let of_minute = |at: &i64| (1..=PUMPS).map(|pump| minute(pump, *at)).collect::<Vec<_>>();
        server.ingest(json!(at.iter().flat_map(of_minute).collect::<Vec<Value>>())).await;
    }
}

type Events = BTreeSet<Vec<String>>;

/// All events, wherever they are, by asset, rule and microseconds.
async fn events(server: &Server) -> Events {
    let sql =
        "SELECT asset, rule, CAST(event_time AS BIGINT) AS at, message, suppressed FROM events";
    let rows = server.sql(sql).await;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let columns = ["asset", "rule", "at", "message", "suppressed"];
    let all: Events =
        rows.iter().map(|row| columns.iter().map(|name| text(&row[*name])).collect()).collect();
    assert_eq!(all.len(), rows.len(), "an event is there twice");
    all
}

async fn until_equal(server: &Server, database: &Database) -> usize {
    let query =
        "SELECT entity_id, rule_id, (extract(epoch FROM time) * 1000000)::bigint::text, message,
        suppressed::text FROM system_events";
    eventually("equal events", async || {
        let expected = events(server).await;
        let found = database.rows(query).await.into_iter();
        let found: Events = found.map(|row| row.into_iter().flatten().collect()).collect();
        if std::env::var("MILLSTREAM_TOLD").is_ok() {
            let (missing, more) =
                (expected.difference(&found).next(), found.difference(&expected).next());
            println!("{} of {}: {missing:?} {more:?}", found.len(), expected.len());
        }
        (found == expected).then_some(expected.len())
    })
    .await
}

async fn until_some_left(server: &Server) {
    eventually("old events leave memory", async || {
        let all = server.sql("SELECT count(*) AS n FROM events").await[0]["n"].as_u64().unwrap();
        let sql = "SELECT rows AS n FROM millstream_views WHERE view = 'events'";
        let here = server.sql(sql).await[0]["n"].as_u64().unwrap();
        (here < all / 2).then_some(())
    })
    .await;
    let report = server.post("/api/v1/verify", JSON, "").await.good();
    assert_eq!(report["equal"], true, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_left_memory_are_there_and_go_when_they_are_taken_back() {
    let (plant, database) = (Plant::new(), Database::new().await);
    let hour = ["--events-in-memory", "1h"];
    let url = database.url();
    let follows = || plant.serve_with(&[&["--database-url", &url][..], &hour].concat());
    let mut server = follows();
    minutes(&server, 0..40).await;
    until_equal(&server, &database).await;
    server.kill();

    // Without the database most events leave memory, and some are taken back.
    let mut server = plant.serve_with(&hour);
    minutes(&server, 40..300).await;
    until_some_left(&server).await;
    let before = events(&server).await.len();
    server.ingest(message(1, 60 * 5, json!({"TEMP": 40, "STATE": "running"}))).await;
    server.ingest(message(2, 60 * 101, json!({"TEMP": 40, "STATE": "running"}))).await;
    let taken_back = async |server: &Server, number: usize| {
        eventually("events are taken back", async || {
            (events(server).await.len() == number).then_some(())
        })
        .await;
    };
    taken_back(&server, before - 6).await;
    server.kill();
    let mut server = follows();
    assert_eq!(until_equal(&server, &database).await, before - 6);
    until_some_left(&server).await;

    // With it, too.
    server.ingest(message(3, 60 * 7, json!({"TEMP": 40, "STATE": "running"}))).await;
    taken_back(&server, before - 9).await;
    until_equal(&server, &database).await;
    // It is away while the same event comes again, another one goes, and an asset with all of its own.
    assert_eq!(server.terminate(), 0);
    server = plant.serve_with(&hour);
    server.ingest(message(1, 60 * 5, json!({"TEMP": 97, "STATE": "tripped"}))).await;
    server.ingest(message(4, 60 * 9, json!({"TEMP": 40, "STATE": "running"}))).await;
    taken_back(&server, before - 9).await;
    remove(&server, 5).await;
    assert_eq!(server.terminate(), 0);
    server = follows();
    until_equal(&server, &database).await;
    // It hears of such an asset, too.
    remove(&server, 6).await;
    until_equal(&server, &database).await;
    assert_eq!(server.terminate(), 0);
    let server = follows();
    let all = until_equal(&server, &database).await;
    until_some_left(&server).await;

    // A new database gets what is in files as well.
    assert_eq!(server.terminate(), 0);
    let fresh = Database::new().await;
    let server = serve(&plant, &fresh.url());
    assert_eq!(until_equal(&server, &fresh).await, all);
}

/// Removes an asset, which takes its events along.
async fn remove(server: &Server, pump: i64) {
    let asset = format!("pump-{pump}");
    let sql = format!("SELECT count(*) AS n FROM events WHERE asset = '{asset}'");
    assert!(server.sql(&sql).await[0]["n"].as_u64().unwrap() > 100);
    for document in [format!("links/PUMP-{pump}-%3E{asset}"), format!("assets/{asset}")] {
        let path = format!("/api/v1/catalog/{document}");
        let gone = server.send(reqwest::Method::DELETE, &path, &[], "").await;
        assert!(gone.status < 300, "{}", gone.text());
    }
    eventually("no events of the asset", async || {
        (server.sql(&sql).await[0]["n"] == 0).then_some(())
    })
    .await;
}
