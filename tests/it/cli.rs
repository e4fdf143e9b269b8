//! The command line: replays, queries, exit codes, and what is said about files that are wrong.

use crate::exports;
use crate::support::*;
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampSecondArray,
};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use serde_json::json;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VIEWS: [&str; 18] = [
    "asset_health",
    "asset_metrics",
    "asset_types",
    "assets",
    "dead_letters",
    "device_types",
    "devices",
    "errors",
    "events",
    "fleet_health",
    "fleet_thresholds",
    "links",
    "rollups_1d",
    "rollups_1h",
    "rollups_1m",
    "rollups_5m",
    "threshold_occurrences",
    "threshold_states",
];

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A row of the small recording: seconds, device, and its metrics.
struct Row {
    seconds: i64,
    device: &'static str,
    temperature: Option<f64>,
    flow: Option<f64>,
    starts: Option<i64>,
    state: Option<&'static str>,
}

/// Ten minutes of two pumps, in order of time.
fn recording() -> Vec<Row> {
    let mut rows = Vec::new();
    for step in 0..120_i64 {
        for device in ["PUMP-1", "PUMP-2"] {
            let heat = (step * if device == "PUMP-1" { 3 } else { 5 }) % 60;
            rows.push(Row {
                seconds: BASE + step * 5,
                device,
                temperature: (step % 7 != 3).then_some(45.25 + heat as f64),
                flow: (step % 2 == 0).then_some(step as f64 * 12.5),
                starts: (step % 10 == 0).then_some(step / 40),
                state: (step % 30 == 0).then_some(if step == 60 { "tripped" } else { "running" }),
            });
        }
    }
    rows.retain(|row| row.temperature.is_some() || row.flow.is_some());
    rows
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
}

/// A column for each metric.
fn wide(
    rows: &[Row],
    names: [&str; 2],
    time: impl Fn(i64) -> i64,
    array: impl Fn(Vec<i64>) -> ArrayRef,
) -> RecordBatch {
    let times = rows.iter().map(|row| time(row.seconds)).collect();
    batch(vec![
        (names[0], array(times)),
        (names[1], Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.device)))),
        ("TEMP", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.temperature)))),
        ("FLOW", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.flow)))),
        ("STARTS", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.starts)))),
        ("STATE", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.state)))),
    ])
}

/// A row for each point; values as texts, because states are.
fn narrow(rows: &[Row]) -> RecordBatch {
    let mut points: Vec<(i64, &str, &str, String)> = Vec::new();
    for row in rows {
        let mut push = |metric, value: Option<String>| {
            points.extend(value.map(|value| (row.seconds, row.device, metric, value)));
        };
        push("TEMP", row.temperature.map(|value| value.to_string()));
        push("FLOW", row.flow.map(|value| value.to_string()));
        push("STARTS", row.starts.map(|value| value.to_string()));
        push("STATE", row.state.map(str::to_owned));
    }
    let texts = |of: fn(&(i64, &'static str, &'static str, String)) -> String| -> ArrayRef {
        let points: Vec<String> = points
            .iter()
            .map(|(time, device, metric, value)| {
                let device = if *device == "PUMP-1" { "PUMP-1" } else { "PUMP-2" };
                let metric = ["TEMP", "FLOW", "STARTS", "STATE"]
                    .into_iter()
                    .find(|m| m == metric)
                    .unwrap_or("");
                of(&(*time, device, metric, value.clone()))
            })
            .collect();
        Arc::new(StringArray::from(points))
    };
    batch(vec![
        ("Timestamp", Arc::new(TimestampSecondArray::from_iter_values(points.iter().map(|p| p.0)))),
        ("Sensor ID", texts(|point| point.1.to_owned())),
        ("metric", texts(|point| point.2.to_owned())),
        ("value", texts(|point| point.3.clone())),
    ])
}

fn csv(batch: &RecordBatch, path: &Path, delimiter: u8) {
    let file = File::create(path).expect("a file");
    let mut writer = arrow::csv::WriterBuilder::new().with_delimiter(delimiter).build(file);
    writer.write(batch).expect("rows");
}

fn arrow_file(batch: &RecordBatch, path: &Path) {
    let mut writer = FileWriter::try_new(File::create(path).expect("a file"), &batch.schema())
        .expect("a writer");
    writer.write(batch).expect("rows");
    writer.finish().expect("a file");
}

fn arrow_stream(batch: &RecordBatch, path: &Path) {
    let mut writer = StreamWriter::try_new(File::create(path).expect("a file"), &batch.schema())
        .expect("a writer");
    writer.write(batch).expect("rows");
    writer.finish().expect("a file");
}

