//! Checkpoints: a server that is killed and started from them again holds what one holds that ran
//! through without any.

use crate::support::*;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

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

    fn below(&mut self, limit: u64) -> i64 {
        (self.next() % limit) as i64
    }
}

/// What is sent, one after the other.
#[derive(Clone, Debug)]
enum Sent {
    Telemetry(Value),
    Put(String, String),
    Delete(String),
}

/// A plant that goes on: points in order, late, twice, corrected, refused; documents of all kinds.
struct Traffic {
    random: Random,
    now: i64,
    versions: i64,
    asset_type: String,
}

impl Traffic {
    fn new(seed: u64, plant: &Plant) -> Self {
        let asset_type = plant.document("asset_types/pump.yaml");
        Self { random: Random(seed), now: 0, versions: 0, asset_type }
    }

    fn next(&mut self) -> Sent {
        match self.random.below(40) {
            0 => {
                // Another limit from a time on that both servers agree about; at times a metric more.
                self.versions += 1;
                let limit = 66 + self.random.below(9);
                let from = BASE + self.now - self.random.below(900);
                let from = jiff::Timestamp::from_second(from).unwrap();
                let mut body = self
                    .asset_type
                    .replace("op: gt, value: 70", &format!("op: gt, value: {limit}"))
                    .replace(
                        "out_of_order: PT5S",
                        &format!("out_of_order: PT5S, effective_from: {from}"),
                    );
                if self.versions % 2 == 0 {
                    body =
                        body.replace("state: {type: string}", "state: {type: string}\n  noise: {}");
                }
                Sent::Put("asset_types/pump".into(), body)
            }
            1 => {
                let asset = format!("pump-{}", self.random.below(6));
                let name = self.random.below(1_000);
                let body = format!("{{key: {asset}, asset_type: pump, display_name: P {name}}}");
                Sent::Put(format!("assets/{asset}"), body)
            }
            2 => {
                let body = "{key: PUMP-A, device_type: pump_box}";
                match self.random.below(2) {
                    0 => Sent::Put("devices/PUMP-A".into(), body.into()),
                    _ => Sent::Delete("devices/PUMP-A".into()),
                }
            }
            3 => Sent::Telemetry(json!([{"deviceId": "VALVE-1", "metrics": {"TEMP": 1}},
                {"deviceId": "PUMP-1", "timestamp": BASE + self.now, "metrics": {"TEMP": "hot"}}])),
            _ => Sent::Telemetry((0..1 + self.random.below(12)).map(|_| self.message()).collect()),
        }
    }

    fn message(&mut self) -> Value {
        self.now += self.random.below(40);
        if self.random.below(60) == 0 {
            self.now += 1_800;
        }
        let late = match self.random.below(6) {
            0 => self.random.below(600),
            1 => 0 - self.now % 5,
            _ => 0,
        };
        let mut metrics = json!({"TEMP": 50 + self.random.below(60)});
        if self.random.below(3) == 0 {
            metrics["FLOW"] = self.random.below(90_000).into();
        }
        if self.random.below(5) == 0 {
            let states = ["running", "stopped", "tripped", "on fire", "away"];
            metrics["STATE"] = states[self.random.below(5) as usize].into();
        }
        if self.random.below(8) == 0 {
            metrics["STARTS"] = self.random.below(9).into();
        }
        // Whole tens, so that times come twice: duplicates and corrections.
        let time = BASE + (self.now - late) / 10 * 10;
        json!({"deviceId": format!("PUMP-{}", self.random.below(6)), "timestamp": time, "metrics": metrics})
    }
}

impl Server {
    async fn send_all(&self, all: &[Sent]) {
        for sent in all {
            match sent {
                Sent::Telemetry(messages) => drop(self.ingest(messages.clone()).await),
                Sent::Put(path, body) => {
                    let path = format!("/api/v1/catalog/{path}");
                    let headers = [("content-type", YAML)];
                    self.send(reqwest::Method::PUT, &path, &headers, body.clone()).await.good();
                }
                Sent::Delete(path) => {
                    // It may not be there, or be in use.
                    let path = format!("/api/v1/catalog/{path}");
                    self.send(reqwest::Method::DELETE, &path, &[], "").await;
                }
            }
        }
    }

    /// All views and all points, without the times at which doors took something.
    async fn everything(&self) -> Vec<(String, Vec<String>)> {
        let mut all = self.all_views().await;
        for (name, rows) in &mut all {
            if name == "dead_letters" {
                for row in rows.iter_mut() {
                    let mut value: Value = serde_json::from_str(row).unwrap();
                    value.as_object_mut().unwrap().remove("received_at");
                    *row = value.to_string();
                }
                rows.sort();
            }
        }
        let telemetry = "SELECT event_time, asset, device, metric, value, text, quality FROM telemetry ORDER BY 2, 4, 1";
        let points = self.sql(telemetry).await;
        all.push(("telemetry".into(), points.iter().map(Value::to_string).collect()));
        all
    }

