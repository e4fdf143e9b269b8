//! The Flight SQL door, by real clients: that of arrow-rs, and ADBC in Python. What they read is what
//! the HTTP door says to the same query.

use crate::http::message;
use crate::postgres::{ENDLESS, QUESTIONS, user};
use crate::support::*;
use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, TimeUnit};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, SqlInfo};
use arrow_flight::{CancelFlightInfoRequest, CancelStatus, FlightClient, FlightInfo, Ticket};
use futures::TryStreamExt;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

type Client = FlightSqlServiceClient<Channel>;

/// A plant with some telemetry, and its Flight SQL door open.
async fn plant() -> (Plant, Server) {
    let plant = Plant::new();
    let server = plant.serve_with(&["--flight", "127.0.0.1:0"]);
    fill(&server).await;
    (plant, server)
}

async fn fill(server: &Server) {
    let messages: Vec<Value> =
        (0..40).map(|i| message("PUMP-1", i * 10, 40.0 + i as f64 * 1.5)).collect();
    server.ingest(json!(messages)).await;
}

impl Server {
    fn flight_port(&self) -> u16 {
        let address = self.flight.as_deref().expect("a Flight SQL door");
        address.rsplit(':').next().unwrap().parse().unwrap()
    }

    async fn flight_channel(&self) -> Channel {
        let address = format!("http://127.0.0.1:{}", self.flight_port());
        Endpoint::from_shared(address).unwrap().connect().await.unwrap()
    }

    async fn flight_client(&self) -> Client {
        FlightSqlServiceClient::new(self.flight_channel().await)
    }
}

/// The rows of an answer, whose columns must be those that were told.
async fn fetched(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
    let told = info.clone().try_decode_schema().unwrap();
    let ticket: Ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        assert_eq!(*batch.schema(), told);
        batches.push(batch);
    }
    assert_eq!(**stream.schema().expect("columns"), told);
    Ok(batches)
}

async fn asked(client: &mut Client, query: &str) -> Result<Vec<RecordBatch>, FlightError> {
    let info = client.execute(query.to_owned(), None).await?;
    fetched(client, info).await
}

/// Rows as the HTTP door writes them.
fn rows(batches: &[RecordBatch]) -> Value {
    use arrow::json::writer::{JsonArray, WriterBuilder};
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    let bytes = writer.into_inner();
    if bytes.is_empty() { json!([]) } else { serde_json::from_slice(&bytes).unwrap() }
}

/// The code and the words of an error.
#[track_caller]
fn status<T>(result: Result<T, FlightError>) -> (Code, String) {
    match result.err().expect("an error") {
        FlightError::Tonic(status) => (status.code(), status.message().to_owned()),
        other => panic!("no status: {other:?}"),
    }
}

#[tokio::test]
async fn answers_are_those_of_the_http_door() {
    let (_plant, server) = plant().await;
    let mut client = server.flight_client().await;
    let more =
        ["SHOW TABLES", "SHOW COLUMNS FROM telemetry", "DESCRIBE assets", "EXPLAIN SELECT 1"];
    for question in QUESTIONS.into_iter().chain(more) {
        let expected = server.post("/api/v1/sql", "text/plain", question.to_owned()).await.good();
        let found = asked(&mut client, question).await;
        let found = found.unwrap_or_else(|error| panic!("{question}: {error}"));
        assert_eq!(rows(&found), expected["rows"], "{question}");
        let mut prepared = client.prepare(question.to_owned(), None).await.unwrap();
        let names: Vec<Value> = prepared
            .dataset_schema()
            .unwrap()
            .fields()
            .iter()
            .map(|field| json!(field.name()))
            .collect();
        let told = expected["columns"].as_array().unwrap().iter();
        assert_eq!(names, told.map(|column| column["name"].clone()).collect::<Vec<_>>());
        let info = prepared.execute().await.unwrap();
        let found = fetched(&mut client, info).await.unwrap();
        assert_eq!(rows(&found), expected["rows"], "{question}");
        prepared.close().await.unwrap();
    }
}

