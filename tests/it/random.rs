//! Random streams: points that come late, twice, corrected or not at all, while the document of
//! the pumps changes or stays. Every view equals its query, however many workers there are.
//!
//! Whether a settled window is told as revised depends on which rows became visible together,
//! which is a matter of speed: here both count as settled, as in a verification.

use crate::exports;
use crate::support::*;
use std::fmt::Write;
use std::fs;

/// How many streams are tried; more with `MILLSTREAM_CASES`.
const CASES: u64 = 4;
const ROWS: usize = 1_500;

/// A small generator, the same everywhere: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From zero to one less than this.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// One pump as the stream goes on.
struct Pump {
    temperature: f64,
    starts: u64,
    state: &'static str,
    sent: Vec<(i64, String)>,
}

/// A recording of three pumps in order of arrival; fewer than a tenth of its rows are late.
fn stream(seed: u64) -> String {
    let mut random = Random(seed);
    let mut text = "time,device,TEMP,FLOW,STARTS,STATE\n".to_owned();
    let pump = || Pump { temperature: 60.0, starts: 0, state: "running", sent: Vec::new() };
    let mut pumps = [pump(), pump(), pump()];
    let mut now = BASE * 1_000;
    for _ in 0..ROWS {
        now += random.below(4_000) as i64;
        if random.one_in(200) {
            now += random.below(3_600_000) as i64;
        }
        let number = random.below(3) as usize;
        let pump = &mut pumps[number];
        pump.temperature =
            (pump.temperature + random.below(41) as f64 / 4.0 - 5.0).clamp(20.0, 110.0);
        let (time, cells) = match random.below(40) {
            // The same again.
            0 if !pump.sent.is_empty() => {
                let place =
                    pump.sent.len() - 1 - random.below(pump.sent.len().min(5) as u64) as usize;
                pump.sent[place].clone()
            }
            // Another value at a known time.
            1 if !pump.sent.is_empty() => {
                let place =
                    pump.sent.len() - 1 - random.below(pump.sent.len().min(5) as u64) as usize;
                let temperature = 20.0 + random.below(360) as f64 / 4.0;
                (pump.sent[place].0, format!("{temperature},,,"))
            }
            // Late by up to twenty minutes.
            2 => {
                let temperature = 20.0 + random.below(360) as f64 / 4.0;
                (
                    now - random.below(1_200_000) as i64,
                    format!("{temperature},{},,", random.below(9_000)),
                )
            }
            _ => {
                let mut cells = String::new();
                if !random.one_in(10) {
                    let _ = write!(cells, "{}", pump.temperature);
                }
                cells.push(',');
                if random.one_in(3) {
                    let _ = write!(cells, "{}", random.below(90_000) as f64 / 8.0);
                }
                cells.push(',');
                if random.one_in(20) {
                    pump.starts += 1;
                    let _ = write!(cells, "{}", pump.starts);
                }
                cells.push(',');
                if random.one_in(12) {
                    pump.state = ["running", "stopped", "tripped"][random.below(3) as usize];
                    cells.push_str(pump.state);
                }
                (now, cells)
            }
        };
        let _ = writeln!(text, "{time},PUMP-{number},{cells}");
        pump.sent.push((time, cells));
    }
    text
}

/// The document of the pumps as some version may have it. `now` is the last time of the stream
/// so far, in milliseconds; the first version has none.
fn version(document: &str, now: Option<i64>, random: &mut Random) -> String {
    let mut text = document.split("\ntests:").next().expect("a document").to_owned();
    let mut change = |from: &str, to: String| {
        assert!(text.contains(from), "the document has no '{from}'");
        text = text.replacen(from, &to, 1);
    };
    let message = r#"message: "{{asset}} at {{metrics.temperature|1}} Cel, {{metrics.load|0}}""#;
    change("    severity: warning\n", format!("    severity: warning\n    {message}\n"));
    if random.one_in(2) {
        change("value: 70", format!("value: {}", 55 + random.below(30)));
        change("value: 90", format!("value: {}", 85 + random.below(10)));
    }
    if random.one_in(2) {
        let delays = [random.below(60), random.below(60)];
        let [on, off] = delays.map(|seconds| format!("PT{seconds}S"));
        change("on_delay: PT10S, off_delay: PT20S", format!("on_delay: {on}, off_delay: {off}"));
    }
    if random.one_in(4) {
        change("      warning: {op: gt", "      # warning: {op: gt".into());
    }
    if random.one_in(3) {
        change("id: is_tripped", "id: has_tripped".into());
    }
    if random.one_in(2) {
        change("for: PT15S", format!("for: PT{}S", random.below(40)));
        change("cooldown: PT5M", format!("cooldown: PT{}M", random.below(60)));
    }
    if random.one_in(3) {
        change("deduct: 30", "deduct: 20\n      hold: PT2M".into());
    }
    if random.one_in(3) {
        // Without a flow there is no load.
        change("  flow: {unit: m3/h, range: [0, 600]}\n", String::new());
        change(
            "    - {target: flow, source: FLOW, from_unit: L/min, optional: true}\n",
            String::new(),
        );
        change("temperature * flow", "temperature * 2".into());
        change("trigger: [temperature, flow]", "trigger: [temperature]".into());
    }
    if random.one_in(4) {
        change("starts: {type: integer}", "starts: {type: double}".into());
    }
    if random.one_in(3) {
        let hours = "{key: hours, metric: '*', window: {tumbling: PT1H}}";
        change("\nevent_rules:", format!("\naggregation_rules: [{hours}]\n\nevent_rules:"));
    }
    if let Some(now) = now.filter(|_| random.one_in(2)) {
        let from = now - random.below(1_800_000) as i64;
        let from = format!("\"{}\"", millstream::model::Timestamp(from * 1_000));
        change("max_future_skew: PT5M", format!("max_future_skew: PT5M, effective_from: {from}"));
    }
    text
}

