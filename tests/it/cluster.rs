//! Several processes run one dataflow: telemetry comes in at all of them, one after the other is
//! killed, and nothing is lost, and all of them say the same as one process alone.

use crate::checkpoints::refused;
use crate::ledger::{Ledger, kept, value};
use crate::support::*;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::sleep;

/// Messages of a request.
const MESSAGES: usize = 5;
/// How long a client waits between its requests.
const PAUSE: Duration = Duration::from_millis(60);
/// How long a client waits for an answer; then it asks another process.
const PATIENCE: Duration = Duration::from_secs(3);
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

/// The processes of a cluster, each with a data directory of its own and the same doors after a
/// restart.
struct Processes {
    servers: Vec<Option<Server>>,
    plants: Vec<Plant>,
    hosts: String,
    doors: Vec<String>,
    workers: usize,
    /// The time between checkpoints.
    every: &'static str,
}

fn free_addresses(count: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

impl Processes {
    fn new(count: usize, every: &'static str) -> Self {
        let plants: Vec<Plant> = (0..count).map(|_| Plant::new()).collect();
        let addresses = free_addresses(2 * count);
        let hosts = plants[0].path("hosts");
        fs::write(&hosts, addresses[..count].join("\n")).unwrap();
        let servers = (0..count).map(|_| None).collect();
        let doors = addresses[count..].to_vec();
        Self { plants, hosts: text(&hosts).to_owned(), doors, servers, workers: 2, every }
    }

    fn start(&mut self, process: usize) {
        let (count, number) = (self.plants.len().to_string(), process.to_string());
        let workers = self.workers.to_string();
        let catalog = self.plants[process].catalog();
        let mut args = vec!["--workers", &workers, "--hosts", &self.hosts];
        args.extend(["--checkpoint-every", self.every]);
        args.extend(["--processes", &count, "--process", &number, "--catalog", text(&catalog)]);
        self.servers[process] = Some(self.plants[process].serve_at(&self.doors[process], &args));
    }

    fn kill(&mut self, process: usize) {
        self.servers[process].take().unwrap().kill();
    }

    fn start_all(&mut self) {
        (0..self.plants.len()).rev().for_each(|process| self.start(process));
    }

    /// The epoch of the checkpoint that all have started from the last time, and the rows of
    /// devices that were behind it.
    fn replayed(&self) -> (u64, u64) {
        let all: Vec<Replayed> = self.plants.iter().map(Plant::replayed).collect();
        assert!(all.iter().all(|one| one.checkpoint == all[0].checkpoint), "{all:?}");
        (all[0].checkpoint, all.iter().map(|one| one.rows).sum())
    }

    /// Stops a process, or lets it go on, without its knowing.
    fn signal(&self, process: usize, signal: &str) {
        self.servers[process].as_ref().unwrap().signal(signal);
    }

    fn all(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().flatten()
    }

    /// Waits until the doors of all processes take requests.
    async fn whole(&self) {
        for server in self.all() {
            eventually("the cluster is whole", async || {
                let answer = server.try_send(Method::GET, "/health", &[], "").await?;
                (answer.status == 200).then_some(())
            })
            .await;
        }
    }
}

/// Sends seconds of its pump to one process after the other, until it is told to stop and all is
/// acknowledged. What is in doubt is sent again, to another one.
async fn client(doors: Vec<String>, mut ledger: Ledger, stop: Arc<AtomicBool>) -> Ledger {
    let http = Client::builder().timeout(PATIENCE).build().unwrap();
    let (mut turn, mut refused) = (0, 0);
    let mut doubtful: Option<Vec<i64>> = None;
    loop {
        if doubtful.is_none() && stop.load(Ordering::Relaxed) {
            return ledger;
        }
        let seconds = doubtful.take().unwrap_or_else(|| ledger.take(MESSAGES));
        let body = messages(&ledger, &seconds).to_string();
        let url = format!("http://{}{INGEST}", doors[turn % doors.len()]);
        turn += 1;
        let sent = http.post(url).header("content-type", JSON).body(body).send().await;
        let status = sent.as_ref().ok().map(|answer| answer.status().as_u16());
        match status {
            Some(200) => ledger.acknowledge(&seconds),
            Some(503) | None => {
                refused += 1;
                assert!(refused < 2000, "nothing is taken any more");
                doubtful = Some(seconds);
            }
            Some(other) => panic!("{other}: {:?}", sent.unwrap().text().await),
        }
        sleep(PAUSE).await;
    }
}

/// A temperature, a flow and a state a second: texts cross the processes too.
fn messages(ledger: &Ledger, seconds: &[i64]) -> Value {
    let mut messages = ledger.messages(seconds, &json!({}));
    for (message, second) in messages.as_array_mut().unwrap().iter_mut().zip(seconds) {
        let state = ["running", "tripped", "idle"][second.unsigned_abs() as usize / 7 % 3];
        message["metrics"]["STATE"] = state.into();
        message["metrics"]["FLOW"] = (value(*second) * 100.0).into();
    }
    messages
}

type Views = BTreeMap<String, Vec<String>>;

async fn views(server: &Server) -> Views {
    server.all_views().await.into_iter().collect()
}

/// Every view without what depends on the order in which things came in: ids are given in it, and
/// settled windows are counted when they are revised.
fn timeless(views: &Views) -> Views {
    let strip = |row: &String| {
        let mut row: Value = serde_json::from_str(row).unwrap();
        let fields = row.as_object_mut().unwrap();
        fields.retain(|name, _| !["id", "revision"].contains(&name.as_str()));
        row.to_string()
    };
    let mut stripped = Views::new();
    for (name, rows) in views.iter().filter(|(name, _)| *name != "corrections") {
        let mut rows: Vec<String> = rows.iter().map(strip).collect();
        rows.sort();
        stripped.insert(name.clone(), rows);
    }
    stripped
}

fn same(one: &Views, other: &Views) -> bool {
    let names = |views: &Views| views.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    let differs = one.iter().find(|(name, rows)| other[*name] != **rows);
    if let Some((name, rows)) = differs {
        let other = &other[name];
        let first = (0..rows.len().max(other.len())).find(|i| rows.get(*i) != other.get(*i));
        let first = first.map(|i| (rows.get(i), other.get(i)));
        println!("{name} differs: {} and {} rows, {first:?}", rows.len(), other.len());
    }
    differs.is_none()
}

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

/// Clients of some pumps, which send to all processes.
fn clients(
    processes: &Processes,
    folder: &Path,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<Ledger>> {
    let client_of = |pump: usize| {
        let ledger = Ledger::new(folder, 10 + pump);
        tokio::spawn(client(processes.doors.clone(), ledger, Arc::clone(stop)))
    };
    (0..3).map(client_of).collect()
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
