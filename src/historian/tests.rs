mod expire;
mod faults;
mod history;
mod merged;
mod moved;
mod shaky;

use super::*;
use crate::model::{Document, Epoch, Kind, Rows, Timestamp, TypeId, Value};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType, UInt64Type};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const DAY: i64 = 86_400_000_000;
const START: i64 = 1_772_323_200_000_000;

const TYPE: &str = r#"{"apiVersion": "assets/v1", "kind": "AssetTypeProfile",
    "metadata": {"key": "pump"}, "metric_definitions": {
    "speed": {}, "count": {"type": "integer"}, "mode": {"type": "string"}}}"#;

fn document(kind: Kind, id: u32, key: &str, body: &str) -> Document {
    Document {
        kind,
        key: key.into(),
        id,
        version: 1,
        effective_from: Timestamp::MIN,
        body: Some(body.into()),
    }
}

fn named(historian: &Historian) {
    historian.apply_document(&document(Kind::AssetTypes, 0, "pump", TYPE)).unwrap();
    // Names sort the other way round than ids.
    for id in 0..5 {
        let key = format!("p-{}", 9 - id);
        let asset = format!(r#"{{"key": "{key}", "asset_type": "pump"}}"#);
        historian.apply_document(&document(Kind::Assets, id, &key, &asset)).unwrap();
        let device = format!(r#"{{"key": "d{id}", "device_type": "box"}}"#);
        historian.apply_document(&document(Kind::Devices, id, "d", &device)).unwrap();
    }
}

fn rows(points: &[(u32, i64, u32, f64)]) -> Rows {
    let mut rows = Rows::new(TypeId(0), 3);
    for (asset, time, slot, value) in points.iter().copied() {
        rows.assets.push(asset);
        rows.devices.push(asset);
        rows.times.push(time);
        rows.messages.push(0);
        rows.fresh.push(1 << slot);
        rows.quality.extend([value as u32; 3]);
        let mut words = [0; 3];
        words[slot as usize] = match slot {
            0 => value.to_bits(),
            1 => value as u64,
            _ => Value::String(format!("run {value}").into()).word(),
        };
        rows.words.extend(words);
    }
    rows
}

fn hot(telemetry: &Telemetry) -> Vec<RecordBatch> {
    telemetry.hot(&Selection::default(), None).map(|batch| batch.unwrap()).collect()
}

fn files(telemetry: &Telemetry) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for file in telemetry.files() {
        let file = telemetry.places.open(file).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
        batches.extend(reader.unwrap().build().unwrap().map(|batch| batch.unwrap()));
    }
    batches
}

type Keys = BTreeMap<(String, String, i64), (f64, u64)>;

/// Keys to values and epochs; `replaced` rows left out; a key must not come twice.
fn contents(telemetry: &Telemetry) -> Keys {
    let mut gone = BTreeMap::new();
    if let Some(list) = telemetry.replaced().unwrap() {
        for i in 0..list.num_rows() {
            let key = (
                list.column(0).as_string::<i32>().value(i).to_string(),
                list.column(1).as_string::<i32>().value(i).to_string(),
                list.column(2).as_primitive::<TimestampMicrosecondType>().value(i),
            );
            let before = list.column(3).as_primitive::<UInt64Type>().value(i);
            let entry = gone.entry(key).or_insert(before);
            *entry = before.max(*entry);
        }
    }
    let mut keys = Keys::new();
    let mut read = |batches: Vec<RecordBatch>, check_gone: bool| {
        for batch in batches {
            for i in 0..batch.num_rows() {
                let key = (
                    batch.column(1).as_string::<i32>().value(i).to_string(),
                    batch.column(3).as_string::<i32>().value(i).to_string(),
                    batch.column(0).as_primitive::<TimestampMicrosecondType>().value(i),
                );
                let values = batch.column(4).as_primitive::<Float64Type>();
                let value = if values.is_valid(i) { values.value(i) } else { 0.0 };
                let epoch = batch.column(7).as_primitive::<UInt64Type>().value(i);
                if check_gone && gone.get(&key).is_some_and(|before| epoch < *before) {
                    continue;
                }
                assert!(keys.insert(key.clone(), (value, epoch)).is_none(), "twice: {key:?}");
            }
        }
    };
    read(files(telemetry), true);
    read(hot(telemetry), false);
    keys
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }
}

fn small() -> Options {
    Options { cut_points: 40, ..Options::default() }
}

