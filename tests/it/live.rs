//! Server-sent events: a snapshot and its changes, folded, are the view.

use crate::fold::*;
use crate::support::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test]
async fn server_sent_events_fold_to_the_view() {
    let plant = Plant::new();
    let server = plant.serve();
    let bodies = traffic();
    for body in &bodies[..8] {
        server.ingest(body.clone()).await;
    }
    let views = [
        "asset_health",
        "asset_metrics",
        "events",
        "threshold_states",
        "threshold_occurrences",
        "rollups_1m",
        "fleet_health",
        "fleet_thresholds",
        "assets",
        "asset_metrics?asset=pump-1",
        "rollups_5m?metric=temperature&type=pump",
    ];
    let mut open = Vec::new();
    for view in views {
        let (name, query) = view.split_once('?').unwrap_or((view, ""));
        let path = format!("/api/v1/views/{name}/changes?{query}");
        open.push((view, Events::open(&server, &path).await, Fold::default()));
    }
    for body in &bodies[8..] {
        server.ingest(body.clone()).await;
    }
    let epoch = server.epoch().await;
    for (view, events, fold) in &mut open {
        while !fold.complete || fold.epoch < epoch {
            let (name, message) = events.next().await;
            assert_eq!(message["view"], view.split('?').next().unwrap());
            fold.take(&name, &message);
        }
        let rows = server.view(view).await;
        assert_eq!(fold.contents(), sorted(&rows).iter().collect::<Vec<_>>(), "{view}");
        assert!(!fold.batches.is_empty(), "{view} has no changes");
        assert!(!rows.is_empty(), "{view} is empty");
    }
    plant.run(&["verify"]).expect(0);
}

#[tokio::test]
async fn a_late_point_takes_a_row_back_and_gives_another() {
    let plant = Plant::new();
    let server = plant.serve();
    server.ingest(pump(1, 0, json!({"TEMP": 50}))).await;
    server.ingest(pump(1, 50, json!({"TEMP": 60}))).await;
    let path = "/api/v1/views/rollups_1m/changes?metric=temperature";
    let mut events = Events::open(&server, path).await;
    let mut fold = Fold::default();
    while !fold.complete {
        let (name, message) = events.next().await;
        fold.take(&name, &message);
    }
    assert_eq!(fold.rows.len(), 2);
    server.ingest(pump(1, 45, json!({"TEMP": 55}))).await;
    let epoch = server.epoch().await;
    while fold.epoch < epoch {
        let (name, message) = events.next().await;
        fold.take(&name, &message);
    }
    let told: Vec<_> = fold
        .batches
        .iter()
        .map(|row| (&row["diff"], &row["count"], &row["first"], &row["last"]))
        .collect();
    let (minus, plus, one, two) = (json!(-1), json!(1), json!(1), json!(2));
    let (early, late) = (json!(55.0), json!(60.0));
    assert_eq!(told, [(&minus, &one, &late, &late), (&plus, &two, &early, &late)]);
}

#[tokio::test]
async fn a_late_point_takes_an_event_back() {
    let plant = Plant::new();
    let server = plant.serve();
    // Above the limit for 15 s by what is known at first; the late point says that it was not.
    for (seconds, temperature) in [(0, 50), (10, 96), (30, 96)] {
        server.ingest(pump(1, seconds, json!({"TEMP": temperature}))).await;
    }
    let mut events = Events::open(&server, "/api/v1/views/events/changes?asset=pump-1").await;
    let mut fold = Fold::default();
    while !fold.complete {
        let (name, message) = events.next().await;
        fold.take(&name, &message);
    }
    assert_eq!(fold.rows.len(), 1, "{:?}", fold.rows);
    server.ingest(pump(1, 20, json!({"TEMP": 90}))).await;
    let epoch = server.epoch().await;
    while fold.epoch < epoch {
        let (name, message) = events.next().await;
        fold.take(&name, &message);
    }
    let told: Vec<_> = fold.batches.iter().map(|row| (&row["diff"], &row["rule"])).collect();
    assert!(told.contains(&(&json!(-1), &json!("overheated"))), "{told:?}");
    assert!(told.contains(&(&json!(1), &json!("cooled"))), "{told:?}");
    // Above the limit again from 30 s on, and 15 s have passed since.
    let times: Vec<Value> =
        server.view("events").await.iter().map(|event| event["event_time"].clone()).collect();
    assert_eq!(times, [json!("2023-11-14T22:13:40Z"), json!("2023-11-14T22:14:05Z")]);
}

#[tokio::test]
async fn upserts_fold_by_key() {
    let plant = Plant::new();
    let server = plant.serve();
    let bodies = traffic();
    server.ingest(bodies[0].clone()).await;
    for (view, key) in [("asset_metrics", ["asset", "metric"]), ("events", ["rule", "event_time"])]
    {
        let path = format!("/api/v1/views/{view}/changes?envelope=upsert&asset=pump-1");
        let mut events = Events::open(&server, &path).await;
        for body in &bodies {
            server.ingest(body.clone()).await;
        }
        let epoch = server.epoch().await;
        let mut rows: BTreeMap<String, String> = BTreeMap::new();
        let mut reached = 0;
        while reached < epoch {
            let (name, message) = events.next().await;
            for row in message["rows"].as_array().into_iter().flatten() {
                let mut row = row.clone();
                let op = row.as_object_mut().unwrap().remove("op");
                let id = format!("{} {}", row[key[0]], row[key[1]]);
                match op.as_ref().and_then(Value::as_str) {
                    Some("delete") => assert!(rows.remove(&id).is_some(), "{row}"),
                    Some("upsert") => drop(rows.insert(id, row.to_string())),
                    None if name == "snapshot" => drop(rows.insert(id, row.to_string())),
                    other => panic!("{other:?}: {row}"),
                }
            }
            if name != "snapshot" && message["more"] != true {
                reached = message["epoch"].as_u64().unwrap();
            }
        }
        let mut folded: Vec<String> = rows.into_values().collect();
        folded.sort();
        assert_eq!(folded, sorted(&server.view(&format!("{view}?asset=pump-1")).await), "{view}");
    }
}
