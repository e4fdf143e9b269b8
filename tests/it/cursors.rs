//! Answers in other forms than at once, through the PostgreSQL door: cursors, copies, the past, readers
//! that stop reading.

use crate::http::message;
use crate::postgres::{by_http, plant, rows, state};
use crate::support::*;
use serde_json::json;
use std::process::Command;
use tokio_postgres::error::SqlState;

/// The lines of what psql says.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

#[tokio::test]
async fn cursors_are_fetched_some_rows_at_a_time() {
    let (_plant, server) = plant().await;
    let client = server.connected().await;
    let question = "SELECT event_time, value FROM telemetry ORDER BY event_time, value";
    let expected = rows(&client.query(question, &[]).await.unwrap());
    client.batch_execute("BEGIN").await.unwrap();
    client.execute(&format!("DECLARE c CURSOR FOR {question}"), &[]).await.unwrap();
    client.execute("DECLARE other CURSOR FOR SELECT 1 AS x", &[]).await.unwrap();
    let mut found = Vec::new();
    for fetch in ["FETCH NEXT FROM c", "FETCH 7 FROM c", "FETCH FORWARD 3 IN c", "FETCH ALL FROM c"]
    {
        found.extend(rows(&client.query(fetch, &[]).await.unwrap()));
        if found.len() == 8 {
            // Other questions are asked in between, and what comes in is of a later epoch.
            server.ingest(message("PUMP-1", 5_000, 1.0)).await;
            let one = client.query("FETCH 1 FROM other", &[]).await.unwrap();
            assert_eq!(rows(&one), [[json!(1)]]);
        }
    }
    assert_eq!(found, expected);
    assert!(client.query("FETCH 1 FROM c", &[]).await.unwrap().is_empty());
    client.batch_execute("CLOSE c").await.unwrap();
    assert_eq!(state(client.batch_execute("FETCH 1 FROM c").await), SqlState::INVALID_CURSOR_NAME);
    client.batch_execute("ROLLBACK").await.unwrap();

    let refused = state(client.batch_execute("DECLARE c CURSOR FOR SELECT 1").await);
    assert_eq!(refused, SqlState::NO_ACTIVE_SQL_TRANSACTION);
    for (commands, expected) in [
        (
            "DECLARE c CURSOR FOR SELECT 1; DECLARE c CURSOR FOR SELECT 2",
            SqlState::DUPLICATE_CURSOR,
        ),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", SqlState::FEATURE_NOT_SUPPORTED),
        ("DECLARE c SCROLL CURSOR FOR SELECT 1", SqlState::FEATURE_NOT_SUPPORTED),
        ("DECLARE c CURSOR FOR SELECT nosuch", SqlState::UNDEFINED_COLUMN),
        (
            "DECLARE c CURSOR FOR SELECT 1; COMMIT; BEGIN; FETCH 1 FROM c",
            SqlState::INVALID_CURSOR_NAME,
        ),
    ] {
        client.batch_execute("BEGIN").await.unwrap();
        assert_eq!(state(client.batch_execute(commands).await), expected, "{commands}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    // psql fetches like that when it is told to.
    let told = server.psql(&["\\set FETCH_COUNT 7", "SELECT 1"]);
    assert!(!told.contains("ERROR"), "{told}");
}

#[tokio::test]
async fn psql_reads_large_answers_in_pieces() {
    let (_plant, server) = plant().await;
    let ask = "SELECT metric, value FROM telemetry WHERE metric = 'temperature' ORDER BY value";
    let whole = server.psql(&[ask]);
    let target = format!("host=127.0.0.1 port={} user=ana", server.postgres_port());
    let mut psql = Command::new(repository("tests/timescale"));
    psql.args(["psql", "-X", "--set", "FETCH_COUNT=7", &target, "-c", ask]);
    let output = psql.output().unwrap();
    let pieces = String::from_utf8(output.stdout).unwrap();
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("temperature |"));
        lines.map(|line| line.split('|').next_back().unwrap().trim().to_owned()).collect()
    };
    assert_eq!(values(&pieces), values(&whole), "{pieces}");
    assert_eq!(values(&whole).len(), 40);
}

