//! Questions about the history of a fleet, to Millstream and to DuckDB on the same files.
//!
//! Trucks send where they are, how fast, what they burn and carry; `MILLSTREAM_TRUCKS` says how many
//! (100 when left out), `MILLSTREAM_HOURS` for how long (24), every ten seconds. The questions in
//! `benches/fleet/questions` are those of the IoT use case of the Time Series Benchmark Suite, in our
//! words, and some that every analyst asks. DuckDB gets the text up to `-- live`, Millstream the one
//! behind it where there is one: what a live view knows is not looked for in history. Both answers
//! must be the same. `MILLSTREAM_PYTHON` names a Python with `duckdb` and `pyarrow` (`python3` when
//! left out).
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use arrow::array::{
    Array, ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream::app::{Runtime, Settings, publish_folder};
use millstream::ingest::commit::Submission;
use millstream::model::{Batch, DataType};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

const METRICS: [&str; 9] = [
    "latitude",
    "longitude",
    "velocity",
    "fuel_consumption",
    "nominal_consumption",
    "fuel_state",
    "load",
    "load_capacity",
    "status",
];
const FLEETS: [&str; 4] = ["east", "north", "south", "west"];
/// 2026-03-01.
const START: i64 = 1_772_323_200_000_000;
const RUNS: usize = 7;

fn main() {
    let number = |name: &str, usual: usize| {
        std::env::var(name).ok().map_or(usual, |text| text.parse().expect("a number"))
    };
    let (trucks, hours) = (number("MILLSTREAM_TRUCKS", 100), number("MILLSTREAM_HOURS", 24));
    let directory = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(&Settings::new(directory.path())).unwrap();
    let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/fleet");
    assert!(publish_folder(&runtime, directory.path(), &catalog).unwrap().is_empty());
    let devices: Vec<_> = {
        let catalog = runtime.catalog.read().unwrap();
        (0..trucks).flat_map(|truck| catalog.provision(&key(truck)).unwrap()).collect()
    };
    runtime.publish(devices).unwrap();
    let begun = Instant::now();
    drive(&runtime, trucks, hours * 360);
    let files = archive(&runtime, directory.path());
    let points = trucks * hours * 360 * METRICS.len();
    assert!(!files.is_empty());
    println!(
        "{points} points of {trucks} trucks in {} files after {:.1} s",
        files.len(),
        begun.elapsed().as_secs_f64()
    );
    let questions = questions();
    let theirs = duckdb(&files, &questions);
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let mut ratios = Vec::new();
    println!(
        "{:<20} {:>10} {:>10} {:>7} {:>8}",
        "question", "ours, ms", "DuckDB, ms", "ratio", "rows"
    );
    for ((name, common, live), (seconds, rows)) in questions.iter().zip(theirs) {
        let text = live.as_ref().unwrap_or(common);
        let (mut times, mut answer) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let begun = Instant::now();
            answer = tokio.block_on(async {
                runtime.query.sql(text).await.unwrap().collect().await.unwrap()
            });
            times.push(begun.elapsed().as_secs_f64());
        }
        compare(name, &answer, &rows);
        let (ours, theirs) = (median(times), median(seconds));
        ratios.push(ours / theirs);
        let (ours, theirs) = (ours * 1e3, theirs * 1e3);
        let mark = if live.is_some() { " live" } else { "" };
        println!(
            "{name:<20} {ours:>10.2} {theirs:>10.2} {:>7.2} {:>8}{mark}",
            ours / theirs,
            rows.len()
        );
    }
    println!("median of the ratios {:.2}", median(ratios));
    runtime.close().unwrap();
}