/// Random points with corrections, cut anywhere, reopened anywhere with a replay of everything.
fn check_random(seed: u64) {
    println!("seed {seed}");
    let mut random = Random(seed);
    let directory = tempfile::tempdir().unwrap();
    // Without merging, and with as much of it as there can be.
    let small = || Options { merge_files: seed as usize % 4, ..small() };
    let mut historian = Historian::open(directory.path(), small()).unwrap();
    named(&historian);
    let mut expected = Keys::new();
    let mut history: Vec<(Rows, Vec<(TypeId, u32, u32, i64)>)> = Vec::new();
    let names = ["speed", "count"];
    for epoch in 1..=60 {
        let mut points = BTreeMap::new();
        for _ in 0..random.below(12) {
            let time = START + random.below(6) as i64 * DAY / 3 + random.below(4) as i64;
            let key = (random.below(5) as u32, time, random.below(2) as u32);
            points.insert(key, random.below(1000) as f64);
        }
        let mut superseded = Vec::new();
        let mut list = Vec::new();
        for ((asset, time, slot), value) in points {
            let key = (format!("p-{}", 9 - asset), names[slot as usize].to_string(), time);
            if expected.insert(key, (value, epoch)).is_some() {
                superseded.push((TypeId(0), asset, slot, time));
            }
            list.push((asset, time, slot, value));
        }
        history.push((rows(&list), superseded));
        feed(&historian, epoch, &history[epoch as usize - 1]);
        if random.below(15) == 0 {
            historian.flush().unwrap();
        }
        if random.below(15) == 0 {
            drop(historian);
            historian = Historian::open(directory.path(), small()).unwrap();
            named(&historian);
            for (epoch, of_epoch) in (1..).zip(&history) {
                feed(&historian, epoch, of_epoch);
            }
        }
        let telemetry = historian.snapshot(Epoch(epoch)).unwrap();
        assert_eq!(contents(&telemetry), expected, "seed {seed}, epoch {epoch}");
    }
    historian.flush().unwrap();
    assert_eq!(historian.hot_points(), 0);
    assert_eq!(contents(&historian.snapshot(Epoch(60)).unwrap()), expected);
}

fn feed(historian: &Historian, epoch: u64, (rows, keys): &(Rows, Vec<(TypeId, u32, u32, i64)>)) {
    historian.accept(Epoch(epoch), rows.clone()).unwrap();
    historian.superseded(Epoch(epoch), keys).unwrap();
    historian.close_epoch(Epoch(epoch), Timestamp(epoch as i64 * 1_000_000));
}

#[test]
fn every_key_is_there_once_with_its_newest_value() {
    for seed in 1..=12 {
        check_random(seed);
    }
}

fn list(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(list(&path)),
            false => found.push(path.file_name().unwrap().to_string_lossy().into_owned()),
        }
    }
    found.sort();
    found
}

#[test]
fn files_are_sorted_partitioned_by_day_and_named_by_their_epochs() {
    let directory = tempfile::tempdir().unwrap();
    let historian = Historian::open(directory.path(), Options::default()).unwrap();
    named(&historian);
    let points = [(0, START + DAY, 0, 1.0), (1, START, 0, 2.0), (1, START - 5, 2, 0.0)];
    historian.accept(Epoch(7), rows(&points)).unwrap();
    historian.close_epoch(Epoch(7), Timestamp(0));
    historian.close_epoch(Epoch(9), Timestamp(0));
    historian.flush().unwrap();
    let telemetry = historian.snapshot(Epoch(9)).unwrap();
    let paths: Vec<&str> = telemetry.files().iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "telemetry/day=2026-02-28/7-9.parquet",
            "telemetry/day=2026-03-01/7-9.parquet",
            "telemetry/day=2026-03-02/7-9.parquet"
        ]
    );
    assert_eq!(historian.archived_epoch(), Epoch(9));
    let first = &files(&telemetry)[0];
    assert!(first.column(4).is_null(0));
    assert!(first.column(5).as_string::<i32>().is_valid(0));
    assert_eq!(first.schema().field(1).data_type(), &arrow::datatypes::DataType::Utf8);
}

