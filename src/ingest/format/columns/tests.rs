use super::*;
use crate::ingest::format::arrow as stream;
use crate::ingest::route::testing::Plant;
use crate::ingest::route::{KeepRaw, Message, Routed, Router, Scalar, Settings};
use crate::model::{Reason, Timestamp};
use arrow::array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int64Array,
    ListArray, RecordBatch, StringArray, StringViewArray, TimestampMillisecondArray, UInt8Array,
};
use arrow::datatypes::{Float64Type, Int32Type, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use std::sync::Arc;

const NOW: i64 = 1_772_323_200_000_000;

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .unwrap()
}

fn route(batch: &RecordBatch, settings: Settings) -> Routed {
    let plant = Plant::default();
    let mut router = Router::new(&plant, settings, "test", Timestamp(NOW));
    Columns::detect(batch.schema_ref()).unwrap().route(batch, &mut router).unwrap();
    router.finish()
}

/// Rows as `device +seconds quality metric=value ...`, sorted, then `index metric reason`.
fn show(routed: &Routed) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in &routed.batches {
        for row in 0..batch.len() {
            let mut line = format!(
                "{} {:+} {:x}",
                batch.devices().value(row),
                (batch.event_times()[row] - NOW) / 1_000_000,
                batch.qualities()[row]
            );
            for (name, column) in batch.metrics().filter(|(_, column)| column.is_valid(row)) {
                let value = arrow::util::display::array_value_to_string(column, row).unwrap();
                line += &format!(" {name}={value}");
            }
            lines.push(line);
        }
    }
    lines.sort();
    for one in &routed.rejected {
        let metric = one.metric.as_deref().unwrap_or("-");
        lines.push(format!("{} {metric} {}", one.index, one.reason));
    }
    lines
}

#[track_caller]
fn check(batch: &RecordBatch, expected: &[&str]) -> Routed {
    let routed = route(batch, Settings::default());
    assert_eq!(show(&routed), expected);
    assert_eq!(routed.points, expected.iter().map(|line| line.matches('=').count()).sum::<usize>());
    routed
}

fn seconds(offsets: &[i64]) -> ArrayRef {
    let times = offsets.iter().map(|offset| NOW / 1_000 + offset * 1_000);
    Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
}

