//! The history in a real TimescaleDB: the same rows as in `telemetry`, whatever is killed meanwhile.

use crate::support::*;
use crate::timescale_views::until_views_are_equal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::{Client, Config, NoTls};

/// The server that the test command has started.
fn shared_server() -> String {
    std::env::var("MILLSTREAM_TEST_DATABASE_URL").expect(
        "tests/run starts a TimescaleDB server; or set MILLSTREAM_TEST_DATABASE_URL to postgres://USER:PASSWORD@HOST:PORT of a superuser",
    )
}

/// A server of a test's own, which may be stopped.
struct OwnServer {
    url: String,
    port: String,
}

impl OwnServer {
    fn start() -> Self {
        let url = script(&["start"]).trim().to_owned();
        let port = url.rsplit(':').next().unwrap().to_owned();
        Self { url, port }
    }

    fn stop(&self, mode: &str) {
        script(&["stop", &self.port, mode]);
    }

    fn again(&self) {
        script(&["again", &self.port]);
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        script(&["remove", &self.port]);
    }
}

fn script(arguments: &[&str]) -> String {
    let output = Command::new(repository("tests/timescale")).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "tests/timescale {arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// An empty database. It goes when it is dropped.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    pub async fn new() -> Self {
        Self::on(&shared_server()).await
    }

    async fn on(server: &str) -> Self {
        let name = format!("test_{}", uuid::Uuid::now_v7().simple());
        let client = connect(server, "postgres").await;
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Self { server: server.to_owned(), name }
    }

    /// Everybody who connects from now on is in another time zone, unless he says otherwise.
    pub async fn abroad(self) -> Self {
        let zone = format!("ALTER DATABASE {} SET timezone = 'America/New_York'", self.name);
        connect(&self.server, "postgres").await.batch_execute(&zone).await.unwrap();
        self
    }

    pub fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    async fn connect(&self) -> Client {
        connect(&self.server, &self.name).await
    }

    /// The rows of a query whose columns are text.
    pub async fn rows(&self, query: &str) -> Vec<Vec<Option<String>>> {
        let rows = self.connect().await.query(query, &[]).await.unwrap();
        let cells = |row: &tokio_postgres::Row| (0..row.len()).map(|i| row.get(i)).collect();
        rows.iter().map(cells).collect()
    }

    async fn count(&self, table: &str) -> i64 {
        let query = format!("SELECT count(*) FROM {table}");
        self.connect().await.query_one(&query, &[]).await.unwrap().get(0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let drop = async move {
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            // The server may be gone already.
            if let Ok(client) = try_connect(&server, "postgres").await {
                let _ = client.batch_execute(&drop).await;
            }
        };
        let dropped = std::thread::spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(drop)
        });
        let _ = dropped.join();
    }
}

async fn try_connect(server: &str, name: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config: Config = server.parse()?;
    let (client, connection) = config.dbname(name).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn connect(server: &str, name: &str) -> Client {
    try_connect(server, name).await.unwrap()
}

pub fn serve(plant: &Plant, url: &str) -> Server {
    plant.serve_with(&["--database-url", url])
}

/// A point: asset, device, metric, microseconds, bits of the value, text, quality, epoch.
pub type Point = (String, String, String, i64, Option<u64>, Option<String>, i64, i64);

/// `telemetry` as DataFusion has it; a key that is there twice is there twice.
async fn telemetry(server: &Server) -> Vec<Point> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let rows = server
        .sql("SELECT asset, device, metric, arrow_cast(event_time, 'Int64') AS at, value, text, quality, epoch FROM telemetry ORDER BY asset, metric, at")
        .await;
    let point = |row: &Value| {
        let [asset, device, metric] =
            ["asset", "device", "metric"].map(|name| text(&row[name]).unwrap());
        let [at, quality, epoch] =
            ["at", "quality", "epoch"].map(|name| row[name].as_i64().unwrap());
        let value = row["value"].as_f64().map(f64::to_bits);
        (asset, device, metric, at, value, text(&row["text"]), quality, epoch)
    };
    rows.iter().map(point).collect()
}

