use super::*;
use crate::ingest::route::testing::Plant;
use crate::ingest::route::{Router, Settings as Routing};
use crate::model::{Duration, Timestamp};
use arrow::array::{
    ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::csv;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const START: i64 = 1_772_323_200_000_000;

/// A wide file of one pump; times in milliseconds after the start, values count up.
fn pump(device: &str, millis: &[i64]) -> RecordBatch {
    let times = millis.iter().map(|time| START + time * 1_000);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let values = (0..millis.len()).map(|i| i as f64);
    RecordBatch::try_from_iter([
        ("time", Arc::new(times) as ArrayRef),
        ("device", Arc::new(StringArray::from(vec![device; millis.len()]))),
        ("pressure", Arc::new(Float64Array::from_iter_values(values))),
    ])
    .unwrap()
}

fn write(folder: &Path, name: &str, batches: &[RecordBatch]) -> PathBuf {
    let path = folder.join(name);
    let file = File::create(&path).unwrap();
    let schema = batches[0].schema();
    match path.extension().unwrap().to_str().unwrap() {
        "parquet" => {
            let mut writer = ArrowWriter::try_new(file, schema, None).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.close().unwrap();
        }
        "arrow" => {
            let mut writer = FileWriter::try_new(file, &schema).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
        }
        "arrows" => {
            let mut writer = StreamWriter::try_new(file, &schema).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
        }
        _ => {
            let mut writer = csv::Writer::new(file);
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
        }
    }
    path
}

/// Steps as `device: milliseconds ... @ tick`.
fn play(paths: &[PathBuf], settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    for step in Replay::open(paths, settings).unwrap() {
        let step = step.unwrap();
        let columns = step.source.recording.columns();
        let plant = Plant::default();
        let mut router =
            Router::new(&plant, Routing::default(), &*step.source.label, Timestamp(i64::MAX));
        columns.route(&step.rows, &mut router).unwrap();
        let routed = router.finish();
        assert!(routed.rejected.is_empty(), "{:?}", routed.rejected);
        let batch = &routed.batches[0];
        let times: Vec<_> =
            batch.event_times().iter().map(|time| ((time - START) / 1_000).to_string()).collect();
        let tick = (step.tick.0 - START) / 1_000;
        lines.push(format!("{}: {} @ {tick}", batch.devices().value(0), times.join(" ")));
    }
    lines
}

#[track_caller]
fn check(paths: &[PathBuf], order: Order, expected: &[&str]) {
    let settings = Settings { order, ..Settings::default() };
    assert_eq!(play(paths, &settings), expected);
}

#[test]
fn every_format_gives_the_same_steps() {
    let folder = tempfile::tempdir().unwrap();
    let batches = [pump("pump-1", &[0, 500, 1_000]), pump("pump-1", &[1_500, 5_000])];
    for name in ["a.parquet", "a.arrow", "a.arrows", "a.csv"] {
        let path = write(folder.path(), name, &batches);
        let steps = match name {
            "a.csv" | "a.parquet" => {
                vec!["pump-1: 0 500 @ 500", "pump-1: 1000 1500 @ 1500", "pump-1: 5000 @ 5000"]
            }
            _ => vec![
                "pump-1: 0 500 @ 500",
                "pump-1: 1000 @ 1000",
                "pump-1: 1500 @ 1500",
                "pump-1: 5000 @ 5000",
            ],
        };
        check(std::slice::from_ref(&path), Order::Auto, &steps);
        let replay = Replay::open(&[path], &Settings::default()).unwrap();
        let span = (Timestamp(START), Timestamp(START + 5_000_000));
        assert_eq!((replay.rows(), replay.span()), (5, Some(span)));
    }
}

#[test]
fn files_are_merged_by_event_time() {
    let folder = tempfile::tempdir().unwrap();
    let one = write(folder.path(), "1.parquet", &[pump("pump-1", &[0, 2_000, 2_100, 9_000])]);
    let two = write(folder.path(), "2.csv", &[pump("pump-2", &[1_000, 2_050, 3_000])]);
    check(
        &[one, two],
        Order::Auto,
        &[
            "pump-1: 0 @ 0",
            "pump-2: 1000 @ 1000",
            "pump-1: 2000 2100 @ 2100",
            "pump-2: 2050 @ 2100",
            "pump-2: 3000 @ 3000",
            "pump-1: 9000 @ 9000",
        ],
    );
}

#[test]
fn late_rows_keep_their_place_and_shuffled_files_are_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let mut times: Vec<i64> = (0..20).map(|i| i * 1_000).collect();
    times.insert(12, 3_500);
    let late = write(folder.path(), "late.parquet", &[pump("pump-1", &times)]);
    let all = play(std::slice::from_ref(&late), &Settings::default());
    assert_eq!(all[11], "pump-1: 11000 3500 @ 11000");
    let settings = Settings { order: Order::Sort, ..Settings::default() };
    assert_eq!(play(&[late], &settings)[3], "pump-1: 3000 3500 @ 3500");
    // Sorted by metric, then time, as archives are.
    let shuffled = write(folder.path(), "s.parquet", &[pump("pump-1", &[0, 1_000, 0, 1_000, 500])]);
    let paths = [shuffled];
    check(&paths, Order::Auto, &["pump-1: 0 0 500 @ 500", "pump-1: 1000 1000 @ 1000"]);
    check(&paths, Order::Keep, &["pump-1: 0 @ 0", "pump-1: 1000 0 1000 500 @ 1000"]);
}