#[tokio::test]
async fn parameters_have_types() {
    let (_plant, server) = plant().await;
    let mut client = server.flight_client().await;
    let asks = "SELECT count(*) AS n FROM telemetry \
                WHERE asset = $1 AND value > $2 AND event_time >= $3 AND quality < $4";
    let mut prepared = client.prepare(asks.to_owned(), None).await.unwrap();
    let wanted = prepared.parameter_schema().unwrap().clone();
    let wanted: Vec<&DataType> = wanted.fields().iter().map(|field| field.data_type()).collect();
    assert_eq!(wanted.len(), 4);
    assert_eq!(*wanted[1], DataType::Float64);
    assert!(matches!(wanted[2], DataType::Timestamp(TimeUnit::Microsecond, Some(_))));
    let one = |values: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(values).unwrap();
    let number = |n: i64| Arc::new(Int64Array::from(vec![n])) as ArrayRef;
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let from = jiff::Timestamp::from_second(BASE + 100).unwrap().to_string();
    let expected = server
        .sql(&format!(
            "SELECT count(*) AS n FROM telemetry WHERE asset = 'pump-1' AND value > 70 \
             AND event_time >= '{from}' AND quality < 1000"
        ))
        .await;
    assert!(expected[0]["n"].as_i64().unwrap() > 0, "the question asks for something");
    // A whole number for a double, a text for a time: they become of the type that is wanted.
    let values = one(vec![
        ("1", text("pump-1")),
        ("2", number(70)),
        ("3", text(&from)),
        ("4", number(1000)),
    ]);
    prepared.set_parameters(values).unwrap();
    let info = prepared.execute().await.unwrap();
    let found = fetched(&mut client, info.clone()).await.unwrap();
    assert_eq!(rows(&found), json!(expected));
    // A ticket keeps the values that it was given for.
    let other = one(vec![
        ("1", text("nobody")),
        ("2", number(70)),
        ("3", text(&from)),
        ("4", number(1000)),
    ]);
    prepared.set_parameters(other).unwrap();
    let second = prepared.execute().await.unwrap();
    assert_eq!(rows(&fetched(&mut client, second).await.unwrap()), json!([{"n": 0}]));
    assert_eq!(rows(&fetched(&mut client, info).await.unwrap()), json!(expected));
    prepared.close().await.unwrap();

    let mut next = client
        .prepare("SELECT ? AS it, $2::bigint + 1 AS next, ? AS last".into(), None)
        .await
        .unwrap();
    let mixed = one(vec![("a", text("x")), ("b", number(41))]);
    next.set_parameters(mixed).unwrap();
    let info = next.execute().await.unwrap();
    let found = fetched(&mut client, info).await.unwrap();
    assert_eq!(rows(&found), json!([{"it": "x", "next": 42, "last": 41}]));

    // Values that do not fit, that are missing, and more than one row of them.
    let half = Arc::new(Float64Array::from(vec![0.5])) as ArrayRef;
    for (wrong, told) in [
        (one(vec![("a", text("x"))]), "1 values for 2 parameters"),
        (one(vec![("a", half), ("b", text("forty"))]), "not of type"),
        (one(vec![("a", Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef)]), "one row"),
    ] {
        next.set_parameters(wrong).unwrap();
        let failed = match next.execute().await {
            Ok(info) => fetched(&mut client, info).await,
            Err(error) => Err(error),
        };
        let (code, message) = status(failed);
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.contains(told), "{message}");
    }
}

