//! The PostgreSQL door, by real clients: psql and tokio-postgres. What they read is what the HTTP door
//! says to the same query.

use crate::http::message;
use crate::support::*;
use serde_json::{Value, json};
use std::process::Command;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Row};

/// A plant with some telemetry, and its PostgreSQL door open.
async fn plant() -> (Plant, Server) {
    let plant = Plant::new();
    let server = plant.serve_with(&["--postgres", "127.0.0.1:0"]);
    let messages: Vec<Value> =
        (0..40).map(|i| message("PUMP-1", i * 10, 40.0 + i as f64 * 1.5)).collect();
    server.ingest(json!(messages)).await;
    (plant, server)
}

impl Server {
    fn postgres_port(&self) -> u16 {
        let address = self.postgres.as_deref().expect("a PostgreSQL door");
        address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// A connection of a client.
    async fn connected(&self) -> Client {
        let config = format!("host=127.0.0.1 port={} user=ana", self.postgres_port());
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// What PostgreSQL's own shell says to each of the commands, standard output and error together.
    fn psql(&self, commands: &[&str]) -> String {
        let target = format!("host=127.0.0.1 port={} user=ana", self.postgres_port());
        let mut psql = Command::new(repository("tests/timescale"));
        psql.args(["psql", "-X", &target]);
        for command in commands {
            psql.args(["-c", command]);
        }
        let output = psql.output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        String::from_utf8(told).unwrap()
    }
}

/// A value as the HTTP door would say it.
fn value(row: &Row, at: usize) -> Value {
    match *row.columns()[at].type_() {
        Type::BOOL => json!(row.get::<_, Option<bool>>(at)),
        Type::INT2 => json!(row.get::<_, Option<i16>>(at)),
        Type::INT4 => json!(row.get::<_, Option<i32>>(at)),
        Type::INT8 => json!(row.get::<_, Option<i64>>(at)),
        Type::FLOAT8 => json!(row.get::<_, Option<f64>>(at)),
        Type::TEXT => json!(row.get::<_, Option<String>>(at)),
        Type::FLOAT8_ARRAY => json!(row.get::<_, Option<Vec<Option<f64>>>>(at)),
        Type::TEXT_ARRAY => json!(row.get::<_, Option<Vec<Option<String>>>>(at)),
        Type::TIMESTAMPTZ => {
            json!(row.get::<_, Option<jiff::Timestamp>>(at).map(|time| time.to_string()))
        }
        ref other => panic!("no test reads {other}"),
    }
}

fn rows(rows: &[Row]) -> Vec<Vec<Value>> {
    rows.iter().map(|row| (0..row.len()).map(|at| value(row, at)).collect()).collect()
}

/// What the HTTP door says, its columns in order.
async fn by_http(server: &Server, query: &str) -> Vec<Vec<Value>> {
    let answer = server.post("/api/v1/sql", "text/plain", query.to_owned()).await.good();
    let names: Vec<&str> = answer["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    let row = |row: &Value| names.iter().map(|name| row[name].clone()).collect();
    answer["rows"].as_array().unwrap().iter().map(row).collect()
}

const QUESTIONS: [&str; 8] = [
    "SELECT * FROM assets ORDER BY key",
    "SELECT asset, asset_type, event_time, score, band FROM asset_health ORDER BY asset",
    "SELECT event_time, asset, device, metric, value, text, quality FROM telemetry \
     ORDER BY event_time, metric",
    "SELECT metric, avg(value), count(*), min(event_time), max(value) > 50 AS high FROM telemetry \
     GROUP BY metric ORDER BY metric",
    "SELECT 1 AS small, 2.5 AS number, true AS yes, NULL AS nothing, '' AS empty",
    "SELECT array_agg(value ORDER BY event_time) AS all_values FROM telemetry",
    "SELECT key FROM assets WHERE key = 'nobody'",
    "SELECT h.asset, a.asset_type FROM asset_health h JOIN assets a ON a.key = h.asset ORDER BY 1",
];

#[tokio::test]
async fn answers_are_those_of_the_http_door() {
    let (_plant, server) = plant().await;
    let client = server.connected().await;
    for question in QUESTIONS {
        let expected = by_http(&server, question).await;
        let found = client.query(question, &[]).await.unwrap_or_else(|e| panic!("{question}: {e}"));
        assert_eq!(rows(&found), expected, "{question}");
        // The same as text: every value is what it is in binary.
        let texts = client.simple_query(question).await.unwrap();
        let texts: Vec<_> = texts
            .iter()
            .filter_map(|told| match told {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect();
        assert_eq!(texts.len(), expected.len(), "{question}");
        for (text, expected) in texts.iter().zip(&expected) {
            for (at, expected) in expected.iter().enumerate() {
                let text = text.get(at);
                match expected {
                    Value::Null => assert_eq!(text, None, "{question}"),
                    Value::String(expected) => {
                        let same =
                            text == Some(expected) || instant(text) == instant(Some(expected));
                        assert!(same, "{question}: {text:?}, not {expected}");
                    }
                    Value::Bool(yes) => assert_eq!(text, Some(if *yes { "t" } else { "f" })),
                    Value::Number(number) => {
                        assert_eq!(
                            text.unwrap().parse::<f64>().ok(),
                            number.as_f64(),
                            "{question}"
                        );
                    }
                    _ => assert!(text.is_some_and(|text| text.starts_with('{'))),
                }
            }
        }
    }
}

/// The instant that a text says, as either door writes it.
fn instant(text: Option<&str>) -> Option<jiff::Timestamp> {
    text?.parse().ok()
}

#[tokio::test]
async fn psql_connects_and_asks() {
    let (_plant, server) = plant().await;
    let told =
        server.psql(&["SELECT count(*), avg(value) FROM telemetry WHERE metric = 'temperature'"]);
    assert!(told.contains(" count |  avg  \n"), "columns are called as in PostgreSQL: {told}");
    assert!(told.contains("    40 | 69.25"), "{told}");
    let told = server.psql(&["SELECT nosuch FROM assets"]);
    assert!(told.contains("LINE 1: SELECT nosuch FROM assets\n               ^"), "{told}");
    assert!(told.contains("HINT:  columns: assets.key"), "{told}");
}

#[tokio::test]
async fn errors_have_their_sqlstate() {
    let (_plant, server) = plant().await;
    let client = server.connected().await;
    let cases = [
        ("SELECT nosuch FROM assets", SqlState::UNDEFINED_COLUMN),
        ("SELECT * FROM asets", SqlState::UNDEFINED_TABLE),
        ("SELEC 1", SqlState::SYNTAX_ERROR),
        ("SELECT 1 +", SqlState::SYNTAX_ERROR),
        ("SELECT nofunction(1)", SqlState::UNDEFINED_FUNCTION),
        ("SELECT 1 / 0", SqlState::DIVISION_BY_ZERO),
        ("INSERT INTO assets VALUES ('x')", SqlState::READ_ONLY_SQL_TRANSACTION),
        ("DELETE FROM telemetry", SqlState::READ_ONLY_SQL_TRANSACTION),
        ("UPDATE assets SET key = 'x'", SqlState::READ_ONLY_SQL_TRANSACTION),
        ("DROP TABLE telemetry", SqlState::READ_ONLY_SQL_TRANSACTION),
        ("CREATE TABLE t (a int)", SqlState::READ_ONLY_SQL_TRANSACTION),
        ("COPY telemetry FROM STDIN", SqlState::READ_ONLY_SQL_TRANSACTION),
        ("SELECT * INTO t FROM assets", SqlState::READ_ONLY_SQL_TRANSACTION),
        ("SET nosuch = 1", SqlState::UNDEFINED_OBJECT),
        ("SELECT 'x'::int", SqlState::INVALID_TEXT_REPRESENTATION),
    ];
    for (question, state) in cases {
        for simple in [true, false] {
            let error = match simple {
                true => client.batch_execute(question).await.map(|()| Vec::new()),
                false => client.query(question, &[]).await,
            };
            let error = error.err().unwrap_or_else(|| panic!("{question} is answered"));
            let found = error.as_db_error().unwrap_or_else(|| panic!("{question}: {error}"));
            assert_eq!(*found.code(), state, "{question}: {found}");
        }
        assert_eq!(rows(&client.query("SELECT 1 AS x", &[]).await.unwrap()), [[json!(1)]]);
    }
}