/// Ticks of ten seconds, six a batch.
fn drive(runtime: &Runtime, trucks: usize, ticks: usize) {
    let mut random = 20_260_301_u64;
    let mut below = move |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % n
    };
    for minute in 0..ticks.div_ceil(6) {
        let of_minute = minute * 6..ticks.min(minute * 6 + 6);
        let rows: Vec<(usize, usize)> =
            of_minute.flat_map(|tick| (0..trucks).map(move |truck| (tick, truck))).collect();
        let columns: Vec<[f64; METRICS.len()]> = rows
            .iter()
            .map(|(tick, truck)| {
                let (ten, noise) = (tick / 60, below(1_000) as f64 / 1_000.0);
                let drives = (ten / (3 + truck % 9) + truck) % 4 > 0;
                let velocity = if drives { 40.0 + 40.0 * noise } else { 0.0 };
                let fuel = 1.0 - ((tick + truck * 37) % 2_000) as f64 / 2_000.0;
                let broken = (ten + truck * 5) % 97 == 0;
                let capacity = [1_500.0, 2_000.0, 5_000.0][truck % 3];
                [
                    45.0 + *truck as f64 * 0.01 + *tick as f64 * 0.000_1,
                    7.0 + noise * 0.1,
                    velocity,
                    if drives { 18.0 + 10.0 * noise } else { 0.5 },
                    [15.0, 19.0, 23.0][truck % 3],
                    fuel,
                    capacity * ((ten / 20 + truck) % 10) as f64 / 9.5,
                    capacity,
                    if broken { 2.0 } else { 0.0 },
                ]
            })
            .collect();
        let keys = rows.iter().map(|(_, truck)| key(*truck));
        let times = rows.iter().map(|(tick, _)| START + *tick as i64 * 10_000_000);
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(keys)),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
            Arc::new(UInt32Array::from(vec![0; rows.len()])),
            Arc::new(UInt32Array::from(vec![0; rows.len()])),
        ];
        arrays.extend((0..METRICS.len()).map(|metric| {
            Arc::new(Float64Array::from_iter_values(columns.iter().map(|row| row[metric])))
                as ArrayRef
        }));
        let schema = Batch::schema(METRICS.map(|name| (name, DataType::Double)));
        let batch = Batch::try_new(RecordBatch::try_new(schema, arrays).unwrap()).unwrap();
        let messages = batch.len() as u32;
        let submission = Submission { batches: vec![batch], messages, ..Submission::default() };
        runtime.committer.submit_blocking(submission).unwrap();
    }
}

fn key(truck: usize) -> String {
    format!("{}-{truck:04}", FLEETS[truck % 4])
}

/// All points in files, whose paths it gives.
fn archive(runtime: &Runtime, data: &Path) -> Vec<String> {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(runtime.views.wait_for(runtime.committer.durable_epoch()));
    runtime.historian.flush().unwrap();
    let telemetry = runtime.historian.snapshot(runtime.historian.epoch()).unwrap();
    let path = |path: &String| data.join("archive").join(path).display().to_string();
    telemetry.files().iter().map(|file| path(&file.path)).collect()
}

/// Name, common text, text for live views.
fn questions() -> Vec<(String, String, Option<String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/fleet/questions");
    let mut questions: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            match text.split_once("-- live\n") {
                Some((common, live)) => (name, common.into(), Some(live.into())),
                None => (name, text, None),
            }
        })
        .collect();
    questions.sort();
    questions
}

/// The times and the rows of each question.
fn duckdb(
    files: &[String],
    questions: &[(String, String, Option<String>)],
) -> Vec<(Vec<f64>, Vec<Vec<String>>)> {
    let python = std::env::var("MILLSTREAM_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/support/ask_duckdb.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("MILLSTREAM_PYTHON names a Python with duckdb and pyarrow");
    let texts: Vec<(&String, &String)> =
        questions.iter().map(|(name, sql, _)| (name, sql)).collect();
    let threads = millstream::query::Limits::default().threads;
    let asked = json!({"files": files, "threads": threads, "runs": RUNS, "questions": texts});
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let answers = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| {
        let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let seconds = serde_json::from_value(answer["seconds"].clone()).unwrap();
        (seconds, serde_json::from_value(answer["rows"].clone()).unwrap())
    });
    let answers: Vec<_> = answers.collect();
    assert!(child.wait().unwrap().success() && answers.len() == questions.len());
    answers
}

fn compare(name: &str, ours: &[RecordBatch], theirs: &[Vec<String>]) {
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in ours {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for i in 0..batch.num_rows() {
            let cell = |(column, formatter): (&ArrayRef, &ArrayFormatter<'_>)| {
                let text = formatter.value(i).to_string();
                match (column.is_null(i), column.data_type().is_temporal(), text.parse::<f64>()) {
                    (true, ..) => String::new(),
                    (_, true, _) => text[..19].replace('T', " "),
                    (_, _, Ok(number)) => format!("{:.3}", number),
                    _ => text,
                }
            };
            rows.push(batch.columns().iter().zip(&columns).map(cell).collect::<Vec<_>>());
        }
    }
    assert_eq!(rows.len(), theirs.len(), "{name}");
    for (ours, theirs) in rows.iter().zip(theirs) {
        for (ours, theirs) in ours.iter().zip(theirs) {
            let same = match (ours.parse::<f64>(), theirs.parse::<f64>()) {
                (Ok(ours), Ok(theirs)) => (ours - theirs).abs() <= 1e-3 * theirs.abs().max(1.0),
                _ => ours == theirs,
            };
            assert!(same, "{name}: {ours} is not {theirs}");
        }
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
