//! Several processes run one dataflow: telemetry comes in at all of them, one after the other is
//! killed, and nothing is lost, and all of them say the same as one process alone.

use crate::checkpoints::refused;
use crate::ledger::{Ledger, kept};
use crate::processes::*;
use crate::support::*;
use crate::timescale::Database;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::sleep;

/// The others take a process for gone that is silent for ten seconds.
const NOTICED: Duration = Duration::from_secs(25);

/// What happens to a process under load.
#[derive(Clone, Copy)]
enum Mishap {
    /// It is killed and started again.
    Killed(usize),
    /// It stands still with all its connections open, and then goes on.
    Hangs(usize),
}
use Mishap::{Hangs, Killed};

async fn put(server: &Server, asset: &Value) -> Answer {
    let (path, form) = ("/api/v1/catalog/assets/spare", [("content-type", JSON)]);
    server.send(Method::PUT, path, &form, asset.to_string()).await
}

/// Points, one after the other, some of them further behind than what is kept in memory: they
/// need archived ones. Each goes to the next server.
async fn points_of_any_age(servers: &[&Server]) {
    let seconds = [0, 4000, 8000, 12_000, 100, 16_000, 4100, 8050];
    for (second, server) in seconds.iter().zip(servers.iter().cycle()) {
        let metrics = json!({"TEMP": second / 100, "STATE": format!("state {second}")});
        let time = BASE + second;
        server.ingest(json!({"deviceId": "PUMP-20", "timestamp": time, "metrics": metrics})).await;
    }
}

/// Corrects the state of one second.
async fn correct(server: &Server, second: i64) {
    let at = jiff::Timestamp::from_second(BASE + second).unwrap().to_string();
    let point = json!({"metric": "state", "time": at, "value": format!("state {second}")});
    let body = json!({"asset": "pump-10", "points": [point], "reason": "test"}).to_string();
    let sent = server.send(Method::PATCH, "/api/v1/telemetry", &[("content-type", JSON)], body);
    assert_eq!(sent.await.good()["points"], 1);
}

/// Every process has these views and every acknowledged point, and they are what the archived
/// points give.
async fn check(processes: &Processes, expected: &Views, ledgers: &[Ledger]) {
    for server in processes.all() {
        eventually("all views are equal", async || {
            same(expected, &views(server).await).then_some(())
        })
        .await;
        let kept = kept(server, 0).await;
        ledgers.iter().for_each(|ledger| ledger.check(&kept, 0..i64::MAX));
        let report = server.post("/api/v1/verify", JSON, "").await.good();
        assert_eq!(report["equal"], true, "{report}");
        let found = server.post("/api/v1/verify/conservation", JSON, "").await.good();
        let points = server.sql("SELECT count(*) AS n FROM telemetry").await;
        assert_eq!((&found["holds"], &found["stored"]), (&json!(true), &points[0]["n"]), "{found}");
        let acknowledged: usize = ledgers.iter().map(Ledger::acknowledged).sum();
        assert!(found["received"].as_u64() >= Some(3 * acknowledged as u64), "{found}");
    }
}

/// All that the clients have sent, once, in order.
async fn ingest(server: &Server, ledgers: &[Ledger]) {
    for ledger in ledgers {
        let seconds: Vec<i64> = (0..ledger.next()).collect();
        server.ingest(messages(ledger, &seconds)).await;
    }
}

async fn same_as_alone(processes: &Processes, alone: &Server) {
    eventually("one alone says the same", async || {
        let alone = timeless(&views(alone).await);
        same(&alone, &timeless(&views(processes.all().next()?).await)).then_some(())
    })
    .await;
}

