//! Answers in every form, read back by other programs' libraries: each says what JSON says.

use crate::exports::rows;
use crate::support::*;
use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use calamine::{Data, Reader, Xlsx, open_workbook_from_rs};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Cursor;

const PARQUET: &str = "application/vnd.apache.parquet";
const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const FORMS: [(&str, &str); 5] = [
    ("csv", "text/csv"),
    ("ndjson", LINES),
    ("arrow", ARROW),
    ("parquet", PARQUET),
    ("xlsx", XLSX),
];

/// Rows as a form has them, as JSON objects.
pub fn read(form: &str, bytes: &[u8], like: &[Value]) -> Vec<Value> {
    match form {
        "json" => serde_json::from_slice(bytes).unwrap(),
        "ndjson" => {
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
        }
        "arrow" => {
            let reader = StreamReader::try_new(bytes, None).unwrap();
            rows(&reader.collect::<Result<Vec<RecordBatch>, _>>().unwrap())
        }
        "parquet" => {
            let bytes = Bytes::copy_from_slice(bytes);
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
            rows(&reader.collect::<Result<Vec<RecordBatch>, _>>().unwrap())
        }
        "csv" => {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
            let names: Vec<String> = lines.next().unwrap().collect();
            let lines: Vec<_> = lines.collect();
            assert_eq!(lines.len(), like.len());
            let lines = lines.into_iter().zip(like);
            lines
                .map(|(line, like)| typed(names.iter().cloned().zip(line.map(Data::String)), like))
                .collect()
        }
        "xlsx" => {
            let mut book: Xlsx<_> = open_workbook_from_rs(Cursor::new(bytes)).unwrap();
            let sheet = book.worksheet_range_at(0).unwrap().unwrap();
            let mut lines = sheet.rows();
            let names: Vec<String> =
                lines.next().unwrap().iter().map(ToString::to_string).collect();
            let lines: Vec<&[Data]> = lines.collect();
            assert_eq!(lines.len(), like.len());
            let lines = lines.into_iter().zip(like);
            lines
                .map(|(line, like)| typed(names.iter().cloned().zip(line.iter().cloned()), like))
                .collect()
        }
        other => panic!("no test reads {other}"),
    }
}

/// Cells as values of the types that another row has.
fn typed(cells: impl Iterator<Item = (String, Data)>, like: &Value) -> Value {
    let cell = |(name, cell): (String, Data)| {
        let value = match (&cell, &like[&name]) {
            (Data::Empty, _) => Value::Null,
            (Data::String(text), _) if text.is_empty() => Value::Null,
            (Data::String(text), Value::String(_)) => text.clone().into(),
            (Data::String(text), _) => serde_json::from_str(text).unwrap(),
            (Data::Float(number), Value::Number(like)) if !like.is_f64() => (*number as i64).into(),
            (Data::Float(number), _) => (*number).into(),
            (Data::Bool(value), _) => (*value).into(),
            (Data::DateTime(time), like) => {
                // A double has not all digits of a microsecond.
                let millis = ((time.as_f64() - 25_569.0) * 86_400e3).round() as i64;
                let wanted = like.as_str().and_then(|like| like.parse::<jiff::Timestamp>().ok());
                match wanted.is_some_and(|wanted| wanted.as_millisecond() == millis) {
                    true => like.clone(),
                    false => jiff::Timestamp::from_millisecond(millis).unwrap().to_string().into(),
                }
            }
            other => panic!("{name}: {other:?}"),
        };
        (name, value)
    };
    Value::Object(cells.map(cell).collect())
}

/// Points of two pumps, some with texts that other forms have to quote.
pub async fn some_points(server: &Server) {
    let message = |i: i64| {
        let state = ["running", "=1+1", "a \"b\" <c> & d", " "][i as usize % 4];
        json!({
            "deviceId": format!("PUMP-{}", 1 + i % 2),
            "timestamp": BASE * 1_000 + i * 1_001,
            "metrics": {"TEMP": i as f64 / 8.0, "STARTS": i, "STATE": state},
        })
    };
    server.ingest((0..200).map(message).collect()).await;
}

const SQL: &str = "select event_time, asset, metric, value, text, quality, value > 3 as warm, \
    cast(null as double) as nothing, epoch from telemetry order by asset, metric, event_time";