fn parquet(batch: &RecordBatch, path: &Path) {
    let mut writer =
        ArrowWriter::try_new(File::create(path).expect("a file"), batch.schema(), None)
            .expect("a writer");
    writer.write(batch).expect("rows");
    writer.close().expect("a file");
}

/// Replays files over the plant's catalog, verified; returns the export.
fn replay(
    plant: &Plant,
    files: &[PathBuf],
    name: &str,
) -> std::collections::BTreeMap<String, Vec<String>> {
    let (export, catalog) = (plant.path(name), plant.catalog());
    let mut args = vec![
        "replay",
        "--speed",
        "max",
        "--verify",
        "--export",
        text(&export),
        "--catalog",
        text(&catalog),
    ];
    args.extend(files.iter().map(|file| text(file)));
    run(&args).expect(0);
    exports::read(&export)
}

#[test]
fn all_forms_of_a_recording_give_the_same_views() {
    let plant = Plant::new();
    let rows = recording();
    let seconds = |times: Vec<i64>| -> ArrayRef { Arc::new(TimestampSecondArray::from(times)) };
    let millis = |times: Vec<i64>| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from(times).with_timezone("+02:00"))
    };
    let micros = |times: Vec<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(times)) };
    let numbers = |times: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(times)) };
    let file = |name: &str| plant.path(name);

    csv(&wide(&rows, ["time", "device"], |s| s, seconds), &file("wide.csv"), b',');
    csv(&wide(&rows, ["TS", "DeviceId"], |s| s * 1_000, numbers), &file("wide.tsv"), b'\t');
    csv(&narrow(&rows), &file("narrow.csv"), b';');
    arrow_file(&wide(&rows, ["event_time", "asset"], |s| s * 1_000, millis), &file("wide.arrow"));
    arrow_stream(
        &wide(&rows, ["datetime", "machine"], |s| s * 1_000_000, micros),
        &file("wide.arrows"),
    );
    arrow_file(&narrow(&rows), &file("narrow.feather"));
    parquet(
        &wide(&rows, ["timestamp", "device_id"], |s| s * 1_000_000, numbers),
        &file("wide.parquet"),
    );
    parquet(&narrow(&rows), &file("narrow.parquet"));

    let first = replay(&plant, &[file("wide.csv")], "export");
    assert!(first.keys().map(String::as_str).eq(VIEWS), "{:?}", first.keys());
    for view in VIEWS.iter().filter(|view| !["dead_letters", "errors"].contains(view)) {
        assert!(!first[*view].is_empty(), "{view} is empty");
    }
    assert!(first["dead_letters"].is_empty(), "{:?}", first["dead_letters"]);
    for name in [
        "wide.tsv",
        "narrow.csv",
        "wide.arrow",
        "wide.arrows",
        "narrow.feather",
        "wide.parquet",
        "narrow.parquet",
    ] {
        let other = replay(&plant, &[file(name)], &format!("export-{name}"));
        exports::assert_same(&first, &other, name);
    }

    // Two files are one recording, whichever is named first.
    let (one, two): (Vec<Row>, Vec<Row>) =
        recording().into_iter().partition(|row| row.device == "PUMP-1");
    csv(&wide(&one, ["time", "device"], |s| s, seconds), &file("one.csv"), b',');
    parquet(&narrow(&two), &file("two.parquet"));
    let merged = replay(&plant, &[file("one.csv"), file("two.parquet")], "export-merged");
    exports::assert_same(&first, &merged, "two files");
}