async fn story(count: usize, every: &'static str, mishaps: &[Mishap]) {
    let folder = tempfile::tempdir().unwrap();
    let mut processes = Processes::new(count, every);
    let takes_checkpoints = every != "off";
    processes.start_all();
    processes.whole().await;

    let all: Vec<&Server> = processes.all().collect();
    points_of_any_age(&all).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = clients(&processes, folder.path(), &stop);
    sleep(Duration::from_millis(800)).await;
    for mishap in mishaps {
        if takes_checkpoints {
            processes.all().next().unwrap().until_checkpoint_after(0).await;
        }
        let (Killed(victim) | Hangs(victim)) = *mishap;
        match mishap {
            Killed(_) => processes.kill(victim),
            Hangs(_) => processes.signal(victim, "STOP"),
        }
        // The others say why they take nothing.
        for (number, server) in processes.servers.iter().enumerate() {
            let Some(server) = server.as_ref().filter(|_| number != victim) else { continue };
            eventually_within(NOTICED, "telemetry is refused", async || {
                let json = [("content-type", JSON)];
                let sent = server.try_send(Method::POST, INGEST, &json, "[]").await?;
                let waits = format!("process {victim}");
                (sent.status == 503 && sent.text().contains(&waits)).then_some(())
            })
            .await;
        }
        match mishap {
            Killed(_) => processes.start(victim),
            Hangs(_) => processes.signal(victim, "CONT"),
        }
        processes.whole().await;
        let (checkpoint, rows) = processes.replayed();
        println!("{count} processes: {rows} rows behind epoch {checkpoint}");
        assert_eq!(checkpoint > 0, takes_checkpoints);
        sleep(Duration::from_millis(500)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut ledgers = Vec::new();
    for client in clients {
        ledgers.push(client.await.unwrap());
    }

    // Documents are taken everywhere, and known everywhere.
    let last = processes.all().last().unwrap();
    let asset = json!({"key": "spare", "asset_type": "pump"});
    put(last, &asset).await.good();
    let wrong = json!({"key": "spare", "asset_type": "nothing"});
    let refused = put(last, &wrong).await.problem(422);
    assert!(refused["detail"].as_str().unwrap().contains("nothing"), "{refused}");

    let before = processes.all().next().unwrap().epoch().await;
    // An edit at one process is carried out at whoever has the asset.
    for (process, server) in processes.all().enumerate() {
        correct(server, process as i64).await;
    }

    let first = views(processes.all().next().unwrap()).await;
    check(&processes, &first, &ledgers).await;
    let acknowledged: usize = ledgers.iter().map(Ledger::acknowledged).sum();
    if takes_checkpoints {
        // All are gone at once; what they replay is what came after the newest checkpoint.
        processes.all().next().unwrap().until_checkpoint_after(before).await;
        (0..count).for_each(|process| processes.kill(process));
        processes.workers = 3;
        processes.start_all();
        processes.whole().await;
        let (checkpoint, rows) = processes.replayed();
        assert!(checkpoint > 0 && rows < acknowledged as u64 / 4, "{rows} of {acknowledged}");
        check(&processes, &first, &ledgers).await;
    }

    // One process alone says the same of the same telemetry.
    let alone = Plant::new();
    let server = alone.serve();
    ingest(&server, &ledgers).await;
    for second in 0..count as i64 {
        correct(&server, second).await;
    }
    points_of_any_age(&[&server]).await;
    put(&server, &asset).await.good();
    same_as_alone(&processes, &server).await;
    println!("{count} processes, {acknowledged} seconds acknowledged");
    for server in processes.servers.iter_mut().rev().filter_map(Option::take) {
        assert_eq!(server.terminate(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_are_killed_in_turn_and_say_what_one_alone_says() {
    story(2, "100ms", &[Killed(1), Killed(0)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_are_killed_in_turn_and_say_what_one_alone_says() {
    story(3, "100ms", &[Killed(2), Killed(0)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_hangs_is_taken_for_gone_until_it_goes_on() {
    story(3, "off", &[Hangs(1)]).await;
}

/// Times at which processes of a cluster are killed that takes checkpoints without a pause.
const ROUNDS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_of_a_cluster_are_whole_whenever_it_is_killed() {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut state = std::env::var("MILLSTREAM_SEED").map_or(now, |seed| seed.parse().unwrap());
    println!("seed {state}");
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % limit
    };
    let folder = tempfile::tempdir().unwrap();
    let mut processes = Processes::new(2, "1ms");
    processes.start_all();
    processes.whole().await;
    let all: Vec<&Server> = processes.all().collect();
    points_of_any_age(&all).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = clients(&processes, folder.path(), &stop);
    let mut newest = 0;
    for round in 0..ROUNDS {
        sleep(Duration::from_millis(50 + below(500))).await;
        match below(3) {
            2 => {
                processes.kill(0);
                processes.kill(1);
                processes.workers = 1 + below(3) as usize;
                processes.start_all();
            }
            victim => {
                processes.kill(victim as usize);
                processes.start(victim as usize);
            }
        }
        processes.whole().await;
        let (checkpoint, rows) = processes.replayed();
        println!("round {round}: {rows} rows behind epoch {checkpoint}");
        assert!(checkpoint >= newest, "{checkpoint} after {newest}");
        newest = checkpoint;
    }
    assert!(newest > 0);
    stop.store(true, Ordering::Relaxed);
    let mut ledgers = Vec::new();
    for client in clients {
        ledgers.push(client.await.unwrap());
    }
    let first = views(processes.all().next().unwrap()).await;
    check(&processes, &first, &ledgers).await;
    let alone = Plant::new();
    let server = alone.serve();
    ingest(&server, &ledgers).await;
    points_of_any_age(&[&server]).await;
    same_as_alone(&processes, &server).await;

    // One of them cannot read its newest: all begin at the one before.
    (0..2).for_each(|process| processes.kill(process));
    let files = |process: usize| processes.plants[process].files("checkpoints", "views");
    let kept = files(0);
    assert_eq!(kept.len(), 2);
    assert!(files(1).iter().zip(&kept).all(|(one, other)| one.file_name() == other.file_name()));
    fs::write(files(1).pop().unwrap(), "nothing").unwrap();
    processes.start_all();
    eventually("all begin at the older one", async || {
        processes.whole().await;
        let all: Vec<u64> = processes.plants.iter().map(|p| p.replayed().checkpoint).collect();
        let older = kept[0].file_stem()?.to_str()?.parse::<u64>().ok()?;
        (all == [older, older]).then_some(())
    })
    .await;
    check(&processes, &first, &ledgers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_a_cluster_is_cut_behind_the_older_checkpoint() {
    let mut processes = Processes::new(2, "100ms");
    processes.start_all();
    processes.whole().await;
    let server = processes.all().last().unwrap();
    let body = refused();
    for _ in 0..9 {
        server.post(INGEST, LINES, body.clone()).await.good();
    }
    let mut seconds = 0;
    eventually_within(NOTICED, "the first segment goes", async || {
        seconds += 1;
        let message =
            json!({"deviceId": "PUMP-1", "timestamp": BASE + seconds, "metrics": {"TEMP": 1}});
        server.ingest(message).await;
        (processes.plants[1].files("log", "log").len() == 1).then_some(())
    })
    .await;
    (0..2).for_each(|process| processes.kill(process));
    processes.start_all();
    processes.whole().await;
    assert!(processes.replayed().0 > 0);
    let letters = "SELECT count(*) AS n FROM dead_letters WHERE device = 'VALVE-9'";
    let points = "SELECT count(*) AS n FROM telemetry";
    for server in processes.all() {
        assert_eq!(server.sql(letters).await[0]["n"], 9 * 130);
        assert_eq!(server.sql(points).await[0]["n"], seconds);
        let report = server.post("/api/v1/verify", JSON, "").await.good();
        assert_eq!(report["equal"], true, "{report}");
    }

    let server = processes.all().next().unwrap();
    let refused = server.post("/api/v1/verify/conservation", JSON, "").await;
    println!("{}: {}", refused.status, refused.text());
    assert!(refused.text().contains("its log was cut behind a checkpoint"), "{}", refused.text());

    // A log without its beginning, and no checkpoint that all have: nothing rather than a part.
    (0..2).for_each(|process| processes.kill(process));
    fs::remove_dir_all(processes.plants[0].data().join("checkpoints")).unwrap();
    processes.start_all();
    let plant = &processes.plants[1];
    eventually("it refuses", async || {
        let log = fs::read_to_string(plant.path("server.log")).unwrap();
        log.contains("no checkpoint from then on that all processes have").then_some(())
    })
    .await;
    assert_eq!(plant.files("checkpoints", "manifest").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_at_any_process_is_in_the_database_once() {
    let database = Database::new().await;
    let mut processes = Processes::new(2, "off");
    processes.more = vec!["--database-url".into(), database.url()];
    processes.start_all();
    processes.whole().await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for (process, server) in processes.all().enumerate() {
            let (box_of, time) = (format!("VALVE-{round}-{process}"), BASE + round);
            let refused = json!({"deviceId": &box_of, "metrics": {"TEMP": 1}});
            let pump = format!("PUMP-{process}");
            let taken = json!({"deviceId": pump, "timestamp": time, "metrics": {"TEMP": round}});
            server.ingest(json!([refused, taken])).await;
            expected.push(vec![Some(box_of)]);
        }
        // What was acknowledged just before is in the logs.
        processes.kill(round as usize % 2);
        processes.start(round as usize % 2);
        processes.whole().await;
    }
    let letters = "SELECT device_id FROM dead_letters ORDER BY device_id";
    let points = "SELECT count(*)::text FROM telemetry_history WHERE entity_type = 'asset'";
    eventually("all are there", async || {
        let found = (database.rows(letters).await, database.rows(points).await);
        (found == (expected.clone(), vec![vec![Some("6".to_owned())]])).then_some(())
    })
    .await;
}

#[test]
fn settings_of_a_cluster_are_checked() {
    let plant = Plant::new();
    let hosts = plant.path("hosts");
    fs::write(&hosts, "127.0.0.1:7001\n127.0.0.1:7002\n").unwrap();
    let check = |args: &[&str], expected: &str| {
        let finished = plant.run(&[&["serve", "--listen", "127.0.0.1:0"], args].concat()).expect(1);
        assert!(finished.err.contains(expected), "{}", finished.err);
    };
    let file = text(&hosts);
    check(&["--processes", "2"], "belong together");
    check(&["--processes", "3", "--process", "0", "--hosts", file], "2 addresses for 3 processes");
    check(&["--processes", "2", "--process", "2", "--hosts", file], "numbered from 0 to 1");
    check(&["--processes", "2", "--process", "0", "--hosts", "/nowhere"], "read --hosts /nowhere");
    // The log of one of several processes says nothing alone.
    fs::create_dir_all(plant.data()).unwrap();
    fs::write(plant.data().join("cluster.json"), r#"{"process":1,"processes":2}"#).unwrap();
    check(&[], "belongs to process 1 of 2");
    check(&["--processes", "2", "--process", "0", "--hosts", file], "start it as that one");
}
