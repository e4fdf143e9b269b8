//! The views as tables in a real TimescaleDB: the same rows as Millstream itself tells.

use crate::compose::{config, panels};
use crate::support::*;
use crate::timescale::{Database, message, messages, serve};
use millstream::views::View;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The views that have tables.
const TABLES: [&str; 11] = [
    "asset_types",
    "device_types",
    "assets",
    "devices",
    "links",
    "asset_health",
    "threshold_states",
    "rollups_1m",
    "rollups_5m",
    "rollups_1h",
    "rollups_1d",
];

/// A value as both sides have it: instants in microseconds, numbers as bits of a double.
fn plain(value: &Value) -> String {
    let instant = |text: &str| millstream::model::Timestamp::parse(text).ok();
    match value {
        Value::Number(number) => format!("{:?}", number.as_f64().unwrap()),
        Value::String(text) => match instant(text) {
            Some(instant) => instant.0.to_string(),
            None => text.clone(),
        },
        other => other.to_string(),
    }
}

fn rows(rows: &[Value], columns: &[String]) -> BTreeSet<Vec<String>> {
    let row = |row: &Value| columns.iter().map(|name| plain(&row[name])).collect();
    let all: BTreeSet<Vec<String>> = rows.iter().map(row).collect();
    assert_eq!(all.len(), rows.len(), "a row is there twice");
    all
}

async fn of_millstream(server: &Server, view: &str, columns: &[String]) -> BTreeSet<Vec<String>> {
    rows(&server.sql(&format!("SELECT {} FROM {view}", columns.join(", "))).await, columns)
}

async fn of_database(
    database: &Database,
    table: &str,
    columns: &[String],
) -> BTreeSet<Vec<String>> {
    let texts = columns.iter().map(|column| match column.as_str() {
        "document" | "contributions" => format!("{column}::text"),
        _ => column.clone(),
    });
    let texts: Vec<String> = texts.collect();
    let query =
        format!("SELECT row_to_json(r)::text FROM (SELECT {} FROM {table}) r", texts.join(", "));
    let found = database.rows(&query).await;
    let read = |row: &Vec<Option<String>>| serde_json::from_str(row[0].as_ref().unwrap()).unwrap();
    rows(&found.iter().map(read).collect::<Vec<Value>>(), columns)
}