fn texts(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

fn numbers(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

#[test]
fn columns_are_found_by_name() {
    let detect = |names: &[&str]| {
        let columns = names.iter().map(|name| match *name {
            "metric" | "Device_ID" | "well" | "device" => (*name, texts(&["a"])),
            "nested" => {
                let list = vec![Some(vec![Some(1.0)])];
                let list = ListArray::from_iter_primitive::<Float64Type, _, _>(list);
                (*name, Arc::new(list) as ArrayRef)
            }
            _ => (*name, numbers(&[1.0])),
        });
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        match Columns::detect(batch.schema_ref()) {
            Ok(columns) => format!("{:?} {}", columns.form(), columns.time()),
            Err(e) => e.to_string(),
        }
    };
    for (names, expected) in [
        (&["_time", "Device_ID", "metric", "value"][..], "Narrow 0"),
        (&["x", "TimeStamp", "well"], "Wide 1"),
        (&["ts", "device", "value"], "Wide 0"),
        (&["a", "b"], "no time column: found columns a, b; expected one of time, ts, timestamp,"),
        (&["time", "b"], "no device column: found columns time, b; expected one of device,"),
        (&["time", "device"], "no metric columns: found only time, device; expected metric and"),
        (&["time", "sensor", "x"], "column 'sensor' is of type Float64, expected a text or an int"),
    ] {
        assert!(detect(names).starts_with(expected), "{}", detect(names));
    }
    let schema = Schema::new(vec![
        arrow::datatypes::Field::new("time", arrow::datatypes::DataType::Boolean, false),
        arrow::datatypes::Field::new("device", arrow::datatypes::DataType::Utf8, false),
    ]);
    let error = Columns::detect(&schema).unwrap_err().to_string();
    assert!(error.starts_with("column 'time' is of type Boolean, expected a timestamp"), "{error}");
}

#[test]
fn wide_batches_keep_their_columns() {
    let one_type = batch([
        ("time", seconds(&[0, 1])),
        ("device", texts(&["pump-1", "pump-2"])),
        ("pressure", numbers(&[1.5, 2.5])),
        ("starts", Arc::new(UInt8Array::from(vec![Some(3), None]))),
    ]);
    let routed =
        check(&one_type, &["pump-1 +0 0 pressure=1.5 starts=3", "pump-2 +1 0 pressure=2.5"]);
    assert!(Arc::ptr_eq(&routed.batches[0].rows().schema(), &routed.batches[0].rows().schema()));
    let mixed = batch([
        ("Timestamp", Arc::new(Int64Array::from(vec![1_772_323_200, 1_772_323_201_000])) as _),
        (
            "asset",
            Arc::new(vec!["pump-1", "well-1"].into_iter().collect::<DictionaryArray<Int32Type>>())
                as _,
        ),
        ("pressure", Arc::new(Float32Array::from(vec![Some(1.5), None])) as _),
        ("P-TPT", Arc::new(Float64Array::from(vec![None, Some(2.5)])) as _),
        ("quality", texts(&["Good", "Bad"])),
    ]);
    check(&mixed, &["pump-1 +0 0 pressure=1.5", "well-1 +1 80000000 P-TPT=2.5"]);
}

#[test]
fn faults_of_wide_batches_are_told_once() {
    let faulty = batch([
        ("time", seconds(&[0, 1, 2, 9_999, 4])),
        ("device", texts(&["pump-1", "alien", "pump-2", "pump-1", "alien"])),
        ("pressure", numbers(&[f64::NAN, 2.0, f64::INFINITY, 4.0, 5.0])),
        ("colour", numbers(&[1.0, 2.0, 3.0, 4.0, 5.0])),
        ("running", texts(&["true", "x", "maybe", "x", "x"])),
        ("starts", Arc::new(BooleanArray::from(vec![true; 5]))),
        ("state", texts(&["on", "off", "on", "on", "on"])),
    ]);
    let routed = check(
        &faulty,
        &[
            "pump-1 +0 0 running=true state=on",
            "pump-2 +2 0 state=on",
            "0 pressure VALUE",
            "0 colour UNKNOWN_METRIC",
            "0 starts VALUE",
            "1 - UNKNOWN_DEVICE",
            "2 running VALUE",
            "3 - FUTURE_TS",
        ],
    );
    let letter = &routed.dead_letters[0];
    assert_eq!(letter.detail.split(" (").nth(1), Some("2 rows, the first at 1)"));
    assert_eq!(letter.raw.iter().filter(|byte| **byte == b'\n').count(), 2);
    let text = String::from_utf8(routed.dead_letters[4].raw.to_vec()).unwrap();
    assert_eq!(
        text,
        "{\"time\":\"2026-03-01T00:00:02Z\",\"device\":\"pump-2\",\"running\":\"maybe\"}\n"
    );
}

#[test]
fn narrow_batches_become_wide_rows() {
    let narrow = batch([
        ("time", seconds(&[0, 0, 1, 0, 0, 1])),
        ("device", texts(&["pump-1", "pump-1", "pump-1", "well-1", "pump-1", "pump-1"])),
        ("metric", texts(&["pressure", "starts", "pressure", "P-TPT", "running", "pressure"])),
        ("value", numbers(&[1.0, 2.0, 3.0, 4.0, 1.0, 5.0])),
    ]);
    check(
        &narrow,
        &[
            "pump-1 +0 0 pressure=1.0 starts=2 running=true",
            "pump-1 +1 0 pressure=3.0",
            "pump-1 +1 0 pressure=5.0",
            "well-1 +0 0 P-TPT=4.0",
        ],
    );
    let mixed = batch([
        ("ts", Arc::new(StringViewArray::from(vec!["2026-03-01T00:00:00Z"; 5])) as _),
        ("device", texts(&["pump-1"; 5])),
        ("metric", texts(&["pressure", "state", "running", "starts", "colour"])),
        ("value", texts(&["1.5", "on", "true", "4.5", "red"])),
        ("quality", Arc::new(Int64Array::from(vec![0, 0, 0x4000_0000, 0, 0])) as _),
    ]);
    check(
        &mixed,
        &[
            "pump-1 +0 0 pressure=1.5 state=on",
            "pump-1 +0 40000000 running=true",
            "3 starts VALUE",
            "4 colour UNKNOWN_METRIC",
        ],
    );
}

#[test]
fn all_refused_rows_are_kept_unless_a_file_has_them() {
    let rows = 10_000;
    let alien = batch([
        ("time", seconds(&vec![0; rows])),
        ("device", texts(&vec!["alien"; rows])),
        ("pressure", numbers(&vec![1.0; rows])),
    ]);
    let lines = |routed: &Routed| -> usize {
        let all = routed.dead_letters.iter().flat_map(|letter| letter.raw.iter());
        all.filter(|byte| **byte == b'\n').count()
    };
    let routed = route(&alien, Settings::default());
    assert_eq!((lines(&routed), routed.rejected.len()), (rows, 1));
    let settings = Settings { keep_raw: KeepRaw::Sample, ..Settings::default() };
    let routed = route(&alien, settings);
    assert_eq!((routed.dead_letters.len(), routed.rejected.len()), (1, 1));
    assert!(lines(&routed) > 500);
}

fn stream_of(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    bytes
}

#[test]
fn broken_streams_keep_the_batches_before_the_break() {
    let one = batch([
        ("time", seconds(&[0, 1])),
        ("device", texts(&["pump-1", "pump-2"])),
        ("pressure", numbers(&[1.5, 2.5])),
    ]);
    let bytes = stream_of(&[one.clone(), one.clone()]);
    let plant = Plant::default();
    let decode = |bytes: &[u8]| {
        let mut router = Router::new(&plant, Settings::default(), "test", Timestamp(NOW));
        let result = stream::decode(bytes, &mut router);
        (result.map_err(|e| e.to_string()), router.finish())
    };
    let (result, routed) = decode(&bytes);
    assert_eq!((result, routed.points, routed.messages), (Ok(()), 4, 2));
    let (result, routed) = decode(&bytes[..bytes.len() - 60]);
    assert_eq!((result, routed.points), (Ok(()), 2));
    assert_eq!(routed.rejected[0].reason, Reason::Syntax);
    for garbage in [&b"garbage"[..], b"", b"{\"deviceId\":1}", &[0xff; 64]] {
        let (result, routed) = decode(garbage);
        assert!(result.is_err() && routed.points == 0, "{garbage:?}");
    }
    // A compressed buffer that says it holds a terabyte.
    let mut bomb = Vec::new();
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD));
    let mut writer =
        StreamWriter::try_new_with_options(&mut bomb, &one.schema(), options.unwrap()).unwrap();
    let big = batch([
        ("time", seconds(&[0; 5_000])),
        ("device", texts(&["pump-1"; 5_000])),
        ("pressure", numbers(&[1.5; 5_000])),
    ]);
    writer.write(&big).unwrap();
    writer.finish().unwrap();
    drop(writer);
    assert_eq!(decode(&bomb).1.points, 5_000);
    let size = 40_000i64.to_le_bytes();
    let at = bomb.windows(8).position(|bytes| bytes == size).unwrap();
    bomb[at..at + 8].copy_from_slice(&(1i64 << 40).to_le_bytes());
    let (result, routed) = decode(&bomb);
    assert_eq!((result, routed.points, routed.rejected[0].reason), (Ok(()), 0, Reason::Limit));
    let wrong = stream_of(&[batch([("a", numbers(&[1.0]))])]);
    assert!(decode(&wrong).0.unwrap_err().starts_with("no time column: found columns a"));
    // Damage anywhere is an error or a refusal or other values, never the end of the process.
    let mut random = 7u64;
    for _ in 0..300 {
        let mut bytes = bytes.clone();
        for _ in 0..3 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (random >> 33) as usize % bytes.len();
            bytes[at] = (random >> 20) as u8;
        }
        let _ = decode(&bytes);
    }
}