#[tokio::test]
async fn answers_are_copied_as_text_and_as_csv() {
    let (_plant, server) = plant().await;
    let ask = "SELECT key, asset_type, NULL AS nothing, 43::float8 AS n, 'a,\"b\"' AS quoted \
               FROM assets WHERE key = 'pump-1'";
    let text = server.psql(&[&format!("COPY ({ask}) TO STDOUT")]);
    assert_eq!(lines(&text), ["pump-1\tpump\t\\N\t43\ta,\"b\""]);
    let csv = server.psql(&[&format!("\\copy ({ask}) to stdout with (format csv, header)")]);
    let expected = ["key,asset_type,nothing,n,quoted", "pump-1,pump,,43,\"a,\"\"b\"\"\""];
    assert_eq!(lines(&csv), expected);
    let csv = server.psql(&[&format!("COPY ({ask}) TO STDOUT CSV DELIMITER ';' NULL '-'")]);
    assert_eq!(lines(&csv), ["pump-1;pump;-;43;\"a,\"\"b\"\"\""]);
    let table = server.psql(&["COPY assets (key, asset_type) TO STDOUT"]);
    assert_eq!(
        lines(&table),
        lines(&server.psql(&["COPY (SELECT key, asset_type FROM assets) TO STDOUT"]))
    );
    let many = "COPY (SELECT a.value FROM telemetry a, telemetry b, telemetry c) TO STDOUT";
    assert_eq!(lines(&server.psql(&[many])).len(), 64_000);
    let past = server.psql(&[
        "COPY (SELECT count(*) FROM telemetry AS OF SYSTEM TIME '2023-11-14T00:00:00Z') TO STDOUT",
    ]);
    assert_eq!(lines(&past), ["0"]);
    let client = server.connected().await;
    for (wrong, expected) in [
        ("COPY assets TO '/tmp/assets'", SqlState::FEATURE_NOT_SUPPORTED),
        ("COPY (SELECT nosuch FROM assets) TO STDOUT", SqlState::UNDEFINED_COLUMN),
        ("COPY (DELETE FROM assets) TO STDOUT", SqlState::READ_ONLY_SQL_TRANSACTION),
        ("COPY assets TO STDOUT WITH (FORMAT binary)", SqlState::FEATURE_NOT_SUPPORTED),
    ] {
        assert_eq!(state(client.batch_execute(wrong).await), expected, "{wrong}");
    }
    client.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn numbers_and_users_are_told_as_postgresql_tells_them() {
    let (_plant, server) = plant().await;
    let told = server.psql(&[
        "\\pset tuples_only",
        "SELECT 43::float8, 0.1::float8 + 0.2::float8, 1e15::float8, '1e-5'::float8, \
         array[1.5, 2, NULL]::float8[], 7::float4",
        "SELECT current_user, session_user, user, current_role",
    ]);
    let words: Vec<&str> = told.split(['|', '\n']).map(str::trim).collect();
    for word in ["43", "0.30000000000000004", "1e+15", "1e-05", "{1.5,2,NULL}", "7"] {
        assert!(words.contains(&word), "{word} in {told}");
    }
    assert_eq!(words.iter().filter(|word| **word == "ana").count(), 4, "{told}");
    let client = server.connects("user=bo").await.unwrap();
    let row = client.query_one("SELECT current_user, count(*) FROM assets", &[]).await.unwrap();
    assert_eq!((row.columns()[0].name(), row.get::<_, &str>(0)), ("current_user", "bo"));
}

#[tokio::test]
async fn psql_asks_what_was_known_at_a_time() {
    let (_plant, server) = plant().await;
    let count = |time: &str| {
        let ask =
            format!("COPY (SELECT count(*) FROM telemetry AS OF SYSTEM TIME '{time}') TO STDOUT");
        server.psql(&[&ask]).trim().to_owned()
    };
    let before = count("now");
    let epoch = server.epoch().await;
    let time = jiff::Timestamp::from_millisecond(epoch as i64).unwrap().to_string();
    server.ingest(message("PUMP-1", 6_000, 50.0)).await;
    assert_eq!((count(&time), count(&epoch.to_string())), (before.clone(), before.clone()));
    assert_ne!(count("now"), before);
    let ask = format!("SELECT count(*) AS n FROM telemetry AS OF SYSTEM TIME '{time}'");
    assert_eq!(by_http(&server, &ask).await[0][0].to_string(), before);
}

#[tokio::test]
async fn a_reader_that_takes_no_rows_does_not_keep_its_turn() {
    use std::io::{Read, Write};
    let (_plant, server) = plant().await;
    let turns = millstream::query::Limits::default().concurrent;
    let many = "SELECT repeated.* FROM telemetry repeated, telemetry b, telemetry c, telemetry d \
                LIMIT 900000\0";
    let mut sleepers = Vec::new();
    for _ in 0..turns {
        let mut stream =
            std::net::TcpStream::connect(("127.0.0.1", server.postgres_port())).unwrap();
        let words = b"user\0ana\0options\0-c statement_timeout=2s\0\0";
        let length = (words.len() as u32 + 8).to_be_bytes();
        stream.write_all(&[&length[..], &[0, 3, 0, 0], words].concat()).unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"Z\0\0\0\x05I") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            said.push(byte[0]);
        }
        let length = (many.len() as u32 + 4).to_be_bytes();
        stream.write_all(&[&b"Q"[..], &length, many.as_bytes()].concat()).unwrap();
        sleepers.push(stream);
    }
    // Waits for its turn until their time is up, which is not the time of this one.
    let client = server.connected().await;
    assert_eq!(rows(&client.query("SELECT 1 AS x", &[]).await.unwrap()), [[json!(1)]]);
    drop(sleepers);
}