/// `telemetry_history` as PostgreSQL has it.
async fn history(database: &Database) -> Vec<Point> {
    let rows = database
        .connect()
        .await
        .query(
            "SELECT entity_id, device_id, metric_key, (extract(epoch FROM time) * 1000000)::bigint,
                value, value_text, quality, epoch
            FROM telemetry_history WHERE entity_type = 'asset'
            ORDER BY entity_id COLLATE \"C\", metric_key COLLATE \"C\", time",
            &[],
        )
        .await;
    let Ok(rows) = rows else { return Vec::new() };
    let point = |row: &tokio_postgres::Row| {
        let value = row.get::<_, Option<f64>>(4).map(f64::to_bits);
        (row.get(0), row.get(1), row.get(2), row.get(3), value, row.get(5), row.get(6), row.get(7))
    };
    rows.iter().map(point).collect()
}

pub async fn until_equal(server: &Server, database: &Database) -> Vec<Point> {
    eventually("an equal history", async || {
        let expected = telemetry(server).await;
        (history(database).await == expected).then_some(expected)
    })
    .await
}

/// Events and dead letters, as both sides have them.
async fn until_the_rest_is_equal(server: &Server, database: &Database) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let columns = ["asset", "rule", "event_type", "severity", "message", "suppressed"];
    let of_view = |row: &Value| {
        columns.map(|name| text(&row[name]).or_else(|| Some(row[name].to_string()))).to_vec()
    };
    eventually("equal events and dead letters", async || {
        let expected: BTreeSet<_> = server.view("events").await.iter().map(of_view).collect();
        let found: BTreeSet<_> = database
            .rows("SELECT entity_id, rule_id, event_type, severity, message, suppressed::text FROM system_events")
            .await
            .into_iter()
            .collect();
        let letters = server.view("dead_letters").await;
        let of_letter = |row: &Value| {
            ["source", "device", "reason", "detail", "raw"].map(|name| text(&row[name])).to_vec()
        };
        let mut expected_letters: Vec<_> = letters.iter().map(of_letter).collect();
        let mut found_letters = database
            .rows("SELECT source, device_id, reason, detail, convert_from(raw, 'UTF8') FROM dead_letters")
            .await;
        expected_letters.sort();
        found_letters.sort();
        (expected == found && expected_letters == found_letters).then_some(())
    })
    .await;
    until_views_are_equal(server, database).await;
}

