//! `millstream replay`: all forms of files, exports, and what is said about files that are wrong.

use crate::exports;
use crate::recordings::*;
use crate::support::*;
use arrow::array::{
    ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampSecondArray,
};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const VIEWS: [&str; 19] = [
    "asset_health",
    "asset_metrics",
    "asset_types",
    "assets",
    "corrections",
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
    for view in
        VIEWS.iter().filter(|view| !["corrections", "dead_letters", "errors"].contains(view))
    {
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

#[tokio::test]
async fn what_is_replayed_and_what_is_sent_live_end_in_the_same_views() {
    let (replayed, live) = (Plant::new(), Plant::new());
    let file = replayed.path("recording.csv");
    let seconds = |times: Vec<i64>| -> ArrayRef { Arc::new(TimestampSecondArray::from(times)) };
    csv(&wide(&recording(), ["time", "device"], |s| s, seconds), &file, b',');
    let catalog = replayed.catalog();
    replayed.run(&["replay", "--speed", "max", "--catalog", text(&catalog), text(&file)]).expect(0);
    let server = live.serve();
    // Each in the order of time, but one device after the other: half of it comes late.
    let (one, two): (Vec<Row>, Vec<Row>) =
        recording().into_iter().partition(|row| row.device == "PUMP-1");
    for rows in one.chunks(7).chain(two.chunks(11)) {
        server.ingest(rows.iter().map(Row::message).collect()).await;
    }
    // From its first tick on the clock of both is the wall clock: what was pending happens.
    let again = replayed.serve();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        (left, right) = (again.all_views().await, server.all_views().await);
        if left == right {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for ((name, left), (_, right)) in left.iter().zip(&right) {
        assert_eq!(left, right, "{name}");
    }
    assert!(VIEWS.iter().all(|view| left.iter().any(|(name, _)| name == view)));
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
    // One query for a few views: there is a limit to what a query may join.
    for views_of_query in VIEWS.chunks(9) {
        let parts: Vec<String> = views_of_query
            .iter()
            .map(|view| format!("SELECT '{view}' AS view, count(*) AS rows FROM {view}"))
            .collect();
        let query = parts.join(" UNION ALL ");
        let counted = plant.run(&["sql", &query, "--format", "json"]).expect(0);
        let counted: Vec<serde_json::Value> = serde_json::from_slice(&counted.bytes).unwrap();
        assert_eq!(counted.len(), views_of_query.len());
        for row in counted {
            let view = row["view"].as_str().unwrap();
            assert_eq!(row["rows"], views[view].len(), "{view}");
        }
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
    fs::write(file("notes.md"), "time,device,TEMP\n").unwrap();
    let flags: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true]));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["PUMP-1"]));
    parquet(
        &batch(vec![("time", flags), ("device", Arc::clone(&names)), ("STATE", names)]),
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
        ("notes.md", "is none of Parquet, Arrow IPC file"),
        ("nothing.csv", "No such file"),
    ] {
        // A good file beside it does not hide it.
        let (good, bad) = (file("good.parquet"), file(name));
        let args = ["replay", text(&good), text(&bad), "--catalog", text(&catalog)];
        let said = run(&args);
        assert_eq!(said.code, 1, "{name}: {}", said.err);
        let said = said.err;
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
    assert_eq!(assets.len(), 6, "the main pump and five of the file: {assets:?}");
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