/// The recording in parts, the first line in each of them, and the last time up to each part's
/// end.
fn parts(stream: &str, count: usize) -> Vec<(String, i64)> {
    let (head, rows) = stream.split_once('\n').expect("a head");
    let rows: Vec<&str> = rows.lines().collect();
    let mut now = 0;
    let part = |rows: &[&str]| {
        let times = rows.iter().filter_map(|row| row.split(',').next()?.parse::<i64>().ok());
        now = times.max().unwrap_or_default().max(now);
        (format!("{head}\n{}\n", rows.join("\n")), now)
    };
    rows.chunks(rows.len().div_ceil(count)).map(part).collect()
}

/// Deletes some of the newest hour, across versions; every view equals its query afterwards.
async fn delete_some(plant: &Plant, random: &mut Random, now: i64, what: &str) {
    let server = plant.serve();
    let mut deleted = 0;
    for _ in 0..8 {
        let from = now - random.below(3_600_000) as i64;
        let to = from + 1 + random.below(3_600_000) as i64;
        let [from, to] = [from, to].map(|at| millstream::model::Timestamp(at * 1_000));
        let metrics = match random.below(3) {
            0 => "",
            1 => "&metrics=temperature",
            _ => "&metrics=temperature,state",
        };
        let number = random.below(3);
        let query = format!("device=PUMP-{number}&from={from}&to={to}&reason=test{metrics}");
        let path = format!("/api/v1/telemetry?{query}");
        let answer = server.send(reqwest::Method::DELETE, &path, &[], "").await;
        match answer.status {
            200 => deleted += answer.json()["points"].as_u64().unwrap(),
            409 => continue,
            other => panic!("{what}: {query} gives {other}: {}", answer.text()),
        }
        let report = server.post("/api/v1/verify", JSON, "").await.good();
        assert_eq!(report["equal"], true, "{what}, after {query}: {report:#}");
    }
    println!("{what}: {deleted} points deleted");
    assert_eq!(server.terminate(), 0);
    plant.run(&["verify"]).expect(0);
}

#[tokio::test]
async fn random_streams_verify_while_documents_change() {
    let cases = std::env::var("MILLSTREAM_CASES").ok().and_then(|cases| cases.parse().ok());
    let begin = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let begin: u64 = begin.unwrap_or(1);
    for seed in begin..begin + cases.unwrap_or(CASES) {
        println!("seed {seed}");
        let mut random = Random(seed);
        let plant = Plant::new();
        let document = plant.document("asset_types/pump.yaml");
        let mut now = None;
        for (part, (rows, last)) in parts(&stream(seed), 4).into_iter().enumerate() {
            // The clock of the log is at the last row; every version begins there or before.
            let path = plant.path(&format!("part{part}.csv"));
            fs::write(&path, rows).unwrap();
            let text = version(&document, now, &mut random);
            fs::write(plant.catalog().join("asset_types/pump.yaml"), &text).unwrap();
            let catalog = plant.catalog();
            let workers = (1 + seed % 2).to_string();
            let mut args = vec!["replay", "--verify", "--speed", "max", "--workers", &workers];
            args.extend(["--catalog", crate::support::text(&catalog)]);
            args.push(crate::support::text(&path));
            let replayed = plant.run(&args);
            let said = format!("{}{}", replayed.out, replayed.err);
            assert!(!replayed.err.contains("not published"), "seed {seed}, part {part}:\n{said}");
            assert_eq!(replayed.code, 0, "seed {seed}, part {part}:\n{said}\n{text}");
            now = Some(last);
        }
        delete_some(&plant, &mut random, now.unwrap_or_default(), &format!("seed {seed}")).await;
    }
}

#[test]
fn random_streams_verify_with_one_worker_and_with_two() {
    let cases = std::env::var("MILLSTREAM_CASES").ok().and_then(|cases| cases.parse().ok());
    let begin = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let begin: u64 = begin.unwrap_or(1);
    for seed in begin..begin + cases.unwrap_or(CASES) {
        println!("seed {seed}");
        let plant = Plant::new();
        let (path, catalog) = (plant.path("stream.csv"), plant.catalog());
        fs::write(&path, stream(seed)).unwrap();
        let mut views = Vec::new();
        for workers in ["1", "2"] {
            let export = plant.path(workers);
            let replayed = program()
                .args(["replay", "--verify", "--speed", "max", "--workers", workers])
                .arg("--catalog")
                .arg(&catalog)
                .arg("--export")
                .arg(&export)
                .arg(&path)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&replayed.stdout);
            assert_eq!(replayed.status.code(), Some(0), "seed {seed}, {workers} workers:\n{said}");
            views.push(exports::read(&export));
        }
        for view in ["asset_health", "threshold_occurrences", "events", "rollups_1m"] {
            assert!(!views[0][view].is_empty(), "seed {seed}: {view} is empty");
        }
        for (view, rows) in views.iter_mut().flatten() {
            if view.starts_with("rollups_") {
                *rows = exports::settled(std::mem::take(rows));
            }
        }
        exports::assert_same(&views[0], &views[1], &format!("seed {seed}, one and two workers"));
    }
}