#[test]
fn the_recording_that_ships_is_verified_and_exported() {
    let plant = Plant::new();
    let (data, export) = (plant.data(), plant.path("export"));
    let catalog = repository("dataflows");
    let files = ["3w_class2_spurious_closure_of_dhsv", "3w_class6_quick_restriction_in_pck"]
        .map(|name| repository(&format!("recordings/3w/{name}.parquet")));
    let mut args = vec!["replay", text(&files[0]), text(&files[1]), "--catalog", text(&catalog)];
    args.extend(["--speed", "max", "--verify", "--data", text(&data), "--export", text(&export)]);
    let replayed = run(&args).expect(0);
    assert!(replayed.out.contains("asset_health: equal, 5 rows"), "{}", replayed.out);
    let views = exports::read(&export);
    assert!(views.keys().map(String::as_str).eq(VIEWS), "{:?}", views.keys());
    let parts = VIEWS.map(|view| format!("SELECT '{view}' AS view, count(*) AS rows FROM {view}"));
    let query = parts.join(" UNION ALL ");
    let counted = plant.run(&["sql", &query, "--format", "json"]).expect(0);
    let counted: Vec<serde_json::Value> = serde_json::from_slice(&counted.bytes).unwrap();
    assert_eq!(counted.len(), VIEWS.len());
    for row in counted {
        let view = row["view"].as_str().unwrap();
        assert_eq!(row["rows"], views[view].len(), "{view}");
    }
    for (view, least) in
        [("asset_health", 5), ("events", 1), ("threshold_occurrences", 1), ("rollups_1m", 1_000)]
    {
        assert!(views[view].len() >= least, "{view} has {} rows", views[view].len());
    }
    // The directory is one for all commands.
    plant.run(&["verify", "asset_health", "rollups_1h"]).expect(0);
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let plant = Plant::new();
    let rows = recording();
    let seconds = |times: Vec<i64>| -> ArrayRef { Arc::new(TimestampSecondArray::from(times)) };
    let good = wide(&rows, ["time", "device"], |s| s, seconds);
    let file = |name: &str| plant.path(name);
    let halved = |from: &str, to: &str| {
        let bytes = fs::read(file(from)).unwrap();
        fs::write(file(to), &bytes[..bytes.len() / 2]).unwrap();
    };
    parquet(&good, &file("good.parquet"));
    halved("good.parquet", "half.parquet");
    arrow_file(&good, &file("good.arrow"));
    halved("good.arrow", "half.arrow");
    arrow_stream(&good, &file("good.arrows"));
    halved("good.arrows", "half.arrows");
    fs::write(file("no_time.csv"), "when,device,TEMP\n1,PUMP-1,2\n").unwrap();
    fs::write(file("no_device.csv"), "time,TEMP\n1,2\n").unwrap();
    fs::write(file("no_metric.csv"), "time,device\n1,PUMP-1\n").unwrap();
    fs::write(file("notes.txt"), "time,device,TEMP\n").unwrap();
    let flags: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true]));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["PUMP-1"]));
    parquet(
        &batch(vec![("time", flags), ("device", names.clone()), ("STATE", names)]),
        &file("flag.parquet"),
    );
    let catalog = plant.catalog();
    for (name, part) in [
        ("half.parquet", "truncated or damaged"),
        ("half.arrow", "truncated or damaged"),
        ("half.arrows", "truncated or damaged"),
        ("no_time.csv", "no time column: found columns when, device, TEMP"),
        ("no_device.csv", "no device column: found columns time, TEMP"),
        ("no_metric.csv", "no metric columns: found only time, device"),
        ("flag.parquet", "column 'time' is of type Boolean"),
        ("notes.txt", "is none of Parquet, Arrow IPC file"),
        ("nothing.csv", "No such file"),
    ] {
        // A good file beside it does not hide it.
        let (good, bad) = (file("good.parquet"), file(name));
        let args = ["replay", text(&good), text(&bad), "--catalog", text(&catalog)];
        let said = run(&args).expect(1).err;
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.contains(name) && error.contains(part), "{name}: {said}");
    }
}

#[test]
fn bad_cells_are_refused_one_by_one() {
    let plant = Plant::new();
    let path = plant.path("cells.csv");
    let cells = format!(
        "time,device,TEMP,STATE\n{0},PUMP-1,20,running\n{0},PUMP-2,hot,running\nnoon,PUMP-3,21,\n\
         {0},VALVE-1,22,\n{0},PUMP-4,NaN,running\n{0},PUMP-5,23,\n",
        BASE
    );
    fs::write(&path, cells).unwrap();
    let views = replay(&plant, &[path], "export");
    let assets = &views["assets"];
    assert_eq!(assets.len(), 5, "the main pump and four of the file: {assets:?}");
    let temperatures = views["asset_metrics"].iter().filter(|row| row.contains("\"temperature\""));
    assert_eq!(temperatures.count(), 2);
    let states = views["asset_metrics"].iter().filter(|row| row.contains("\"state\""));
    assert_eq!(states.count(), 3);
    for reason in ["TS", "UNKNOWN_DEVICE", "VALUE"] {
        let found = views["dead_letters"]
            .iter()
            .any(|row| row.contains(&format!("\"reason\":\"{reason}\"")));
        assert!(found, "{reason}: {:?}", views["dead_letters"]);
    }
}

