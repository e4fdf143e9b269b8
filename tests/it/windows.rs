//! Old windows of roll-ups leave memory, and nobody notices: not SQL, not a correction, not a restart.

use crate::fold::{Events, Fold};
use crate::processes::Processes;
use crate::support::*;
use serde_json::{Value, json};

/// So many pumps send once a minute, so long that more rows are there than stay in memory.
const PUMPS: i64 = 60;
const MINUTES: i64 = 300;

fn message(pump: i64, minute: i64, temp: f64) -> Value {
    let time = BASE - BASE % 3_600 + 60 * minute;
    json!({"deviceId": format!("PUMP-{pump}"), "timestamp": time, "metrics": {"TEMP": temp}})
}

async fn count(server: &Server, sql: &str) -> i64 {
    server.sql(sql).await[0]["n"].as_i64().unwrap()
}

/// Minutes of temperatures, wherever they are.
async fn minutes(server: &Server) -> i64 {
    let sql = "SELECT count(*) AS n FROM rollups_1m WHERE metric = 'temperature'";
    count(server, sql).await
}

/// Minutes that are in memory.
async fn in_memory(server: &Server) -> i64 {
    count(server, "SELECT rows AS n FROM millstream_views WHERE view = 'rollups_1m'").await
}

async fn check(server: &Server) {
    let report = server.post("/api/v1/verify", JSON, "").await.good();
    assert_eq!(report["equal"], true, "{report}");
    assert_eq!(minutes(server).await, PUMPS * MINUTES);
}

/// The window of pump 1's minute 5 as SQL says it: mean, status, revision.
async fn fifth(server: &Server) -> Value {
    let rows = server.sql(
        "SELECT mean, status, revision FROM rollups_1m \
         WHERE asset = 'pump-1' AND metric = 'temperature' ORDER BY window_start OFFSET 5 LIMIT 1",
    );
    rows.await[0].clone()
}

#[tokio::test]
async fn old_windows_leave_memory_and_come_back_when_they_change() {
    let plant = Plant::new();
    let mut server = plant.serve();
    let mut most = 0;
    for minute in 0..MINUTES {
        let messages: Vec<Value> =
            (1..=PUMPS).map(|pump| message(pump, minute, 40.0 + (minute % 9) as f64)).collect();
        server.ingest(json!(messages)).await;
        if minute % 20 == 19 {
            most = most.max(in_memory(&server).await);
            assert_eq!(minutes(&server).await, PUMPS * (minute + 1));
        }
    }
    eventually("old windows leave memory", async || {
        let rows = in_memory(&server).await;
        assert_eq!(minutes(&server).await, PUMPS * MINUTES);
        (rows < most / 4).then_some(())
    })
    .await;
    check(&server).await;

    // A subscriber hears of a window that had left both what it was and what it is.
    let path = "/api/v1/views/rollups_1m/changes?asset=pump-1&metric=temperature";
    let (mut events, mut fold) = (Events::open(&server, path).await, Fold::default());
    while !fold.complete {
        let (name, message) = events.next().await;
        fold.take(&name, &message);
    }
    assert_eq!(fifth(&server).await, json!({"mean": 45.0, "status": "settled", "revision": 0}));
    server.ingest(message(1, 5, 47.0)).await;
    let changed = loop {
        let (name, message) = events.next().await;
        if name == "batch" {
            break message["rows"].clone();
        }
    };
    let told: Vec<(f64, i64, i64)> = changed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let number = |name: &str| row[name].as_i64().unwrap();
            (row["mean"].as_f64().unwrap(), number("revision"), number("diff"))
        })
        .collect();
    assert_eq!(told, [(45.0, 0, -1), (47.0, 1, 1)], "{changed}");
    let revised = json!({"mean": 47.0, "status": "revised", "revision": 1});
    assert_eq!(fifth(&server).await, revised);
    check(&server).await;

    // Killed, it starts from the log; stopped, from a checkpoint.
    server.kill();
    server = plant.serve();
    check(&server).await;
    assert_eq!(fifth(&server).await, revised);
    assert_eq!(server.terminate(), 0);
    server = plant.serve();
    check(&server).await;
    assert_eq!(fifth(&server).await, revised);
    assert!(in_memory(&server).await < most / 4);
    assert_eq!(server.terminate(), 0);

    // A file that is gone is missed, and nothing is thrown away because of it.
    let folder = plant.data().join("archive/windows/rollups_1m");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let away = plant.path("away");
    std::fs::rename(&file, &away).unwrap();
    let refused = plant.engine(program(), &[]).output().unwrap();
    assert!(!refused.status.success());
    let log = std::fs::read_to_string(plant.path("server.log")).unwrap();
    assert!(log.contains(file.file_name().unwrap().to_str().unwrap()), "{log}");
    std::fs::rename(&away, &file).unwrap();
    server = plant.serve();
    check(&server).await;
    assert_eq!(fifth(&server).await, revised);
}

#[tokio::test]
async fn old_windows_leave_the_memory_of_every_process() {
    let mut processes = Processes::new(2, "1s");
    processes.start_all();
    processes.whole().await;
    for minutes in (0..MINUTES).collect::<Vec<i64>>().chunks(20) {
        for (number, server) in processes.all().enumerate() {
            let pumps = (1..=PUMPS).filter(|pump| *pump as usize % 2 == number);
            let of_pump = |pump| minutes.iter().map(move |minute| message(pump, *minute, 45.0));
            server.ingest(json!(pumps.flat_map(of_pump).collect::<Vec<Value>>())).await;
        }
    }
    let left = async |processes: &Processes| {
        for server in processes.all() {
            eventually("old windows leave memory", async || {
                (in_memory(server).await < PUMPS * MINUTES / 4).then_some(())
            })
            .await;
            check(server).await;
        }
    };
    left(&processes).await;
    // What one process hears changes the rows of all.
    let revised = json!({"mean": 47.0, "status": "revised", "revision": 1});
    processes.all().next().unwrap().ingest(message(1, 5, 47.0)).await;
    for server in processes.all() {
        eventually("the window is revised", async || {
            (fifth(server).await == revised).then_some(())
        })
        .await;
    }
    processes.kill(0);
    processes.start(0);
    processes.whole().await;
    left(&processes).await;
    for server in processes.all() {
        assert_eq!(fifth(server).await, revised);
    }
}