#[tokio::test]
async fn errors_have_their_code() {
    let (_plant, server) = plant().await;
    let mut client = server.flight_client().await;
    let chain = format!("SELECT {}", vec!["1"; 2_001].join(" + "));
    let cases = [
        ("SELECT nosuch FROM assets", Code::NotFound, "columns: assets.key"),
        ("SELECT * FROM asets", Code::NotFound, "tables: "),
        ("SELEC 1", Code::InvalidArgument, "syntax"),
        ("SELECT nofunction(1)", Code::InvalidArgument, "nofunction"),
        ("DELETE FROM telemetry", Code::InvalidArgument, "is not a query"),
        ("CREATE TABLE t (a int)", Code::InvalidArgument, "is not a query"),
        ("SELECT 1; SELECT 2", Code::InvalidArgument, "more than one statement"),
        ("SELECT 1 / 0", Code::OutOfRange, "Divide by zero"),
        ("SELECT $1", Code::InvalidArgument, "0 values for 1 parameters"),
        (&chain, Code::ResourceExhausted, "operators"),
    ];
    for (question, expected, told) in cases {
        let (code, message) = status(asked(&mut client, question).await);
        let shown = &question[..question.len().min(60)];
        assert_eq!(code, expected, "{shown}: {message}");
        assert!(message.contains(told), "{shown}: {message}");
    }
    let update = client.execute_update("DELETE FROM telemetry".into(), None).await;
    let (code, message) = status(update);
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    let long = format!("SELECT 1 -- {}", "x".repeat(2 << 20));
    assert!(asked(&mut client, &long).await.is_err(), "a message of 2 MiB");
    assert_eq!(rows(&asked(&mut client, "SELECT 1 AS x").await.unwrap()), json!([{"x": 1}]));
}