#[tokio::test]
async fn every_form_says_what_json_says() {
    let plant = Plant::new();
    let server = plant.serve();
    some_points(&server).await;
    let sql = server.sql(SQL).await;
    assert_eq!(sql.len(), 600);
    let range = format!("startTime={BASE}&endTime=now");
    let history = format!("/api/v1/telemetry/asset/pump-1?metricKey=temperature,state&{range}");
    let named =
        "/api/v1/queries/telemetry_range?asset=pump-1&metric=temperature&from=2023-11-14&step=10s";
    let view = "/api/v1/views/asset_metrics?metric=temperature";
    for (form, media_type) in FORMS {
        let by_name = format!("/api/v1/sql?format={form}");
        let plain = ("content-type", "text/plain");
        let by_name = server.send(Method::POST, &by_name, &[plain], SQL).await;
        let headers = [plain, ("accept", media_type)];
        let by_accept = server.send(Method::POST, "/api/v1/sql", &headers, SQL).await;
        for answer in [&by_name, &by_accept] {
            assert_eq!(answer.status, 200, "{form}: {}", answer.text());
            assert!(answer.content_type.starts_with(media_type), "{}", answer.content_type);
        }
        if form != "csv" {
            // Quotes and commas are the business of whoever reads CSV.
            assert_eq!(read(form, &by_name.bytes, &sql), sql, "{form}");
            assert_eq!(read(form, &by_accept.bytes, &sql), sql, "{form}");
        }
        if form != "xlsx" {
            // A workbook says when it was made.
            assert_eq!(by_name.bytes, by_accept.bytes, "{form}");
        }
        for path in [history.as_str(), named, view] {
            let expected = server.get(path).await.good()["rows"].take();
            let expected = expected.as_array().unwrap();
            assert!(!expected.is_empty(), "{path}");
            let answer = server.get(&format!("{path}&format={form}")).await;
            assert_eq!(answer.status, 200, "{form}: {}", answer.text());
            if form != "csv" || path != history {
                assert_eq!(&read(form, &answer.bytes, expected), expected, "{form} of {path}");
            }
        }
        // No rows are an answer too.
        let none = format!("/api/v1/sql?format={form}");
        let none = server.send(Method::POST, &none, &[plain], format!("{SQL} limit 0")).await;
        assert_eq!(none.status, 200, "{}", none.text());
        assert_eq!(read(form, &none.bytes, &[]), Vec::<Value>::new(), "{form}");
    }
    let json = format!("{view}&format=json");
    assert_eq!(server.get(&json).await.bytes, server.get(view).await.bytes);
}

#[tokio::test]
async fn what_a_form_cannot_say_is_told_at_once() {
    let plant = Plant::new();
    let server = plant.serve();
    let post = async |path: &str, sql: &str| server.post(path, "text/plain", sql.to_owned()).await;
    let refused = post("/api/v1/sql?format=docx", "select 1").await.problem(400);
    assert_eq!(refused["hint"], "formats: json, csv, arrow, ndjson, parquet, xlsx");
    post("/api/v1/sql?format=csv&format=json", "select 1").await.problem(400);
    for form in ["csv", "ndjson", "arrow", "parquet", "xlsx"] {
        // What is wrong with the query is a problem document in every form.
        post(&format!("/api/v1/sql?format={form}"), "select nothing from telemetry")
            .await
            .problem(422);
    }
    let long = "select concat(a.c, a.c, a.c, a.c, a.c) as c from (select concat(b.c, b.c, b.c, b.c, b.c, b.c, b.c, b.c) as c from (select cast('0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789' as varchar) as c) b) a";
    let long =
        format!("select concat(x.c, x.c, x.c, x.c, x.c, x.c, x.c, x.c, x.c) as c from ({long}) x");
    let headers = [("content-type", "text/plain")];
    // Excel takes 32767 characters in a cell: what has begun is cut off, not ended.
    let cut =
        server.try_send(Method::POST, "/api/v1/sql?format=xlsx", &headers, long.clone()).await;
    assert!(cut.is_none_or(|answer| answer.status != 200), "a workbook that is not whole");
    let whole = post("/api/v1/sql?format=ndjson", &long).await;
    assert_eq!(whole.json()["c"].as_str().unwrap().len(), 36_000);
}