#[test]
fn columns_and_messages_agree() {
    for seed in 0..20u64 {
        println!("seed {seed}");
        let mut random = seed;
        let mut next = move |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            (random >> 33) % n
        };
        let plant = Plant::default();
        let mut expected = Router::new(&plant, Settings::default(), "test", Timestamp(NOW));
        let rows = 200;
        let (mut times, mut devices, mut pressures) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rows {
            let (time, device) = (next(1_000) as i64, format!("pump-{}", next(5)));
            let pressure = (next(4) > 0).then(|| next(100) as f64);
            expected.message(
                &Message {
                    device: Some(device.clone().into()),
                    metrics: vec![(
                        "pressure".into(),
                        pressure.map_or(Scalar::Null, Scalar::Double),
                    )],
                    event_time: Some(Timestamp(NOW - time * 1_000_000)),
                    ..Message::default()
                },
                b"",
            );
            times.push(-time);
            devices.push(device);
            pressures.push(pressure);
        }
        let wide = batch([
            ("time", seconds(&times)),
            ("device", Arc::new(StringArray::from(devices)) as _),
            ("pressure", Arc::new(Float64Array::from(pressures)) as _),
        ]);
        let some = |routed: &Routed| -> Vec<String> {
            show(routed).into_iter().filter(|line| line.contains('=')).collect()
        };
        let found = route(&wide, Settings::default());
        assert_eq!(some(&found), some(&expected.finish()));
    }
}