fn columns(view: &str) -> Vec<String> {
    let schema = View::parse(view).unwrap().schema();
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// Waits until every table is its view, and the history of a table ends with its rows.
pub async fn until_views_are_equal(server: &Server, database: &Database) {
    for view in TABLES {
        let columns = columns(view);
        let mut told = String::new();
        let what = format!("an equal {view}");
        let equal = eventually(&what, async || {
            let expected = of_millstream(server, view, &columns).await;
            let found = of_database(database, view, &columns).await;
            if found != expected {
                let (missing, more) =
                    (expected.difference(&found).next(), found.difference(&expected).next());
                told = format!("{} of {}: {missing:?} {more:?}", found.len(), expected.len());
                if std::env::var("MILLSTREAM_TOLD").is_ok() {
                    println!("{view} {told}");
                }
            }
            (found == expected).then_some(expected.len())
        });
        equal.await;
    }
    for (view, is_there, key) in [
        ("asset_health", "event_time", "asset, asset_type"),
        ("threshold_states", "level", "asset, rule, asset_type"),
    ] {
        let columns = columns(view);
        let expected = of_millstream(server, view, &columns).await;
        let last = format!(
            "(SELECT DISTINCT ON ({key}) * FROM {view}_history ORDER BY {key}, known_at DESC) l
            WHERE {is_there} IS NOT NULL"
        );
        assert_eq!(of_database(database, &last, &columns).await, expected, "history of {view}");
    }
}

async fn number(database: &Database, query: &str) -> i64 {
    let rows = database.rows(&format!("SELECT ({query})::text")).await;
    rows[0][0].as_deref().unwrap().parse().unwrap()
}

async fn delete(server: &Server, query: &str) -> u64 {
    let path = format!("/api/v1/telemetry?{query}&reason=test");
    let answer = server.send(reqwest::Method::DELETE, &path, &[], "").await.good();
    answer["points"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_the_views_whatever_comes_late_or_goes() {
    let (plant, database) = (Plant::new(), Database::new().await.abroad().await);
    let mut server = serve(&plant, &database.url());
    server.ingest(messages(0..200)).await;
    until_views_are_equal(&server, &database).await;
    assert!(number(&database, "SELECT count(*) FROM rollups_1m").await > 300);
    assert!(number(&database, "SELECT count(*) FROM threshold_states").await > 1);

    // Late, corrected and deleted points, some with the database following and some without.
    let at = |second: i64| millstream::model::Timestamp((BASE + second) * 1_000_000);
    for round in 0..2i64 {
        server.ingest(message(2, 17 + round, json!({"TEMP": 99, "STARTS": 3}))).await;
        server.ingest(message(1, 39 * 30 + round * 90, json!({"TEMP": 12.5}))).await;
        let (from, to) = (at(600 + 1200 * round), at(1200 + 1200 * round));
        assert!(delete(&server, &format!("asset=pump-1&from={from}&to={to}")).await > 0);
        let (from, to) = (at(600 + 1200 * round), at(900 + 1200 * round));
        let metrics = format!("asset=pump-2&metrics=temperature&from={from}&to={to}");
        assert!(delete(&server, &metrics).await > 0);
        if round == 0 {
            until_views_are_equal(&server, &database).await;
            server.kill();
            server = plant.serve();
        }
    }
    // An asset goes, and comes again under the same key.
    for document in ["links/PUMP-2-%3Epump-2", "assets/pump-2"] {
        let path = format!("/api/v1/catalog/{document}");
        let gone = server.send(reqwest::Method::DELETE, &path, &[], "").await;
        assert!(gone.status < 300, "{}", gone.text());
    }
    assert_eq!(server.terminate(), 0);
    let server = serve(&plant, &database.url());
    until_views_are_equal(&server, &database).await;
    server.ingest(messages(200..220)).await;
    until_views_are_equal(&server, &database).await;

    // Tables can be joined with history, and hypertables are what grows.
    let joined = "SELECT count(*) FROM telemetry_history h JOIN assets a ON a.key = h.entity_id
        JOIN rollups_1m r ON r.asset = a.key AND r.metric = h.metric_key
            AND r.window_start = time_bucket('1 minute', h.time)";
    assert!(number(&database, joined).await > 100);
    let tables = "SELECT hypertable_name::text FROM timescaledb_information.hypertables ORDER BY 1";
    let tables: Vec<String> =
        database.rows(tables).await.into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!(
        tables,
        [
            "asset_health_history",
            "rollups_1d",
            "rollups_1h",
            "rollups_1m",
            "rollups_5m",
            "telemetry_history",
            "threshold_states_history"
        ]
    );
    for view in ["metrics", "flow_metrics", "flow_metrics_1h", "flow_anomalies", "incidents"] {
        number(&database, &format!("SELECT count(*) FROM {view}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_have_left_memory_are_there_too() {
    const PUMPS: i64 = 60;
    let (plant, database) = (Plant::new(), Database::new().await);
    let row = |pump: i64, minute: i64, temp: f64| {
        let time = BASE - BASE % 3_600 + 60 * minute;
        json!({"deviceId": format!("PUMP-{pump}"), "timestamp": time, "metrics": {"TEMP": temp}})
    };
    let hours = async |server: &Server, minutes: std::ops::Range<i64>| {
        for minute in minutes {
            let rows: Vec<Value> =
                (1..=PUMPS).map(|pump| row(pump, minute, 40.0 + (minute % 9) as f64)).collect();
            server.ingest(json!(rows)).await;
        }
    };
    let files = || {
        let folder = plant.data().join("archive/windows/rollups_1m");
        std::fs::read_dir(folder).map_or(0, |files| files.count())
    };
    let mut server = serve(&plant, &database.url());
    hours(&server, 0..30).await;
    until_views_are_equal(&server, &database).await;
    server.kill();
    // Without the database most windows leave memory, one of them changed and some of them gone.
    let mut server = plant.serve();
    hours(&server, 30..300).await;
    eventually("files of windows", async || (files() > 0).then_some(())).await;
    server.ingest(row(1, 5, 47.0)).await;
    let at =
        |minute: i64| millstream::model::Timestamp((BASE - BASE % 3_600 + 60 * minute) * 1_000_000);
    let query = format!("asset=pump-2&from={}&to={}", at(10), at(20));
    assert_eq!(delete(&server, &query).await, 10);
    hours(&server, 300..301).await;
    server.kill();
    let server = serve(&plant, &database.url());
    until_views_are_equal(&server, &database).await;
    hours(&server, 301..310).await;
    until_views_are_equal(&server, &database).await;
    assert_eq!(server.terminate(), 0);
    // A restart that finds everything in place sends nothing anew.
    let server = serve(&plant, &database.url());
    eventually("a look", async || {
        let sink = server.sql("SELECT lag_ms FROM millstream_sinks").await;
        (sink[0]["lag_ms"] == 0).then_some(())
    })
    .await;
    let metrics = server.get("/metrics").await.text();
    let sent = metrics.lines().find(|line| line.contains("table=\"rollups_1m\""));
    assert!(sent.is_none_or(|line| line.ends_with(" 0")), "{sent:?}");
    // A new database gets what is in files as well.
    assert_eq!(server.terminate(), 0);
    let fresh = Database::new().await;
    let server = serve(&plant, &fresh.url());
    until_views_are_equal(&server, &fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_of_grafana_have_rows() {
    let (plant, database) = (Plant::new(), Database::new().await);
    let users = plant.path("users");
    std::fs::write(&users, config("postgres-users")).unwrap();
    let server = plant.serve_with(&[
        "--database-url",
        &database.url(),
        "--postgres",
        "127.0.0.1:0",
        "--postgres-users",
        text(&users),
    ]);
    // The last one trips, and stays so.
    server.ingest(messages(0..40)).await;
    until_views_are_equal(&server, &database).await;
    let door =
        format!("postgres://grafana:millstream@{}/millstream", server.postgres.as_ref().unwrap());
    let (client, connection) = tokio_postgres::connect(&door, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let macros = regex::Regex::new(r"\$__timeFilter\((\w+)\)").unwrap();
    let mut asked = 0;
    for panel in panels() {
        for target in panel["targets"].as_array().unwrap() {
            let Some(sql) = target["rawSql"].as_str() else { continue };
            let sql = macros.replace_all(sql, "$1 IS NOT NULL").replace("$metric", "temperature");
            assert!(!sql.contains('$'), "{sql}");
            let rows = match panel["datasource"]["uid"].as_str().unwrap() {
                "millstream" => client.query(&sql, &[]).await.unwrap().len(),
                _ => {
                    number(&database, &format!("SELECT count(*) FROM ({sql}) AS q")).await as usize
                }
            };
            let may_be_empty = sql.contains("incidents") || sql.contains("threshold_states");
            assert!(rows > 0 || may_be_empty, "{}: {sql}", panel["title"]);
            asked += 1;
        }
    }
    assert!(asked >= 5);
}

/// What was said at the start of the policies that hold.
fn told(plant: &Plant, of: &str) -> Option<String> {
    let log = std::fs::read_to_string(plant.path("server.log")).unwrap();
    let line = log.lines().rfind(|line| line.contains("policies of the database"))?.to_owned();
    line.contains(of).then_some(line)
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_what_the_settings_say_in_either_edition() {
    let (plant, database) = (Plant::new(), Database::new().await);
    let url = database.url();
    let all = ["--database-compress-after", "7d", "--database-aggregate-every", "1h"];
    let server = plant.serve_with(&[&["--database-url", &url][..], &all].concat());
    server.ingest(messages(0..200)).await;
    until_views_are_equal(&server, &database).await;
    // The servers of the tests have the Apache edition.
    let line = told(&plant, "edition=\"apache\"").unwrap();
    assert!(line.contains("compression=\"not in this edition\""), "{line}");
    assert!(line.contains("aggregates=\"millstream\" retention=\"none\""), "{line}");
    let same = "SELECT count(*) FROM telemetry_history_1h a JOIN (
            SELECT entity_id, metric_key, time_bucket('1 hour', time) AS time, count(value) AS count,
                min(value) AS min, max(value) AS max
            FROM telemetry_history WHERE value IS NOT NULL GROUP BY 1, 2, 3
        ) b USING (entity_id, metric_key, time, count, min, max)";
    // Derived metrics are no points.
    let hours = "SELECT count(*) FROM telemetry_history_1h
        WHERE metric_key IN (SELECT metric_key FROM telemetry_history)";
    let hours = number(&database, hours).await;
    assert!(hours > 3);
    assert_eq!(number(&database, same).await, hours);
    assert_eq!(server.terminate(), 0);

    // The same settings change nothing, others do; what is too old goes once it is archived.
    let rows = database.rows("SELECT xmin::text FROM sink_policies").await;
    let server = plant.serve_with(&[&["--database-url", &url][..], &all].concat());
    until_views_are_equal(&server, &database).await;
    assert_eq!(database.rows("SELECT xmin::text FROM sink_policies").await, rows);
    assert_eq!(server.terminate(), 0);
    let kept = number(&database, "SELECT count(*) FROM rollups_1m").await;
    let server = plant.serve_with(&["--database-url", &url, "--database-retain", "90d"]);
    eventually("old points to go", async || {
        let points = number(&database, "SELECT count(*) FROM telemetry_history").await;
        (points == 0).then_some(())
    })
    .await;
    assert_eq!(number(&database, "SELECT count(*) FROM rollups_1m").await, kept);
    assert!(told(&plant, "aggregates=\"none\" retention=\"7776000 s\"").is_some());
    let view = "SELECT count(*) FROM pg_views WHERE viewname = 'telemetry_history_1h'";
    assert_eq!(number(&database, view).await, 0);
    // What comes late is taken in all the same.
    server.ingest(messages(0..3)).await;
    server.ingest(message(1, 3, json!({"TEMP": 1}))).await;
    until_views_are_equal(&server, &database).await;
}