    pub async fn checkpoints(&self) -> Vec<Value> {
        self.sql("SELECT * FROM millstream_checkpoints ORDER BY epoch").await
    }

    /// Waits until there is a checkpoint of a later epoch.
    pub async fn until_checkpoint_after(&self, epoch: u64) {
        eventually("a checkpoint", async || {
            let newest = self.checkpoints().await.last().cloned();
            newest.filter(|taken| taken["epoch"].as_u64() > Some(epoch)).map(drop)
        })
        .await;
    }
}

impl Plant {
    /// The files of a folder of the data directory with this end, sorted.
    pub fn files(&self, folder: &str, end: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.data().join(folder)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|e| e == end)).collect();
        files.sort();
        files
    }
}

/// Panics with the first rows that differ.
#[track_caller]
fn assert_same(found: &[(String, Vec<String>)], expected: &[(String, Vec<String>)], what: &str) {
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        let differs = found.iter().zip(expected).find(|(one, other)| one != other);
        assert!(differs.is_none(), "{what}: {name}: {differs:#?}");
        assert_eq!(found.len(), expected.len(), "{what}: {name}");
    }
    assert_eq!(found.len(), expected.len());
}

/// The folder of documents is published first, so both sides begin alike.
const OFF: [&str; 2] = ["--checkpoint-every", "off"];

async fn killed_at_random(seed: u64) {
    println!("seed {seed}");
    let (plant, oracle) = (Plant::new(), Plant::new());
    let mut traffic = Traffic::new(seed, &plant);
    let through = oracle.serve_with(&OFF);
    let mut random = Random(seed ^ 0xabcd);
    for round in 0..4 {
        let what = format!("seed {seed}, round {round}");
        let workers = ["1", "2", "4"][random.below(3) as usize];
        let mut server = plant.serve_with(&["--checkpoint-every", "100ms", "--workers", workers]);
        assert_same(&server.everything().await, &through.everything().await, &what);
        if round > 0 {
            let Replayed { checkpoint, frames, .. } = plant.replayed();
            assert!(checkpoint > 0, "{what}: all of the log was replayed");
            println!("{what}: {frames} frames behind epoch {checkpoint}, {workers} workers");
        }
        let some: Vec<Sent> = (0..20 + random.below(60)).map(|_| traffic.next()).collect();
        let before = server.epoch().await;
        server.send_all(&some).await;
        through.send_all(&some).await;
        server.until_checkpoint_after(before).await;
        // These come while further checkpoints are taken, or behind the last one.
        let more: Vec<Sent> = (0..random.below(40)).map(|_| traffic.next()).collect();
        server.send_all(&more).await;
        through.send_all(&more).await;
        assert_same(&server.everything().await, &through.everything().await, &what);
        match random.below(4) {
            0 => assert_eq!(server.terminate(), 0),
            _ => server.kill(),
        }
    }
    for name in ["asset_health", "events", "threshold_occurrences", "dead_letters", "fleet_health"]
    {
        assert!(!through.view(name).await.is_empty(), "seed {seed}: {name} is empty");
    }
    plant.run(&["verify"]).expect(0);
    let server = plant.serve_with(&["--workers", "2"]);
    assert_same(&server.everything().await, &through.everything().await, "at the end");
}

#[tokio::test]
async fn a_kill_at_any_point_behind_a_checkpoint_changes_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let begin = number("MILLSTREAM_SEED").unwrap_or(1);
    for seed in begin..begin + number("MILLSTREAM_CASES").unwrap_or(3) {
        killed_at_random(seed).await;
    }
}

#[tokio::test]
async fn a_damaged_checkpoint_gives_way_to_the_one_before_it() {
    let (plant, oracle) = (Plant::new(), Plant::new());
    let mut traffic = Traffic::new(77, &plant);
    let through = oracle.serve_with(&OFF);
    for part in ["assets", "views", "catalog", "symbols", "manifest"] {
        // Two that are whole, each of a stop.
        let mut epochs = Vec::new();
        for _ in 0..2 {
            let server = plant.serve();
            let some: Vec<Sent> = (0..15).map(|_| traffic.next()).collect();
            server.send_all(&some).await;
            through.send_all(&some).await;
            assert_eq!(server.terminate(), 0);
            let newest = plant.files("checkpoints", part).pop().unwrap();
            let name = newest.file_stem().unwrap().to_str().unwrap();
            epochs.push(name.parse::<u64>().unwrap());
        }
        assert_eq!(plant.files("checkpoints", "manifest").len(), 2);
        let newest = plant.files("checkpoints", part).pop().unwrap();
        let mut bytes = fs::read(&newest).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(&newest, bytes).unwrap();

        let server = plant.serve();
        let Replayed { checkpoint, frames, .. } = plant.replayed();
        assert_eq!(checkpoint, epochs[0], "{part}: the older one is used");
        assert!(frames >= 15, "{part}: only {frames} frames were replayed");
        assert_same(&server.everything().await, &through.everything().await, part);
        let told = server.checkpoints().await;
        let valid = |epoch: u64| {
            let of = |taken: &&Value| taken["epoch"].as_u64() == Some(epoch);
            told.iter().find(of).map(|taken| taken["valid"] == "true")
        };
        assert_eq!(valid(epochs[0]), Some(true), "{part}: {told:?}");
        // Without its manifest there is nothing to tell.
        let expected = (part != "manifest").then_some(false);
        assert_eq!(valid(epochs[1]), expected, "{part}: {told:?}");
        assert_eq!(server.terminate(), 0);
    }
    // With none left, the log has everything.
    for path in plant.files("checkpoints", "views") {
        fs::write(path, "nothing").unwrap();
    }
    let server = plant.serve();
    assert_eq!(plant.replayed().checkpoint, 0);
    assert_same(&server.everything().await, &through.everything().await, "from the log alone");
}

