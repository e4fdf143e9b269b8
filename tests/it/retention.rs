//! Old telemetry goes, and nothing else: views, and what is known of them, stay as they are.

use crate::exports;
use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
const PATH: &str = "/api/v1/retention";
/// Telemetry of so many days, every ten minutes.
const DAYS: i64 = 12;

/// The beginning of a UTC day so many days ago.
fn day(ago: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    now - now % DAY - ago * DAY
}

fn message(device: i64, second: i64, temp: f64) -> Value {
    let state = if second % 9_000 < 600 { "tripped" } else { "running" };
    let metrics = json!({"TEMP": temp, "FLOW": 100 + second % 7, "STATE": state});
    json!({"deviceId": format!("PUMP-{device}"), "timestamp": second, "metrics": metrics})
}

/// All messages of some days from one that is so long ago. The second pump is silent in the last
/// of them, the third in all but the first.
fn messages(ago: i64, days: i64) -> Vec<Value> {
    let temp = |i: i64| if i % 70 < 9 { 95.0 } else { 40.0 + (i % 40) as f64 };
    let silent = |device: i64, i: i64| match device {
        2 => i >= 144 * (days - 1),
        3 => i >= 144,
        _ => false,
    };
    let of = |i: i64| {
        let devices = (1..=3).filter(move |device| !silent(*device, i));
        devices.map(move |device| message(device, day(ago) + i * 600, temp(i + device)))
    };
    (0..144 * days).flat_map(of).collect()
}

async fn views(server: &Server) -> Vec<(String, Vec<String>)> {
    let told = |(name, rows): (String, Vec<String>)| (name, exports::settled(rows));
    let all = server.all_views().await.into_iter();
    let other = ["corrections", "dead_letters"];
    all.filter(|(name, _)| !other.contains(&&**name)).map(told).collect()
}

async fn check(server: &Server) {
    let report = server.post("/api/v1/verify", JSON, "").await.good();
    assert_eq!(report["equal"], true, "{report:#}");
    let found = server.post("/api/v1/verify/conservation", JSON, "").await.good();
    assert!(found["holds"] == true || found["complete"] == false, "{found:#}");
}

async fn count(server: &Server, what: &str) -> i64 {
    server.sql(&format!("SELECT count(*) AS n FROM {what}")).await[0]["n"].as_i64().unwrap()
}

/// What would be removed, when all points are in files.
async fn outlook(server: &Server, days: i64) -> Value {
    let archived = async || {
        let found = server.get(PATH).await.good();
        let of = |what: &str| found[what]["days"].as_i64().unwrap();
        (of("removable") + of("young") == days).then_some(found)
    };
    eventually("old days are in files", archived).await
}

async fn remove(server: &Server) -> Value {
    server.post(PATH, JSON, "").await.good()
}

fn options<'a>(keep: &'a str, min_age: &'a str) -> [&'a str; 6] {
    let every = ["--checkpoint-every", "200ms"];
    [every[0], every[1], "--retain-telemetry", keep, "--retain-min-age", min_age]
}

