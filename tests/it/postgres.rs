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
pub async fn plant() -> (Plant, Server) {
    let plant = Plant::new();
    let server = plant.serve_with(&["--postgres", "127.0.0.1:0"]);
    let messages: Vec<Value> =
        (0..40).map(|i| message("PUMP-1", i * 10, 40.0 + i as f64 * 1.5)).collect();
    server.ingest(json!(messages)).await;
    (plant, server)
}

impl Server {
    pub fn postgres_port(&self) -> u16 {
        let address = self.postgres.as_deref().expect("a PostgreSQL door");
        address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// A connection of a client.
    pub async fn connected(&self) -> Client {
        self.connects("user=ana").await.unwrap()
    }

    /// An attempt to connect with these words besides.
    pub async fn connects(&self, words: &str) -> Result<Client, tokio_postgres::Error> {
        let config = format!("host=127.0.0.1 port={} {words}", self.postgres_port());
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// What PostgreSQL's own shell says to each of the commands, standard output and error together.
    pub fn psql(&self, commands: &[&str]) -> String {
        self.psql_with("", commands)
    }

    fn psql_with(&self, words: &str, commands: &[&str]) -> String {
        let target = format!("host=127.0.0.1 port={} user=ana {words}", self.postgres_port());
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

pub fn rows(rows: &[Row]) -> Vec<Vec<Value>> {
    rows.iter().map(|row| (0..row.len()).map(|at| value(row, at)).collect()).collect()
}

/// What the HTTP door says, its columns in order.
pub async fn by_http(server: &Server, query: &str) -> Vec<Vec<Value>> {
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

pub const QUESTIONS: [&str; 11] = [
    "SELECT * FROM assets ORDER BY key",
    "SELECT asset, asset_type, event_time, score, band FROM asset_health ORDER BY asset",
    "SELECT event_time, asset, device, metric, value, text, quality FROM telemetry \
     ORDER BY event_time, metric",
    "SELECT metric, avg(value), count(*), min(event_time), max(value) > 50 AS high FROM telemetry \
     GROUP BY metric ORDER BY metric",
    "SELECT 1 AS small, 2.5 AS number, true AS yes, NULL AS nothing, '' AS empty",
    "SELECT array_agg(value ORDER BY event_time) AS all_values FROM telemetry",
    "SELECT key FROM assets WHERE key = 'nobody'",
    "SELECT event_time, asset, temperature FROM pump ORDER BY event_time",
    "SELECT metric, count(*) AS points FROM telemetry AS OF SYSTEM TIME 'now' GROUP BY 1 ORDER BY 1",
    "SELECT time_bucket('1 minute', event_time) AS minute, last(value, event_time) AS newest \
     FROM telemetry WHERE metric = 'temperature' GROUP BY 1 ORDER BY 1",
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

/// The SQLSTATE of an error.
#[track_caller]
pub fn state<T>(result: Result<T, tokio_postgres::Error>) -> SqlState {
    let error = result.err().expect("an error");
    error.code().unwrap_or_else(|| panic!("no SQLSTATE: {error:?}")).clone()
}

#[tokio::test]
async fn parameters_have_types() {
    let (_plant, server) = plant().await;
    let client = server.connected().await;
    let prepared = client
        .prepare(
            "SELECT count(*) FROM telemetry \
             WHERE asset = $1 AND value > $2 AND event_time >= $3 AND quality < $4",
        )
        .await
        .unwrap();
    let expected = [Type::TEXT, Type::FLOAT8, Type::TIMESTAMPTZ, Type::INT8];
    assert_eq!(prepared.params(), expected);
    let from: jiff::Timestamp = jiff::Timestamp::from_second(BASE + 100).unwrap();
    let found = client.query_one(&prepared, &[&"pump-1", &70.0, &from, &1_000_i64]).await.unwrap();
    let literal = format!(
        "SELECT count(*) AS n FROM telemetry WHERE asset = 'pump-1' AND value > 70 \
         AND event_time >= '{from}' AND quality < 1000"
    );
    let expected = &by_http(&server, &literal).await[0][0];
    assert_eq!(json!(found.get::<_, i64>(0)), *expected);
    assert!(expected.as_i64().unwrap() > 0, "the question asks for something");

    let one = |question: &'static str, kind: Type| {
        let client = &client;
        async move {
            let prepared = client.prepare(question).await.unwrap();
            assert_eq!(prepared.params(), [kind], "{question}");
            prepared
        }
    };
    let cast = one("SELECT $1::bigint + 1 AS next", Type::INT8).await;
    assert_eq!(client.query_one(&cast, &[&41_i64]).await.unwrap().get::<_, i64>(0), 42);
    let any = one("SELECT key FROM assets WHERE key = ANY($1) ORDER BY 1", Type::TEXT_ARRAY).await;
    let keys = vec!["pump-1", "nobody"];
    assert_eq!(rows(&client.query(&any, &[&keys]).await.unwrap()), [[json!("pump-1")]]);
    let null = one("SELECT $1 AS it", Type::TEXT).await;
    let none: Option<&str> = None;
    assert_eq!(rows(&client.query(&null, &[&none]).await.unwrap()), [[Value::Null]]);
    // A value cannot end its quotes: it is bound, not written into the text.
    let found = client.query_one("SELECT $1::text AS it", &[&"'; DROP TABLE x; --"]).await.unwrap();
    assert_eq!(found.get::<_, &str>(0), "'; DROP TABLE x; --");
    assert_eq!(state(client.prepare("SELECT $0").await), SqlState::UNDEFINED_PARAMETER);
    assert_eq!(state(client.prepare("SELECT 1; SELECT 2").await), SqlState::SYNTAX_ERROR);
}

#[tokio::test]
async fn portals_are_read_piece_by_piece() {
    let (_plant, server) = plant().await;
    let mut client = server.connected().await;
    let question = "SELECT event_time, value FROM telemetry ORDER BY event_time, metric";
    let expected = rows(&client.query(question, &[]).await.unwrap());
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind(question, &[]).await.unwrap();
    let other = transaction.bind("SELECT 1 AS x", &[]).await.unwrap();
    let mut found = Vec::new();
    loop {
        let piece = transaction.query_portal(&portal, 7).await.unwrap();
        assert!(piece.len() <= 7);
        if piece.is_empty() {
            break;
        }
        found.extend(rows(&piece));
        // Another portal is read in between.
        transaction.query_portal(&other, 1).await.unwrap();
    }
    assert_eq!(found, expected);
    assert!(found.len() > 20);
    transaction.commit().await.unwrap();
    let gone = client.simple_query("SELECT 1").await;
    assert!(gone.is_ok());
}

#[tokio::test]
async fn transactions_do_nothing_but_fail_as_a_whole() {
    let (_plant, server) = plant().await;
    let client = server.connected().await;
    client.batch_execute("BEGIN; SAVEPOINT a; SELECT 1; RELEASE a; COMMIT").await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(state(client.batch_execute("SELECT nosuch").await), SqlState::UNDEFINED_COLUMN);
    let refused = state(client.batch_execute("SELECT 1").await);
    assert_eq!(refused, SqlState::IN_FAILED_SQL_TRANSACTION);
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    client
        .batch_execute(
            "SET search_path TO public; SET client_encoding = 'UTF8'; SET TIME ZONE 'UTC'; \
             SET application_name = 'test'; SET extra_float_digits = 3; SHOW search_path; \
             RESET ALL; DISCARD ALL",
        )
        .await
        .unwrap();
    let zone = client.query_one("SHOW timezone", &[]).await.unwrap();
    assert_eq!(zone.get::<_, &str>(0), "UTC");
}

/// A question that takes longer than anybody waits, in little memory: 40^7 rows are counted.
pub const ENDLESS: &str = "SELECT count(*) FROM telemetry a LEFT JOIN (telemetry b LEFT JOIN \
                       (telemetry c LEFT JOIN (telemetry d LEFT JOIN (telemetry e LEFT JOIN \
                       (telemetry f LEFT JOIN telemetry g ON f.value < g.value + 999) \
                       ON e.value < f.value + 999) ON d.value < e.value + 999) \
                       ON c.value < d.value + 999) ON b.value < c.value + 999) \
                       ON a.value < b.value + 999";
/// The same, with all of it in memory.
const LARGE: &str = "SELECT * FROM telemetry a, telemetry b, telemetry c, telemetry d, telemetry e, \
                     telemetry f, telemetry g ORDER BY a.value + b.value";

#[tokio::test]
async fn a_running_question_can_be_cancelled() {
    let (_plant, server) = plant().await;
    for simple in [true, false] {
        let client = server.connected().await;
        let token = client.cancel_token();
        let asked = async {
            match simple {
                true => client.batch_execute(ENDLESS).await,
                false => client.query(ENDLESS, &[]).await.map(|_| ()),
            }
        };
        let cancelling = async {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                token.cancel_query(NoTls).await.unwrap();
            }
        };
        let ended = tokio::select! {
            ended = asked => ended,
            () = cancelling => unreachable!("it asks again and again"),
        };
        assert_eq!(state(ended), SqlState::QUERY_CANCELED);
        client.batch_execute("SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_timeout_ends_a_question() {
    let (_plant, server) = plant().await;
    let client = server.connects("user=ana options='-c statement_timeout=300ms'").await.unwrap();
    assert_eq!(state(client.batch_execute(ENDLESS).await), SqlState::QUERY_CANCELED);
    client.batch_execute("SET statement_timeout = 0").await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn what_would_take_too_much_is_refused() {
    let (_plant, server) = plant().await;
    let client = server.connected().await;
    let chain = format!("SELECT {}", vec!["1"; 2_001].join(" + "));
    let deep = format!("SELECT {}1{}", "(".repeat(1_000), ")".repeat(1_000));
    let long = format!("SELECT '{}'", "x".repeat(70_000));
    let subqueries = format!("{}SELECT 1{}", "SELECT (".repeat(200), ")".repeat(200));
    let cases: [(&str, SqlState); 8] = [
        (&chain, SqlState::PROGRAM_LIMIT_EXCEEDED),
        (&deep, SqlState::PROGRAM_LIMIT_EXCEEDED),
        (&long, SqlState::PROGRAM_LIMIT_EXCEEDED),
        (&subqueries, SqlState::PROGRAM_LIMIT_EXCEEDED),
        ("SELECT * FROM generate_series(1, 1000000000)", SqlState::FEATURE_NOT_SUPPORTED),
        ("SELECT generate_series(1, 1000000000)", SqlState::FEATURE_NOT_SUPPORTED),
        ("SELECT repeat('x', 1000000000)", SqlState::FEATURE_NOT_SUPPORTED),
        (
            "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT * FROM r) SELECT * FROM r",
            SqlState::FEATURE_NOT_SUPPORTED,
        ),
    ];
    for (question, expected) in cases {
        let shown = &question[..question.len().min(60)];
        assert_eq!(state(client.batch_execute(question).await), expected, "{shown}");
        assert_eq!(state(client.prepare(question).await), expected, "{shown}");
        // The same about the catalog, which is read by another parser.
        let about = format!("{question} -- pg_class");
        assert_eq!(state(client.batch_execute(&about).await), expected, "{shown}");
    }
    assert_eq!(state(client.batch_execute(LARGE).await), SqlState::OUT_OF_MEMORY);
    let huge = format!("SELECT 1 -- {}", "x".repeat(2 << 20));
    assert!(client.batch_execute(&huge).await.is_err(), "a message of 2 MiB");
    eventually("the end", async || client.is_closed().then_some(())).await;
    server.connected().await.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn connections_are_counted() {
    let (_plant, server) = plant().await;
    let mut clients = Vec::new();
    for _ in 0..millstream::serve::POSTGRES_CONNECTIONS {
        clients.push(server.connected().await);
    }
    assert_eq!(state(server.connects("user=ana").await), SqlState::TOO_MANY_CONNECTIONS);
    drop(clients.pop());
    let again = eventually("room", async || server.connects("user=ana").await.ok()).await;
    again.batch_execute("SELECT 1").await.unwrap();
    // Those that are open do not hold up the end.
    let idle = clients.pop().unwrap();
    assert_eq!(server.terminate(), 0);
    assert!(idle.batch_execute("SELECT 1").await.is_err());
}

#[tokio::test]
async fn statements_and_portals_are_counted() {
    let (_plant, server) = plant().await;
    let client = server.connected().await;
    let mut kept = Vec::new();
    let refused = loop {
        match client.prepare(&format!("SELECT {} AS x", kept.len())).await {
            Ok(prepared) => kept.push(prepared),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code(), Some(&SqlState::CONFIGURATION_LIMIT_EXCEEDED));
    assert_eq!(kept.len(), millstream::serve::POSTGRES_HELD);
    drop(kept);
    client.prepare("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn python_asks_and_reflects() {
    let (_plant, server) = plant().await;
    let script = repository("tests/data/clients/analyst.py");
    let mut python = Command::new(repository("tests/python"));
    let output = python.arg(script).arg(server.postgres_port().to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ask = async |query: &str| by_http(&server, query).await;
    let mean = ask("SELECT avg(value) AS mean FROM telemetry WHERE asset = 'pump-1' \
         AND event_time >= '2023-11-14T22:15:00Z' AND value < 90");
    assert_eq!(said["mean"], mean.await[0][0]);
    assert_eq!(said["some"], json!(["pump-1"]));
    assert_eq!(said["first"], json!([40.0, BASE as f64]));
    assert!(said["wrong"].as_str().unwrap().contains("columns: assets.key"), "{said}");
    assert_eq!(said["nested"], 1);
    let values = ask("SELECT value FROM telemetry WHERE value > 45 ORDER BY value").await;
    assert_eq!(said["named"], json!(values.concat()), "a named cursor");
    let lines: Vec<String> = ask("SELECT key FROM assets ORDER BY key")
        .await
        .concat()
        .iter()
        .map(|key| format!("{},1\n", key.as_str().unwrap()))
        .collect();
    assert_eq!(said["copied"], lines.concat());
    let views = server.get("/api/v1/views").await.good();
    for view in views["views"].as_array().unwrap() {
        assert!(said["views"].as_array().unwrap().contains(&view["name"]), "{view} in {said}");
    }
    assert_eq!(said["tables"], json!(["telemetry"]));
    assert_eq!(said["schemas"], json!(["information_schema", "public"]));
    let columns = ask("SHOW COLUMNS FROM telemetry").await;
    let told = said["columns"].as_array().unwrap();
    assert_eq!(told.len(), columns.len());
    for (told, column) in told.iter().zip(&columns) {
        assert_eq!(told[0], column[0]);
        assert_eq!(told[2], column[2] == "YES", "{told}");
    }
    assert_eq!(told[0][1], "TIMESTAMP");
    assert_eq!(told[4][1], "DOUBLE PRECISION");
    assert_eq!(said["keys"], json!([[], [], [], [], []]), "there are neither keys nor indexes");
    let means =
        "SELECT asset, avg(value) AS mean FROM telemetry WHERE value > 50 GROUP BY 1 ORDER BY 1";
    assert_eq!(said["means"], json!(ask(means).await));
    let bound = ask("SELECT count(*) AS n FROM telemetry WHERE value > 50").await;
    assert_eq!(said["bound"], bound[0][0]);
}

/// What tools ask before they show anything: Grafana, DBeaver, JDBC.
const INTROSPECTION: [(&str, &str); 9] = [
    ("SELECT current_setting('server_version_num')::int/100 AS version", "1600"),
    ("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'", ""),
    (
        "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" \
         FROM information_schema.columns \
         WHERE CASE WHEN array_length(parse_ident('telemetry'),1) = 2 \
         THEN quote_ident(table_schema) = (parse_ident('telemetry'))[1] \
         AND quote_ident(table_name) = (parse_ident('telemetry'))[2] \
         ELSE quote_ident(table_name) = 'telemetry' AND quote_ident(table_schema) IN \
         (SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END \
         FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1), \
         array_upper(string_to_array(current_setting('search_path'),','),1)) as i, \
         string_to_array(current_setting('search_path'),',') s) END",
        "event_time timestamp with time zone",
    ),
    (
        "SELECT floor(extract(epoch from event_time)/300)*300 AS \"time\", asset AS metric, \
         avg(value) AS v FROM telemetry WHERE event_time BETWEEN '2023-11-14T22:00:00Z' \
         AND '2023-11-14T22:14:00Z' GROUP BY 1,2 ORDER BY 1,2",
        "1699999800 pump-1 43",
    ),
    (
        "SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN \
         pg_catalog.pg_description d ON d.objoid=n.oid AND d.objsubid=0 \
         AND d.classoid='pg_namespace'::regclass ORDER BY nspname",
        "public",
    ),
    (
        "SELECT c.oid,c.*,d.description,pg_catalog.pg_get_expr(c.relpartbound, c.oid) as \
         partition_expr, pg_catalog.pg_get_partkeydef(c.oid) as partition_key FROM \
         pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid \
         AND d.objsubid=0 AND d.classoid='pg_class'::regclass \
         WHERE c.relname='asset_health' AND c.relkind not in ('i','I','c')",
        "asset_health",
    ),
    ("SELECT relname FROM pg_class WHERE oid = 'asset_health'::regclass", "asset_health"),
    ("SELECT current_database(), current_schema(), pg_is_in_recovery()", "millstream public f"),
    ("SELECT '{\"a\": 1}'::json", "{\"a\": 1}"),
];

#[tokio::test]
async fn tools_find_their_way() {
    let (_plant, server) = plant().await;
    let client = server.connected().await;
    for (question, expected) in INTROSPECTION {
        let said = client.simple_query(question).await;
        let said = said.unwrap_or_else(|error| panic!("{question}: {error:?}"));
        let lines: Vec<String> = said
            .iter()
            .filter_map(|said| match said {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .map(|row| (0..row.len()).filter_map(|at| row.get(at)).collect::<Vec<_>>().join(" "))
            .collect();
        match expected {
            "" => assert_eq!(lines, [""; 0], "{question}"),
            expected => {
                assert!(lines.iter().any(|line| line.contains(expected)), "{question}: {lines:?}")
            }
        }
    }
}

#[tokio::test]
async fn psql_describes_tables() {
    let (_plant, server) = plant().await;
    let views = server.get("/api/v1/views").await.good();
    let listed = server.psql(&["\\d"]);
    for view in views["views"].as_array().unwrap() {
        let line = format!(" public | {} ", view["name"].as_str().unwrap());
        assert!(listed.contains(&line), "{line} in {listed}");
    }
    let (tables, views) = (server.psql(&["\\dt"]), server.psql(&["\\dv"]));
    assert!(tables.contains("| telemetry | table |") && tables.contains("(1 row)"), "{tables}");
    assert!(views.contains("| asset_health ") && !views.contains("telemetry"), "{views}");
    for command in ["\\d asset_health", "\\d+ asset_health"] {
        let told = server.psql(&[command]);
        assert!(told.contains("View \"public.asset_health\""), "{told}");
        assert!(told.contains(" score         | double precision "), "{told}");
        assert!(
            told.contains(" asset         | text                     |           | not null |"),
            "{told}"
        );
        assert!(!told.contains("ERROR"), "{told}");
    }
    for command in ["\\l", "\\dn", "\\du", "\\dt+", "\\di", "\\d+ telemetry", "\\dx", "\\conninfo"]
    {
        let told = server.psql(&[command]);
        assert!(!told.contains("ERROR"), "{command}: {told}");
    }
}

/// A line for the users file, as the program makes it.
pub fn user(name: &str, password: &str) -> String {
    use std::io::Write;
    let mut child = program()
        .args(["postgres-user", name])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[tokio::test]
async fn users_come_in_by_their_passwords() {
    let plant = Plant::new();
    let file = plant.path("users");
    std::fs::write(&file, user("ana", "s3cret") + &user("bo", "päss wörd")).unwrap();
    // With users, any address may be listened on.
    let server = plant.serve_with(&["--postgres", "0.0.0.0:0", "--postgres-users", text(&file)]);
    for words in ["user=ana password=s3cret", "user=bo password='päss wörd'"] {
        let client = server.connects(words).await.unwrap();
        client.batch_execute("SELECT * FROM assets").await.unwrap();
        // The one who came in can end what runs; nobody else has the key.
        client.cancel_token().cancel_query(NoTls).await.unwrap();
        eventually("an answer", async || client.batch_execute("SELECT 1").await.ok()).await;
    }
    for words in
        ["user=ana password=wrong", "user=nobody password=s3cret", "user=bo password=s3cret"]
    {
        assert_eq!(state(server.connects(words).await), SqlState::INVALID_PASSWORD, "{words}");
    }
    let told = server.psql_with("password=s3cret", &["SELECT 41 + 1 AS answer"]);
    assert!(told.contains("    42\n"), "{told}");
}

#[tokio::test]
async fn with_a_certificate_everything_is_encrypted() {
    let plant = Plant::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (plant.path("cert.pem"), plant.path("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = ["--postgres-tls-cert", text(&certificate), "--postgres-tls-key", text(&key)];
    let server = plant.serve_with(&[&["--postgres", "127.0.0.1:0"], &tls[..]].concat());
    let refused = state(server.connects("user=ana sslmode=disable").await);
    assert_eq!(refused, SqlState::INVALID_AUTHORIZATION_SPECIFICATION);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(config);
    let port = server.postgres_port();
    let words = format!("host=localhost hostaddr=127.0.0.1 port={port} user=ana sslmode=require");
    let (client, connection) = tokio_postgres::connect(&words, tls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(rows(&client.query("SELECT 1 AS x", &[]).await.unwrap()), [[json!(1)]]);
}

#[test]
fn doors_that_let_everybody_in_do_not_open() {
    let plant = Plant::new();
    let refused = |args: &[&str]| {
        plant.run(&[&["serve", "--listen", "127.0.0.1:0"], args].concat()).expect(1).err
    };
    let told = refused(&["--postgres", "0.0.0.0:0"]);
    assert!(told.contains("--postgres-users") && told.contains("127.0.0.1"), "{told}");
    let file = plant.path("users");
    std::fs::write(&file, "ana:s3cret\n").unwrap();
    let told = refused(&["--postgres", "127.0.0.1:0", "--postgres-users", text(&file)]);
    assert!(told.contains("line 1") && told.contains("millstream postgres-user"), "{told}");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (plant.path("cert.pem"), plant.path("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    let tls = ["--postgres-tls-cert", text(&certificate), "--postgres-tls-key", text(&key)];
    let told = refused(&[&["--postgres", "127.0.0.1:0"], &tls[..]].concat());
    assert!(told.contains("the certificate and its key"), "{told}");
    std::fs::write(&key, "nothing").unwrap();
    let told = refused(&[&["--postgres", "127.0.0.1:0"], &tls[..]].concat());
    assert!(told.contains("key.pem"), "{told}");
}