/// Elements that are refused, and kept with their bytes: 8 MB of log that changes no view but one.
pub fn refused() -> String {
    let element = json!({"deviceId": "VALVE-9", "metrics": {"TEMP": 1}, "why": "x".repeat(60_000)});
    format!("{element}\n").repeat(130)
}

#[tokio::test]
async fn the_log_is_cut_behind_the_older_checkpoint() {
    let (plant, oracle) = (Plant::new(), Plant::new());
    let mut traffic = Traffic::new(5, &plant);
    let through = oracle.serve_with(&OFF);
    let body = refused();
    let mut segments = Vec::new();
    for round in 0..2 {
        let server = plant.serve();
        let some: Vec<Sent> = (0..20).map(|_| traffic.next()).collect();
        server.send_all(&some).await;
        through.send_all(&some).await;
        for _ in 0..if round == 0 { 9 } else { 0 } {
            server.post(INGEST, LINES, body.clone()).await.good();
        }
        assert_eq!(server.terminate(), 0);
        segments.push(plant.files("log", "log"));
    }
    // While there is one checkpoint, all of the log may be needed.
    assert_eq!(segments[0].len(), 2, "{segments:?}");
    assert_eq!(segments[1], segments[0][1..], "{segments:?}");

    let same = async |server: &Server, what: &str| {
        let without = |all: Vec<(String, Vec<String>)>| -> Vec<(String, Vec<String>)> {
            all.into_iter().filter(|(name, _)| name != "dead_letters").collect()
        };
        let expected = through.everything().await;
        let mut found = Vec::new();
        for (name, _) in &expected {
            let rows = match name.as_str() {
                "dead_letters" | "telemetry" => Vec::new(),
                _ => {
                    let rows = server.view(name).await;
                    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
                    rows.sort();
                    rows
                }
            };
            found.push((name.clone(), rows));
        }
        let mut expected = without(expected);
        let telemetry = expected.pop().unwrap().1.len();
        found.retain(|(name, _)| name != "dead_letters" && name != "telemetry");
        assert_same(&found, &expected, what);
        let count = server.sql("SELECT count(*) AS n FROM telemetry").await;
        assert_eq!(count[0]["n"], telemetry, "{what}");
        let refused =
            server.sql("SELECT count(*) AS n FROM dead_letters WHERE device = 'VALVE-9'").await;
        assert_eq!(refused[0]["n"], 9 * 130, "{what}");
    };
    plant.run(&["verify"]).expect(0);
    let rows = plant.run(&["sql", "SELECT count(*) AS n FROM asset_health"]).expect(0);
    assert!(rows.out.contains("| n"), "{}", rows.out);
    let mut server = plant.serve();
    assert!(plant.replayed().checkpoint > 0);
    same(&server, "after the cut").await;
    let some: Vec<Sent> = (0..20).map(|_| traffic.next()).collect();
    server.send_all(&some).await;
    through.send_all(&some).await;
    server.kill();
    let server = plant.serve();
    same(&server, "after the cut and a kill").await;
    assert_eq!(server.terminate(), 0);

    // A log without its beginning, and no checkpoint: nothing is shown rather than a part.
    fs::remove_dir_all(plant.data().join("checkpoints")).unwrap();
    let refusal = plant.run(&["verify"]).expect(1);
    assert!(refusal.err.contains("there is no checkpoint that can be used"), "{}", refusal.err);
}

#[test]
fn the_time_between_checkpoints_is_checked() {
    for (every, code) in [("0s", 2), ("soon", 2), ("1ms", 1), ("off", 1)] {
        let plant = Plant::new();
        let told = plant.run(&["verify", "--checkpoint-every", every]).expect(code);
        assert!(told.err.contains(if code == 2 { "off" } else { "holds no data" }), "{}", told.err);
    }
}