#[test]
fn sorting_on_disk_gives_what_sorting_in_memory_gives() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..3u64 {
        println!("seed {seed}");
        let mut random = seed;
        let mut times = Vec::new();
        for _ in 0..60_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            times.push((random >> 40) as i64 % 10_000);
        }
        let batches: Vec<_> = times.chunks(7_001).map(|part| pump("pump-1", part)).collect();
        let path = write(folder.path(), "big.arrow", &batches);
        let play = |sort_bytes| {
            let temporary = folder.path().join("temporary");
            let span = Duration(100_000_000);
            let settings = Settings { sort_bytes, temporary, span, ..Settings::default() };
            let mut rows: Vec<(i64, u64)> = Vec::new();
            for step in Replay::open(&[&path], &settings).unwrap() {
                let step = step.unwrap().rows;
                let times = step.column(0).as_primitive::<TimestampMicrosecondType>();
                let values = step.column(2).as_primitive::<arrow::datatypes::Float64Type>();
                rows.extend(
                    times.values().iter().zip(values.values()).map(|(t, v)| (*t, v.to_bits())),
                );
            }
            assert!(rows.is_sorted_by_key(|row| row.0));
            rows
        };
        let expected = play(usize::MAX);
        assert_eq!(expected.len(), times.len());
        for sort_bytes in [1, 1_000_000, 2_000_000] {
            assert!(play(sort_bytes) == expected, "{sort_bytes} bytes");
        }
    }
    assert_eq!(fs::read_dir(folder.path().join("temporary")).unwrap().count(), 0);
}

#[test]
fn bad_files_are_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), "good.parquet", &[pump("pump-1", &[0, 1])]);
    let bytes = fs::read(&good).unwrap();
    let arrow = fs::read(write(folder.path(), "good.arrow", &[pump("pump-1", &[0, 1])])).unwrap();
    let damaged = "is truncated or damaged, or no";
    for (name, contents, expected) in [
        ("cut.parquet", &bytes[..bytes.len() / 2], damaged),
        ("text.parquet", b"hello world", damaged),
        ("cut.arrow", &arrow[..arrow.len() / 2], damaged),
        ("notes.md", b"hello world", "is none of Parquet, Arrow IPC file,"),
        ("empty.csv", b"", "no time column: found columns ;"),
        ("wrong.csv", b"a,b\n1,2\n", "no time column: found columns a, b;"),
        ("ragged.csv", b"time,device,x\n1,pump-1,2\n3\n", damaged),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, contents).unwrap();
        let error = match Replay::open(&[&path], &Settings::default()) {
            Ok(replay) => {
                replay.filter_map(Result::err).map(|e| e.to_string()).collect::<Vec<_>>().join("")
            }
            Err(e) => e.to_string(),
        };
        assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
    }
    let absent = folder.path().join("absent.csv");
    let error = Replay::open(&[&absent], &Settings::default()).err().unwrap().to_string();
    assert!(error.starts_with("read ") && error.contains("absent.csv"), "{error}");
}

#[test]
fn csv_cells_are_refused_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    fs::write(
        &path,
        "Timestamp;Device ID;pressure;starts;state\n\
         2026-03-01T01:00:00+01:00;pump-1;1.5;;on\n\
         1772323201000000;pump-1;x;2;\n\
         soon;pump-1;1;1;on\n",
    )
    .unwrap();
    let plant = Plant::default();
    let mut router = Router::new(&plant, Routing::default(), "file:a.csv", Timestamp(i64::MAX));
    for step in Replay::open(&[&path], &Settings::default()).unwrap() {
        let step = step.unwrap();
        step.source.recording.columns().route(&step.rows, &mut router).unwrap();
    }
    let routed = router.finish();
    let found: Vec<_> = routed
        .rejected
        .iter()
        .map(|one| format!("{} {:?} {}", one.index, one.metric, one.reason))
        .collect();
    assert_eq!(found, ["1 Some(\"pressure\") VALUE", "2 None TS"]);
    assert_eq!(routed.points, 3);
}