#[test]
fn a_crash_between_file_and_manifest_loses_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("manifest.json");
    let points = [(0, START, 0, 1.0), (1, START, 0, 2.0)];
    let before = {
        let historian = Historian::open(directory.path(), Options::default()).unwrap();
        let before = fs::read(&manifest).unwrap();
        named(&historian);
        historian.accept(Epoch(3), rows(&points)).unwrap();
        historian.close_epoch(Epoch(3), Timestamp(0));
        historian.flush().unwrap();
        before
    };
    // As if the process had died after the file was renamed and before the manifest was.
    fs::write(&manifest, before).unwrap();
    fs::write(directory.path().join("manifest.tmp"), "{").unwrap();
    let historian = Historian::open(directory.path(), Options::default()).unwrap();
    assert_eq!(list(directory.path()), ["manifest.json"]);
    named(&historian);
    historian.accept(Epoch(3), rows(&points)).unwrap();
    historian.close_epoch(Epoch(3), Timestamp(0));
    assert_eq!(contents(&historian.snapshot(Epoch(3)).unwrap()).len(), 2);
    historian.flush().unwrap();
    assert_eq!(contents(&historian.snapshot(Epoch(3)).unwrap()).len(), 2);
}

#[test]
fn damage_is_told_and_not_mended() {
    let directory = tempfile::tempdir().unwrap();
    let historian = Historian::open(directory.path(), Options::default()).unwrap();
    named(&historian);
    historian.accept(Epoch(1), rows(&[(0, START, 0, 1.0)])).unwrap();
    historian.close_epoch(Epoch(1), Timestamp(0));
    historian.flush().unwrap();
    let file = directory.path().join(&historian.snapshot(Epoch(1)).unwrap().files()[0].path);
    drop(historian);
    let open = || Historian::open(directory.path(), Options::default()).map(drop).unwrap_err();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..100]).unwrap();
    assert!(open().to_string().contains("100 bytes long"), "{}", open());
    fs::remove_file(directory.path().join("manifest.json")).unwrap();
    assert!(matches!(open(), Error::NoManifest { .. }), "{}", open());
    fs::write(directory.path().join("manifest.json"), "{").unwrap();
    assert!(matches!(open(), Error::Manifest { .. }), "{}", open());
}

#[test]
fn snapshots_hold_still_and_do_not_look_back() {
    let directory = tempfile::tempdir().unwrap();
    let historian = Historian::open(directory.path(), Options::default()).unwrap();
    named(&historian);
    for epoch in 1..=3 {
        historian.accept(Epoch(epoch), rows(&[(0, START, 0, epoch as f64)])).unwrap();
        if epoch > 1 {
            historian.superseded(Epoch(epoch), &[(TypeId(0), 0, 0, START)]).unwrap();
        }
        historian.close_epoch(Epoch(epoch), Timestamp(0));
    }
    let second = historian.snapshot(Epoch(2)).unwrap();
    let value = |telemetry: &Telemetry| contents(telemetry).into_values().next().unwrap();
    assert_eq!(value(&second), (2.0, 2));
    historian.flush().unwrap();
    assert_eq!(value(&second), (2.0, 2));
    assert_eq!(value(&historian.snapshot(Epoch(3)).unwrap()), (3.0, 3));
    assert!(matches!(historian.snapshot(Epoch(2)), Err(Error::Passed { .. })));
}

#[test]
fn points_that_nobody_introduced_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let historian = Historian::open(directory.path(), Options::default()).unwrap();
    let points = rows(&[(0, START, 0, 1.0)]);
    assert!(matches!(historian.accept(Epoch(1), points), Err(Error::UnknownType(TypeId(0)))));
    named(&historian);
    let points = rows(&[(77, START, 0, 1.0)]);
    assert!(matches!(historian.accept(Epoch(1), points), Err(Error::UnknownName { id: 77, .. })));
}

#[test]
fn a_full_disk_keeps_points_hot_and_heals() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { retry_after: std::time::Duration::from_millis(20), ..small() };
    let historian = Historian::open(directory.path(), options).unwrap();
    named(&historian);
    // A file where the folder should be refuses every write, like a full disk.
    fs::remove_dir(directory.path().join("telemetry")).unwrap();
    fs::write(directory.path().join("telemetry"), "").unwrap();
    historian.accept(Epoch(1), rows(&[(0, START, 0, 1.0)])).unwrap();
    historian.close_epoch(Epoch(1), Timestamp(0));
    assert!(matches!(historian.flush(), Err(Error::Writer(_))));
    assert_eq!(historian.snapshot(Epoch(1)).unwrap().hot_points(), 1);
    fs::remove_file(directory.path().join("telemetry")).unwrap();
    let mut tries = 0;
    while historian.archived_epoch() < Epoch(1) {
        tries += 1;
        assert!(tries < 500, "the writer does not heal");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(contents(&historian.snapshot(Epoch(1)).unwrap()).len(), 1);
}
