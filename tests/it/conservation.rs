//! `millstream verify --conservation`: what became of every accepted point, by another count.

use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;

/// What a client sent, counted by itself.
#[derive(Default)]
struct Sent {
    values: BTreeMap<(usize, &'static str, i64), String>,
    received: u64,
    replaced: u64,
    duplicates: u64,
    unmapped: u64,
    letters: u64,
    /// Points of the pump whose box feeds a second pump too.
    twice: u64,
}

/// This pump's box feeds another pump too.
const TWICE: usize = 2;
/// A box that feeds no pump.
const UNLINKED: &str = "LOOSE-1";

/// Random requests: new, late, corrected, repeated, unknown, without a link.
async fn send(server: &Server, random: &mut u64, sent: &mut Sent) {
    let mut below = |limit: u64| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*random >> 33) % limit
    };
    let mut messages = Vec::new();
    for _ in 0..1 + below(12) {
        let time = below(5_000) as i64;
        match below(12) {
            0 => {
                messages.push(json!({"deviceId": UNLINKED, "timestamp": BASE, "metrics": {"TEMP": 1, "STATE": "x"}}));
                sent.received += 2;
                sent.unmapped += 2;
            }
            1 => {
                messages.push(json!({"deviceId": "TOASTER", "metrics": {"TEMP": 1}}));
                sent.letters += 1;
            }
            2 => {
                messages.push(json!({"deviceId": "PUMP-1", "metrics": {"NOISE": 1}}));
                sent.letters += 1;
            }
            _ => {
                let pump = below(3) as usize + 1;
                let mut metrics = json!({});
                for (name, value) in [
                    ("TEMP", json!(below(3) as f64)),
                    ("STARTS", json!(below(2))),
                    ("STATE", json!(["running", "tripped"][below(2) as usize])),
                ] {
                    if below(3) == 0 {
                        continue;
                    }
                    sent.received += 1;
                    sent.twice += u64::from(pump == TWICE);
                    let copies = if pump == TWICE { 2 } else { 1 };
                    let text = value.to_string();
                    match sent.values.insert((pump, name, time), text.clone()) {
                        Some(known) if known == text => sent.duplicates += copies,
                        Some(_) => sent.replaced += copies,
                        None => {}
                    }
                    metrics[name] = value;
                }
                messages.push(json!({"deviceId": format!("PUMP-{pump}"), "timestamp": BASE + time, "metrics": metrics}));
            }
        }
    }
    server.ingest(Value::from(messages)).await;
}

async fn put(server: &Server, path: &str, body: &str) -> Answer {
    let path = format!("/api/v1/catalog/{path}");
    server.send(Method::PUT, &path, &[("content-type", YAML)], body.to_owned()).await
}

#[tokio::test]
async fn every_accepted_point_is_accounted_for() {
    let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let (mut random, mut sent) = (seed, Sent::default());
    let plant = Plant::new();
    let mut server = plant.serve();
    for (path, body) in [
        ("devices/LOOSE-1", "{key: LOOSE-1, device_type: pump_box}"),
        ("assets/second", "{key: second, asset_type: pump}"),
    ] {
        put(&server, path, body).await.good();
    }
    // The first message of a box brings its pump.
    server
        .ingest(json!({"deviceId": "PUMP-2", "timestamp": BASE - 1, "metrics": {"TEMP": 5}}))
        .await;
    (sent.received, sent.twice) = (1, 0);
    put(&server, "links/PUMP-2-%3Esecond", "{device: PUMP-2, asset: second}").await.good();
    for round in 0..60 {
        send(&server, &mut random, &mut sent).await;
        if round == 30 {
            server.kill();
            server = plant.serve();
        }
    }
    let check = |found: &Value| {
        let stored = sent.values.keys().map(|(pump, ..)| if *pump == TWICE { 2 } else { 1 });
        let expected = [
            ("received", sent.received),
            ("copies", sent.twice),
            ("stored", stored.sum::<u64>() + 1),
            ("replaced", sent.replaced),
            ("duplicates", sent.duplicates),
            ("unmapped", sent.unmapped),
            ("lost", 0),
            ("unexplained", 0),
            ("dead_letters_shown", sent.letters),
        ];
        for (name, count) in expected {
            assert_eq!(found[name], count, "{name} in {found}");
        }
        assert_eq!(
            (&found["holds"], &found["dead_letters"]["http"]),
            (&json!(true), &json!(sent.letters))
        );
    };
    check(&server.post("/api/v1/verify/conservation", JSON, "").await.good());
    let with_server = plant.run(&["verify", "--conservation"]).expect(0).out;
    assert!(with_server.contains("conservation holds at epoch"), "{with_server}");
    assert_eq!(server.terminate(), 0);
    // Now all points are in files.
    let without = plant.run(&["verify", "--conservation"]).expect(0).out;
    let counts = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(counts(&without), counts(&with_server));
}

#[tokio::test]
async fn lost_and_invented_points_are_told() {
    let (plant, other) = (Plant::new(), Plant::new());
    // From a checkpoint on, a replay would not bring the last point back.
    let off = ["--checkpoint-every", "off"];
    let verify = ["verify", "--conservation", "--checkpoint-every", "off"];
    let message = |second: i64| json!({"deviceId": "PUMP-1", "timestamp": BASE + second, "metrics": {"TEMP": 1, "FLOW": 2}});
    for (plant, seconds) in [(&plant, [1, 2, 3]), (&other, [2, 3, 4])] {
        let server = plant.serve_with(&off);
        for second in seconds {
            server.ingest(message(second)).await;
        }
        assert_eq!(server.terminate(), 0);
        plant.run(&verify).expect(0);
    }
    let server = plant.serve_with(&off);
    server.ingest(message(9)).await;
    assert_eq!(server.terminate(), 0);
    // The archive of one plant beside the log of another: it claims to have all but the last.
    fs::remove_dir_all(plant.data().join("archive")).unwrap();
    fs::rename(other.data().join("archive"), plant.data().join("archive")).unwrap();
    let told = plant.run(&verify).expect(3).out;
    assert!(told.contains("conservation DOES NOT HOLD"), "{told}");
    let line =
        |what: &str| told.lines().find(|line| line.contains(what)).unwrap_or_default().to_owned();
    assert!(line("LOST").contains(" 2 LOST"), "{told}");
    assert!(line("UNEXPLAINED").contains(" 2 in telemetry"), "{told}");
    assert!(told.contains("pump-1 temperature at 2023-11-14T22:13:21Z is lost"), "{told}");
    assert!(
        told.contains("pump-1 flow at 2023-11-14T22:13:24Z is in no frame of the log"),
        "{told}"
    );
}