#[tokio::test]
async fn what_there_is_can_be_asked() {
    let (_plant, server) = plant().await;
    let mut client = server.flight_client().await;
    let info = client.get_catalogs().await.unwrap();
    let catalogs = rows(&fetched(&mut client, info).await.unwrap());
    assert_eq!(catalogs, json!([{"catalog_name": "millstream"}]));
    let all = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let info = client.get_db_schemas(all).await.unwrap();
    let schemas = rows(&fetched(&mut client, info).await.unwrap());
    assert_eq!(schemas, json!([{"catalog_name": "millstream", "db_schema_name": "public"}]));
    let info = client.get_table_types().await.unwrap();
    let types = rows(&fetched(&mut client, info).await.unwrap());
    assert_eq!(types, json!([{"table_type": "TABLE"}, {"table_type": "VIEW"}]));

    let tables = |pattern: Option<&str>, include_schema| CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: None,
        table_name_filter_pattern: pattern.map(str::to_owned),
        table_types: Vec::new(),
        include_schema,
    };
    let info = client.get_tables(tables(None, false)).await.unwrap();
    let found = rows(&fetched(&mut client, info).await.unwrap());
    let told = |kind: &str| -> Vec<String> {
        let of_kind = found.as_array().unwrap().iter().filter(|table| table["table_type"] == kind);
        of_kind.map(|table| table["table_name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(told("TABLE"), ["telemetry"]);
    let views = server.get("/api/v1/views").await.good();
    for view in views["views"].as_array().unwrap() {
        assert!(told("VIEW").contains(&view["name"].as_str().unwrap().to_owned()), "{view}");
    }
    // The schema of a table is that of its rows.
    for table in ["telemetry", "asset_health", "pump"] {
        let info = client.get_tables(tables(Some(table), true)).await.unwrap();
        let found = fetched(&mut client, info).await.unwrap();
        let schema = found[0].column_by_name("table_schema").unwrap();
        let schema = schema.as_any().downcast_ref::<arrow::array::BinaryArray>().unwrap();
        let message = arrow_flight::IpcMessage(schema.value(0).to_vec().into());
        let schema = arrow::datatypes::Schema::try_from(message).unwrap();
        let rows = client.execute(format!("SELECT * FROM {table}"), None).await.unwrap();
        assert_eq!(schema, rows.try_decode_schema().unwrap(), "{table}");
    }
    let keys = CommandGetPrimaryKeys { catalog: None, db_schema: None, table: "telemetry".into() };
    let info = client.get_primary_keys(keys).await.unwrap();
    assert_eq!(rows(&fetched(&mut client, info).await.unwrap()), json!([]));
    let wanted = vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly];
    let info = client.get_sql_info(wanted).await.unwrap();
    let found = fetched(&mut client, info).await.unwrap();
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
}

#[tokio::test]
async fn an_answer_streams_and_can_be_cancelled() {
    let (_plant, server) = plant().await;
    let mut client = server.flight_client().await;
    let many =
        "SELECT a.value FROM telemetry a, telemetry b, telemetry c, telemetry d LIMIT 700000";
    let found = asked(&mut client, many).await.unwrap();
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 700_000);
    let too_many = asked(&mut client, &many.replace(" LIMIT 700000", "")).await;
    let (code, message) = status(too_many);
    assert_eq!(code, Code::ResourceExhausted, "{message}");

    // By whoever has the ticket.
    let info = client.execute(ENDLESS.to_owned(), None).await.unwrap();
    let mut other = FlightClient::new(server.flight_channel().await);
    let cancelling = async {
        loop {
            let wanted = CancelFlightInfoRequest::new(info.clone());
            let done = other.cancel_flight_info(wanted).await.unwrap();
            if done.status == CancelStatus::Cancelled as i32 {
                return;
            }
            assert_eq!(done.status, CancelStatus::NotCancellable as i32);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let (ended, ()) = tokio::join!(fetched(&mut client, info.clone()), cancelling);
    assert_eq!(status(ended).0, Code::Cancelled);
}

#[tokio::test]
async fn whoever_goes_away_gives_back_his_turn() {
    let (_plant, server) = plant().await;
    let turns = millstream::query::Limits::default().concurrent;
    for _ in 0..2 {
        let mut streams = Vec::new();
        for _ in 0..turns {
            let mut client = server.flight_client().await;
            let info = client.execute(ENDLESS.to_owned(), None).await.unwrap();
            let ticket = info.endpoint[0].ticket.clone().unwrap();
            streams.push((client.do_get(ticket).await.unwrap(), client));
        }
    }
    let mut client = server.flight_client().await;
    assert_eq!(rows(&asked(&mut client, "SELECT 1 AS x").await.unwrap()), json!([{"x": 1}]));
}

#[tokio::test]
async fn users_come_in_by_their_passwords() {
    let plant = Plant::new();
    let file = plant.path("users");
    std::fs::write(&file, user("ana", "s3cret") + &user("bo", "päss: wörd")).unwrap();
    // Those of the PostgreSQL door come in here too.
    let args = ["--postgres", "127.0.0.1:0", "--postgres-users", text(&file)];
    let server = plant.serve_with(&[&["--flight", "0.0.0.0:0"], &args[..]].concat());
    for (name, password) in [("ana", "s3cret"), ("bo", "päss: wörd")] {
        let mut client = server.flight_client().await;
        client.handshake(name, password).await.unwrap();
        assert_eq!(rows(&asked(&mut client, "SELECT 1 AS x").await.unwrap()), json!([{"x": 1}]));
        let token = client.token().unwrap().clone();
        let mut same = server.flight_client().await;
        same.set_token(token);
        assert!(same.get_catalogs().await.is_ok(), "the token is good on another connection");
    }
    for (name, password) in [("ana", "wrong"), ("nobody", "s3cret"), ("bo", "s3cret"), ("", "")] {
        let mut client = server.flight_client().await;
        let refused = client.handshake(name, password).await.unwrap_err().to_string();
        assert!(refused.contains("wrong name or password"), "{refused}");
        for token in [None, Some("0123456789abcdef0123456789abcdef")] {
            if let Some(token) = token {
                client.set_token(token.into());
            }
            assert_eq!(status(client.get_catalogs().await).0, Code::Unauthenticated);
            assert_eq!(
                status(client.execute("SELECT 1".into(), None).await).0,
                Code::Unauthenticated
            );
            let prepared = client.prepare("SELECT 1".into(), None).await.map(|_| ());
            assert_eq!(status(prepared).0, Code::Unauthenticated);
        }
    }
}

#[tokio::test]
async fn with_a_certificate_everything_is_encrypted() {
    let plant = Plant::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (plant.path("cert.pem"), plant.path("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = ["--flight-tls-cert", text(&certificate), "--flight-tls-key", text(&key)];
    let server = plant.serve_with(&[&["--flight", "127.0.0.1:0"], &tls[..]].concat());
    let address = format!("https://localhost:{}", server.flight_port());
    let config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(made.cert.pem()))
        .domain_name("localhost");
    let channel = Endpoint::from_shared(address).unwrap().tls_config(config).unwrap();
    let mut client = FlightSqlServiceClient::new(channel.connect().await.unwrap());
    assert_eq!(rows(&asked(&mut client, "SELECT 1 AS x").await.unwrap()), json!([{"x": 1}]));
    let plain = format!("http://127.0.0.1:{}", server.flight_port());
    let plain = Endpoint::from_shared(plain).unwrap().connect().await;
    if let Ok(channel) = plain {
        let mut client = FlightSqlServiceClient::new(channel);
        assert!(client.get_catalogs().await.is_err(), "not without encryption");
    }
}

#[test]
fn a_door_that_lets_everybody_in_does_not_open() {
    let plant = Plant::new();
    let args = ["serve", "--listen", "127.0.0.1:0", "--flight", "0.0.0.0:0"];
    let told = plant.run(&args).expect(1).err;
    assert!(told.contains("--flight-users") && told.contains("127.0.0.1"), "{told}");
}

#[tokio::test]
async fn open_connections_do_not_hold_up_the_end() {
    let (_plant, server) = plant().await;
    let mut client = server.flight_client().await;
    let info = client.execute(ENDLESS.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket).await.unwrap();
    assert_eq!(server.terminate(), 0);
    let ended = stream.try_next().await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn python_asks_through_adbc() {
    let plant = Plant::new();
    let file = plant.path("users");
    std::fs::write(&file, user("ana", "s3cret")).unwrap();
    let server = plant.serve_with(&["--flight", "127.0.0.1:0", "--flight-users", text(&file)]);
    fill(&server).await;
    let mut python = Command::new(repository("tests/python"));
    python.arg(repository("tests/data/clients/scientist.py"));
    let output = python.arg(server.flight_port().to_string()).output().unwrap();
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert!(!err.contains("autocommit"), "a transaction can be begun: {err}");
    let said: Value = serde_json::from_slice(&out).unwrap();
    let means =
        "SELECT metric, count(*) AS n, avg(value) AS mean FROM telemetry GROUP BY 1 ORDER BY 1";
    assert_eq!(said["means"], json!(server.sql(means).await));
    let bound = "SELECT count(*) AS n FROM telemetry WHERE asset = 'pump-1' \
                 AND event_time >= '2023-11-14T22:15:00Z' AND value < 90";
    assert_eq!(said["bound"], server.sql(bound).await[0]["n"]);
    assert_eq!(said["safe"], json!(["'; DROP TABLE x; --", 42]));
    let points = server.sql("SELECT count(*) AS n FROM telemetry").await[0]["n"].as_i64().unwrap();
    assert_eq!(said["many"], points.pow(3));
    let wrong = |at: usize| said["wrong"][at].as_str().unwrap();
    assert!(wrong(0).contains("columns: assets.key"), "{said}");
    assert!(wrong(1).contains("is not a query"), "{said}");
    assert!(wrong(2).contains("Divide by zero"), "{said}");
    assert!(said["password"].as_str().unwrap().contains("wrong name or password"), "{said}");
    let views = server.get("/api/v1/views").await.good();
    for view in views["views"].as_array().unwrap() {
        let table = &said["tables"][view["name"].as_str().unwrap()];
        assert_eq!(table[0], "VIEW", "{view}");
        let columns = server.sql(&format!("SHOW COLUMNS FROM {}", view["name"])).await;
        let names: Vec<&Value> = columns.iter().map(|column| &column["column_name"]).collect();
        assert_eq!(table[1], json!(names), "{view}");
    }
    assert_eq!(said["tables"]["telemetry"][0], "TABLE");
    assert_eq!(said["schema"][0], json!(["event_time", "timestamp[us, tz=UTC]"]));
    assert_eq!(said["types"], json!(["TABLE", "VIEW"]));
    assert_eq!(said["vendor"], "Millstream");
}