#[tokio::test]
async fn old_days_go_and_all_that_came_of_them_stays() {
    let plant = Plant::new();
    // Nothing is kept for ever, but for now all is young.
    let mut server = plant.serve_with(&options("5d", "100d"));
    for some in messages(DAYS, DAYS).chunks(500) {
        server.ingest(json!(some)).await;
    }
    // Corrected and deleted points leave with the others.
    server.ingest(json!([message(1, day(DAYS - 1) + 600, 77.0)])).await;
    let range = format!("device=PUMP-1&metrics=flow&from={0}&to={1}", time(9, 0), time(9, 3_000));
    let deletion = format!("/api/v1/telemetry?{range}&reason=test");
    let deleted = server.send(Method::DELETE, &deletion, &[], "").await.good();
    assert!(deleted["points"].as_i64().unwrap() > 0, "{deleted}");

    let received = Instant::now();

    let young = outlook(&server, DAYS - 5).await;
    assert_eq!(
        (&young["removable"]["days"], &young["held_by"]),
        (&json!(0), &json!("")),
        "{young}"
    );
    assert_eq!(remove(&server).await["removed"]["days"], 0, "received too lately");
    let (before, points) = (views(&server).await, count(&server, "telemetry").await);
    server.kill();

    // Now it is old enough, but for a recording of long ago that is received after that.
    const YOUNG: Duration = Duration::from_secs(20);
    tokio::time::sleep(YOUNG.saturating_sub(received.elapsed())).await;
    server = plant.serve_with(&options("5d", "20s"));
    server.ingest(json!([message(9, BASE, 50.0), message(9, BASE + 60, 50.0)])).await;
    let told = outlook(&server, DAYS - 4).await;
    assert_eq!(told["removable"]["days"], DAYS - 5, "{told}");
    assert_eq!(told["young"]["days"], 1, "{told}");
    let dry = plant.run(&["retention", "--dry-run"]).expect(0).out;
    assert!(dry.contains("would be removed"), "{dry}");
    assert_eq!(count(&server, "telemetry").await, points + 6, "a dry run removes nothing");
    let done = remove(&server).await;
    assert_eq!(done["removed"], told["removable"], "{done}");
    assert_eq!(done["removable"]["days"], 0, "{done}");
    let old = format!("telemetry WHERE event_time < '{}'", time(5, 0));
    assert_eq!(count(&server, &old).await, 6, "only the recording is left");
    let of_before = |views: Vec<(String, Vec<String>)>| -> Vec<(String, Vec<String>)> {
        let is_new = |row: &String| row.contains("pump-9") || row.contains("PUMP-9");
        let rows = |rows: Vec<String>| rows.into_iter().filter(|row| !is_new(row)).collect();
        let fleet = |name: &String| name.starts_with("fleet");
        views.into_iter().filter(|(n, _)| !fleet(n)).map(|(n, r)| (n, rows(r))).collect()
    };
    same(&of_before(views(&server).await), &of_before(before));
    check(&server).await;

    // What comes too late is told, and refused.
    let all = views(&server).await;
    server.ingest(json!([message(1, day(8) + 61, 99.0), message(3, day(11), 99.0)])).await;
    let letters = server.view("dead_letters").await;
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(letters.iter().all(|letter| letter["reason"] == "BEYOND_RETENTION"), "{letters:?}");
    let range = format!("device=PUMP-1&metrics=flow&from={0}&to={1}", time(8, 0), time(3, 0));
    let deletion = format!("/api/v1/telemetry?{range}&reason=test");
    server.send(Method::DELETE, &deletion, &[], "").await.problem(409);
    same(&views(&server).await, &all);
    // The recording goes on, and late points of days that are kept are as welcome as ever.
    server.ingest(json!([message(9, BASE - 3 * DAY, 50.0), message(1, day(4) + 61, 99.0)])).await;
    server.ingest(json!([message(1, day(2) + 7, 20.0), message(2, day(0) - 5, 99.0)])).await;
    settled(&server).await;
    assert_eq!(server.view("dead_letters").await.len(), 2);
    check(&server).await;

    // So it is after a kill, and from what was noted before other days may go.
    for (keep, left) in [("5d", 5), ("2d", 2), ("1d", 1)] {
        server.kill();
        server = plant.serve_with(&options(keep, "0s"));
        settled(&server).await;
        check(&server).await;
        let all = views(&server).await;
        let held = async || {
            let done = remove(&server).await;
            (done["removable"]["days"] == 0 && done["young"]["days"] == 0).then_some(())
        };
        eventually("old days go", held).await;
        let old = format!("telemetry WHERE event_time < '{}'", time(left, 0));
        assert_eq!(count(&server, &old).await, 0);
        same(&views(&server).await, &all);
        check(&server).await;
        server
            .ingest(json!([message(2, day(0) + left, 91.0), message(3, day(0) - left, 20.0)]))
            .await;
        settled(&server).await;
        check(&server).await;
    }
    assert_eq!(server.terminate(), 0);
    // Without a server too.
    plant.run(&["verify"]).expect(0);
    let keep = ["--retain-telemetry", "0s", "--retain-min-age", "0s"];
    let dry = plant.run(&[&["retention", "--dry-run"], &keep[..]].concat()).expect(0).out;
    let done = plant.run(&[&["retention"], &keep[..]].concat()).expect(0).out;
    let row = |text: &str, name: &str| -> Vec<String> {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
        line[28..].split_whitespace().map(String::from).collect()
    };
    assert_ne!(row(&dry, "would be removed")[0], "0", "{dry}");
    assert_eq!(row(&done, "left to be removed")[0], "0", "{dry}{done}");
    plant.run(&["verify"]).expect(0);
}

/// A second of a day so many days ago, as SQL and addresses have it.
fn time(ago: i64, second: i64) -> String {
    millstream::model::Timestamp((day(ago) + second) * 1_000_000).to_string()
}

fn same(one: &[(String, Vec<String>)], two: &[(String, Vec<String>)]) {
    for ((name, one), (_, two)) in one.iter().zip(two) {
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|row| !those.contains(row)).take(3).cloned().collect()
        };
        assert!(one == two, "{name}: {:#?} against {:#?}", only(one, two), only(two, one));
    }
}

/// Waits until no asset waits for archived points.
async fn settled(server: &Server) {
    let quiet = async || {
        let queues = server.sql("SELECT depth FROM millstream_queues WHERE queue = 'late'").await;
        (queues[0]["depth"] == 0).then_some(())
    };
    eventually("late points are in", quiet).await;
}