#[tokio::test]
async fn queries_come_in_every_form_with_and_without_a_server() {
    let plant = Plant::new();
    let server = plant.serve();
    let message = |pump: i64| json!({"deviceId": format!("PUMP-{pump}"), "timestamp": BASE + pump, "metrics": {"TEMP": 20 + pump, "STATE": "running"}});
    server.ingest((1..=3).map(message).collect()).await;
    let query =
        "SELECT asset, metric, value, text, event_time FROM telemetry ORDER BY asset, metric";
    let formats = ["table", "json", "csv", "arrow", "parquet"];
    let ask = |format: &str| plant.run(&["sql", query, "--format", format]).expect(0).bytes;
    let online: Vec<Vec<u8>> = formats.iter().map(|format| ask(format)).collect();
    assert_eq!(server.terminate(), 0);
    let offline: Vec<Vec<u8>> = formats.iter().map(|format| ask(format)).collect();

    for (where_from, answers) in [("online", &online), ("offline", &offline)] {
        let [table, json_text, csv, arrow, parquet] = answers.as_slice() else { panic!() };
        let table = String::from_utf8_lossy(table);
        for part in ["asset", "pump-1", "temperature", "23.0", "2023-11-14T22:13:21Z"] {
            assert!(table.contains(part), "{where_from}: no {part} in\n{table}");
        }
        let csv = String::from_utf8_lossy(csv);
        assert_eq!(csv.lines().next(), Some("asset,metric,value,text,event_time"), "{where_from}");
        assert_eq!(csv.lines().count(), 7, "{where_from}: {csv}");
        let batches: Vec<RecordBatch> = StreamReader::try_new(arrow.as_slice(), None)
            .unwrap()
            .map(|batch| batch.unwrap())
            .collect();
        let rows = exports::rows(&batches);
        assert_eq!(rows.len(), 6, "{where_from}");
        assert_eq!(rows[1]["value"], 21.0, "{where_from}");
        let path = plant.path("answer.parquet");
        fs::write(&path, parquet).unwrap();
        assert_eq!(exports::parquet(&path), rows, "{where_from}");
        let told: serde_json::Value = serde_json::from_slice(json_text).unwrap();
        let told = told.get("rows").unwrap_or(&told);
        assert_eq!(told, &json!(rows), "{where_from}");
    }
    assert_eq!(online[0], offline[0], "tables");
    assert_eq!(online[1], offline[1], "JSON");
    assert_eq!(online[2], offline[2], "CSV");

    let path = plant.path("written.csv");
    let silent = plant.run(&["sql", query, "-f", "csv", "-o", text(&path)]).expect(0);
    assert!(silent.bytes.is_empty());
    assert_eq!(fs::read(path).unwrap(), offline[2]);
}

#[tokio::test]
async fn refused_queries_are_errors_with_and_without_a_server() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(json!({"deviceId": "PUMP-1", "timestamp": BASE, "metrics": {"TEMP": 1}})).await;
    let mut server = Some(server);
    for place in ["online", "offline"] {
        for (query, part) in [
            ("DROP TABLE telemetry", "DROP TABLE"),
            ("INSERT INTO telemetry VALUES (1)", "only SELECT"),
            ("SELEKT 1", "SELEKT"),
            ("SELECT * FROM nothing", "nothing"),
            ("SELECT nothing FROM telemetry", "nothing"),
        ] {
            let said = plant.run(&["sql", query]).expect(1);
            let error =
                said.err.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
            assert!(error.contains(part), "{place} {query}: {}", said.err);
            assert!(!said.err.contains("ERROR"), "{place} {query}: {}", said.err);
            assert!(said.out.is_empty(), "{place} {query}: {}", said.out);
        }
        drop(server.take());
    }
    let empty = plant.path("empty");
    let said = run(&["sql", "SELECT 1", "--data", text(&empty)]).expect(1);
    assert!(said.err.contains("holds no data"), "{}", said.err);
}

#[test]
fn the_help_names_every_command_and_wrong_usage_is_told() {
    let help = run(&["--help"]).expect(0).out;
    for command in ["serve", "demo", "replay", "sql", "verify", "check"] {
        assert!(help.contains(&format!("\n  {command} ")), "no {command} in\n{help}");
        let own = run(&[command, "--help"]).expect(0).out;
        for option in ["--data", "--catalog", "--listen"] {
            assert!(own.contains(option), "{command} has no {option}");
        }
    }
    for part in ["Exit codes:", "--data", "--catalog", "--listen", "--speed", "--once"] {
        assert!(help.contains(part), "no {part} in\n{help}");
    }
    assert!(run(&["--version"]).expect(0).out.starts_with("millstream "));
    run(&["fly"]).expect(2);
    run(&["replay"]).expect(2);
    run(&["replay", "x.csv", "--speed", "fast"]).expect(2);
    run(&["serve", "--listen", "nowhere"]).expect(2);
    let plant = Plant::new();
    let said = plant.run(&["serve", "--listen", "127.0.0.1:0", "--catalog", "/nowhere"]).expect(1);
    assert!(said.err.contains("--catalog"), "{}", said.err);
}