async fn sink(server: &Server) -> Value {
    let mut rows = server.sql("SELECT * FROM millstream_sinks").await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

/// Waits for a state of the sink with these words in its error.
async fn until_sink(server: &Server, state: &str, error: &str) -> Value {
    eventually(&format!("a sink that is {state} with '{error}'"), async || {
        let row = sink(server).await;
        let told = row["last_error"].as_str().unwrap().contains(error);
        (row["state"] == state && told).then_some(row)
    })
    .await
}

pub fn message(pump: i64, seconds: i64, metrics: Value) -> Value {
    json!({"deviceId": format!("PUMP-{pump}"), "timestamp": BASE + seconds, "metrics": metrics})
}

/// Messages of two pumps: numbers, counters, texts that trip rules, and one that is refused.
pub fn messages(seconds: std::ops::Range<i64>) -> Value {
    let mut all = Vec::new();
    for second in seconds {
        let state = if second % 40 == 39 { "tripped" } else { "running" };
        for pump in 1..=2 {
            let temperature = 65.0 + ((second * 7 * pump) % 40) as f64 / 3.0;
            all.push(message(
                pump,
                second * 30,
                json!({"TEMP": temperature, "STARTS": second, "STATE": state}),
            ));
        }
        if second % 50 == 0 {
            all.push(message(1, second * 30, json!({"TEMP": "hot", "NOISE": second})));
        }
    }
    Value::from(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_telemetry_row_by_row_in_a_hypertable() {
    let (plant, database) = (Plant::new(), Database::new().await.abroad().await);
    let server = serve(&plant, &database.url());
    server.ingest(messages(0..100)).await;
    let points = until_equal(&server, &database).await;
    assert!(points.len() > 500, "{} points", points.len());
    assert!(points.iter().any(|point| point.5.is_some()), "no text");
    until_the_rest_is_equal(&server, &database).await;
    assert!(database.count("system_events").await > 0);
    assert!(database.count("dead_letters").await > 0);

    // Corrected values, one of them far back, late points, a text with a NUL, the year 1601.
    server.ingest(message(1, 39 * 30, json!({"TEMP": 12.5, "STATE": "running"}))).await;
    server.ingest(message(2, 0, json!({"TEMP": -1, "STATE": "a\u{0}b"}))).await;
    server
        .ingest(json!([
            message(2, 17, json!({"TEMP": 1})),
            message(1, -11_644_473_600 - BASE, json!({"TEMP": 2}))
        ]))
        .await;
    let corrected = eventually("the corrections", async || {
        let expected: Vec<Point> = telemetry(&server)
            .await
            .into_iter()
            .map(|point| {
                (
                    point.0,
                    point.1,
                    point.2,
                    point.3,
                    point.4,
                    point.5.map(|text| text.replace('\0', "\u{fffd}")),
                    point.6,
                    point.7,
                )
            })
            .collect();
        (history(&database).await == expected).then_some(expected)
    })
    .await;
    assert!(corrected.iter().filter(|point| !points.contains(point)).count() >= 5);
    until_the_rest_is_equal(&server, &database).await;

    let chunks = "SELECT count(*)::text FROM timescaledb_information.chunks
        WHERE hypertable_name = 'telemetry_history'";
    assert_eq!(database.rows(chunks).await, [[Some("2".to_owned())]], "2023 and 1601");
    let sink = until_sink(&server, "following", "").await;
    assert_eq!(sink["name"], "timescaledb");
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("millstream_sink_circuit_open{sink=\"timescaledb\"} 0"), "{metrics}");
    assert!(metrics.contains("millstream_sink_rows_total{"), "{metrics}");

    // A stop writes what is still under way.
    server.ingest(messages(100..140)).await;
    let expected = telemetry(&server).await.len();
    assert_eq!(server.terminate(), 0);
    assert_eq!(history(&database).await.len(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_the_program_loses_and_repeats_nothing() {
    let (plant, database) = (Plant::new(), Database::new().await);
    for round in 0..4 {
        let mut server = serve(&plant, &database.url());
        let (url, client) = (server.url.clone(), server.client.clone());
        let sender = tokio::spawn(async move {
            for request in 0.. {
                let start = round * 100_000 + request * 10;
                let body = messages(start..start + 10).to_string();
                let post = client.post(format!("{url}{INGEST}")).header("content-type", JSON);
                if post.body(body).send().await.is_err() {
                    return;
                }
            }
        });
        // In the middle of writing: rows come, and more are on their way.
        let before = history(&database).await.len();
        eventually("rows", async || (history(&database).await.len() > before).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(37 * round as u64)).await;
        server.kill();
        sender.await.unwrap();
    }
    let server = serve(&plant, &database.url());
    let points = until_equal(&server, &database).await;
    assert!(points.len() > 500, "{} points", points.len());
    until_the_rest_is_equal(&server, &database).await;
    assert_eq!(database.count("sink_cursors").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_away_is_caught_up_with() {
    let own = Arc::new(OwnServer::start());
    let (plant, database) = (Plant::new(), Database::on(&own.url).await);
    let server = serve(&plant, &database.url());
    server.ingest(messages(0..60)).await;
    until_equal(&server, &database).await;

    // A crash of the database; nobody at the doors notices.
    own.stop("immediate");
    server.ingest(messages(60..120)).await;
    until_sink(&server, "waiting", "connect").await;
    server.ingest(messages(40..70)).await;
    // The program restarts meanwhile: what it had in memory is in files now.
    assert_eq!(server.terminate(), 0);
    let server = serve(&plant, &database.url());
    server.ingest(messages(120..180)).await;
    server.ingest(message(1, 30, json!({"TEMP": 3}))).await;
    until_sink(&server, "waiting", "connect").await;
    own.again();
    let points = until_equal(&server, &database).await;
    assert!(points.len() > 1_000, "{} points", points.len());
    until_the_rest_is_equal(&server, &database).await;

    // Crashes and an orderly restart under load.
    for (round, mode) in (0..).zip(["immediate", "fast", "immediate"]) {
        let load = async {
            for step in 0..20 {
                let start = 200 * (round + 1) + 10 * step;
                server.ingest(messages(start..start + 10)).await;
            }
        };
        let own = Arc::clone(&own);
        let restart = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(100));
            own.stop(mode);
            own.again();
        });
        tokio::join!(load, async { restart.await.unwrap() });
    }
    until_equal(&server, &database).await;

    // A database that starts from nothing gets everything.
    let anew = Database::on(&own.url).await;
    assert_eq!(server.terminate(), 0);
    let server = serve(&plant, &anew.url());
    until_equal(&server, &anew).await;
    until_the_rest_is_equal(&server, &anew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_writer_stops_and_says_so() {
    let (plant, database) = (Plant::new(), Database::new().await);
    let server = serve(&plant, &database.url());
    server.ingest(messages(0..10)).await;
    let before = until_equal(&server, &database).await;
    let other = "UPDATE sink_cursors SET fence = fence + 1";
    assert_eq!(database.connect().await.execute(other, &[]).await.unwrap(), 1);
    server.ingest(messages(10..20)).await;
    until_sink(&server, "fenced", "another process took over").await;
    assert_eq!(history(&database).await, before);
    // Whoever starts last has it.
    assert_eq!(server.terminate(), 0);
    let server = serve(&plant, &database.url());
    assert!(until_equal(&server, &database).await.len() > before.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_is_told_and_tried_again() {
    let plant = Plant::new();
    for (url, part) in [
        ("postgres://millstream@", "no host"),
        ("postgres://millstream@db:high/history", "port"),
        ("database", "give postgres://"),
    ] {
        let finished = plant.run(&["serve", "--database-url", url]).expect(1);
        assert!(finished.err.contains(part), "{}", finished.err);
    }
    let closed = "postgres://millstream:secret@127.0.0.1:9/history";
    let server = serve(&plant, closed);
    let row = until_sink(&server, "waiting", "Connection refused").await;
    assert!(!row.to_string().contains("secret"), "{row}");
    server.ingest(messages(0..5)).await;
    assert_eq!(server.terminate(), 0);

    let refused = shared_server().replacen("millstream:millstream@", "millstream:wrong@", 1);
    let server = serve(&plant, &format!("{refused}/postgres"));
    until_sink(&server, "waiting", "give the right USER:PASSWORD").await;
    drop(server);
    let plain = format!("{}/postgres?sslmode=require", shared_server());
    let server = serve(&plant, &plain);
    until_sink(&server, "waiting", "TLS").await;

    // Without a database there is no row.
    drop(server);
    let server = plant.serve();
    assert_eq!(server.sql("SELECT * FROM millstream_sinks").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_fit_says_what_to_do() {
    let plant = Plant::new();
    let told = async |database: &str, part: &str| {
        let server = serve(&plant, database);
        let row = until_sink(&server, "waiting", part).await;
        // The rest goes on.
        server.ingest(messages(0..5)).await;
        assert!(!server.view("asset_metrics").await.is_empty());
        row["last_error"].as_str().unwrap().to_owned()
    };
    // Tables of somebody else, of a newer version, and of another program.
    let database = Database::new().await;
    let client = database.connect().await;
    client.batch_execute("CREATE TABLE telemetry_history (mine text)").await.unwrap();
    told(&database.url(), "give one of its own").await;
    let database = Database::new().await;
    assert_eq!(serve_until_following(&plant, &database).await.terminate(), 0);
    let client = database.connect().await;
    let newer = "INSERT INTO millstream_migrations
        SELECT 999, 'tomorrow', applied_on, checksum FROM millstream_migrations LIMIT 1";
    client.batch_execute(newer).await.unwrap();
    let error = told(&database.url(), "newer version of Millstream").await;
    assert!(error.contains("tomorrow"), "{error}");
    let other = "DELETE FROM millstream_migrations WHERE version = 999;
        UPDATE millstream_migrations SET checksum = '1' WHERE version = 1";
    client.batch_execute(other).await.unwrap();
    told(&database.url(), "not those of this program").await;
    // No such database, and a user who may not.
    told(&format!("{}/nowhere", shared_server()), "create the database").await;
    let database = Database::new().await;
    let client = database.connect().await;
    let role = format!("guest_{}", uuid::Uuid::now_v7().simple());
    client
        .batch_execute(&format!(
            "CREATE EXTENSION IF NOT EXISTS timescaledb;
            CREATE ROLE {role} LOGIN PASSWORD 'guest'"
        ))
        .await
        .unwrap();
    let guest = database.url().replacen("millstream:millstream@", &format!("{role}:guest@"), 1);
    told(&guest, "grant the user").await;
    client.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
    // A server without the extension.
    let own = OwnServer::start();
    let database = Database::on(&own.url).await;
    let client = database.connect().await;
    client
        .batch_execute("ALTER SYSTEM SET shared_preload_libraries = 'auto_explain'")
        .await
        .unwrap();
    own.stop("fast");
    own.again();
    told(&database.url(), "shared_preload_libraries").await;
}

async fn serve_until_following(plant: &Plant, database: &Database) -> Server {
    let server = serve(plant, &database.url());
    until_sink(&server, "following", "").await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_once() {
    let (plant, database) = (Plant::new(), Database::new().await);
    let folder = repository("schemas/timescale");
    let files = std::fs::read_dir(&folder).unwrap().count() as i64;
    for _ in 0..2 {
        let server = serve(&plant, &database.url());
        until_sink(&server, "following", "").await;
        assert_eq!(database.count("millstream_migrations").await, files);
        assert_eq!(server.terminate(), 0);
    }
    assert!(files > 0 && folder.starts_with(Path::new(env!("CARGO_MANIFEST_DIR"))));
}

/// A certificate for 127.0.0.1 as PEM: its authority, itself, its key.
fn certificate() -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (authority_pem, certificate.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_checked_and_spoken_to_in_tls() {
    let own = OwnServer::start();
    let (plant, database) = (Plant::new(), Database::on(&own.url).await);
    let (authority, certificate, key) = certificate();
    let client = database.connect().await;
    for (file, text) in [("server.crt", certificate), ("server.key", key)] {
        let lines = text.replace('\n', "|");
        let write =
            format!("COPY (SELECT '{lines}') TO PROGRAM 'umask 077; tr \"|\" \"\\n\" > {file}'");
        client.batch_execute(&write).await.unwrap();
    }
    client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    own.stop("fast");
    own.again();

    let server = serve(&plant, &database.url());
    until_sink(&server, "waiting", "give --database-ca").await;
    server.ingest(messages(0..10)).await;
    assert_eq!(server.terminate(), 0);
    let file = plant.path("authority.pem");
    std::fs::write(&file, authority).unwrap();
    let url = format!("{}?sslmode=require", database.url());
    let server = plant.serve_with(&["--database-url", &url, "--database-ca", text(&file)]);
    until_equal(&server, &database).await;
    let spoken = "SELECT ssl::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'millstream'";
    assert_eq!(database.rows(spoken).await, [[Some("true".to_owned())]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_deleted_in_the_database_too() {
    let (plant, database, url) = (Plant::new(), Database::new().await, Database::url);
    let delete = async |server: &Server, from: i64, to: i64| {
        let at = |second: i64| millstream::model::Timestamp((BASE + second) * 1_000_000);
        let (from, to) = (at(from), at(to));
        let path = format!("/api/v1/telemetry?device=PUMP-1&from={from}&to={to}&reason=test");
        let answer = server.send(reqwest::Method::DELETE, &path, &[], "").await.good();
        answer["points"].as_u64().unwrap()
    };
    let mut server = serve(&plant, &url(&database));
    server.ingest(messages(0..100)).await;
    let all = until_equal(&server, &database).await.len();
    assert_eq!(delete(&server, 60 * 30, 70 * 30).await, 30);
    assert_eq!(until_equal(&server, &database).await.len(), all - 30);
    // While the database is away: points that it has, points that it never had, and one that
    // comes again.
    server.kill();
    let mut server = plant.serve();
    server.ingest(messages(100..110)).await;
    assert_eq!(delete(&server, 95 * 30, 105 * 30).await, 30);
    server.ingest(message(1, 96 * 30, json!({"TEMP": 20}))).await;
    server.kill();
    assert_eq!(plant.serve().terminate(), 0);
    let server = serve(&plant, &url(&database));
    let left = until_equal(&server, &database).await;
    assert_eq!(left.len(), all + 60 - 30 - 30 + 1);
    // All of it is in files now, deleted points too: a new database gets what is left.
    assert_eq!(server.terminate(), 0);
    let fresh = Database::new().await;
    let server = serve(&plant, &url(&fresh));
    assert_eq!(until_equal(&server, &fresh).await, left);
    assert_eq!(delete(&server, 80 * 30, 10_000).await, 30 * 3 - 30 + 1);
    until_equal(&server, &fresh).await;
    until_the_rest_is_equal(&server, &fresh).await;
}
