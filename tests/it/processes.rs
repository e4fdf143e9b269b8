//! The processes of a cluster, clients that send to all of them, and their views.

use crate::ledger::{Ledger, value};
use crate::support::*;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// Messages of a request.
const MESSAGES: usize = 5;
/// How long a client waits between its requests.
const PAUSE: Duration = Duration::from_millis(60);
/// How long a client waits for an answer; then it asks another process.
const PATIENCE: Duration = Duration::from_secs(3);
/// The processes of a cluster, each with a data directory of its own and the same doors after a
/// restart.
pub struct Processes {
    pub servers: Vec<Option<Server>>,
    pub plants: Vec<Plant>,
    hosts: String,
    doors: Vec<String>,
    pub workers: usize,
    /// The time between checkpoints.
    every: &'static str,
    /// More arguments of all.
    pub more: Vec<String>,
}

fn free_addresses(count: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

impl Processes {
    pub fn new(count: usize, every: &'static str) -> Self {
        let plants: Vec<Plant> = (0..count).map(|_| Plant::new()).collect();
        let addresses = free_addresses(2 * count);
        let hosts = plants[0].path("hosts");
        fs::write(&hosts, addresses[..count].join("\n")).unwrap();
        let servers = (0..count).map(|_| None).collect();
        let doors = addresses[count..].to_vec();
        let (hosts, more) = (text(&hosts).to_owned(), Vec::new());
        Self { servers, plants, hosts, doors, workers: 2, every, more }
    }

    pub fn start(&mut self, process: usize) {
        let (count, number) = (self.plants.len().to_string(), process.to_string());
        let workers = self.workers.to_string();
        let catalog = self.plants[process].catalog();
        let mut args = vec!["--workers", &workers, "--hosts", &self.hosts];
        args.extend(["--checkpoint-every", self.every]);
        args.extend(self.more.iter().map(String::as_str));
        args.extend(["--processes", &count, "--process", &number, "--catalog", text(&catalog)]);
        self.servers[process] = Some(self.plants[process].serve_at(&self.doors[process], &args));
    }

    pub fn kill(&mut self, process: usize) {
        self.servers[process].take().unwrap().kill();
    }

    pub fn start_all(&mut self) {
        (0..self.plants.len()).rev().for_each(|process| self.start(process));
    }

    /// The epoch of the checkpoint that all have started from the last time, and the rows of
    /// devices that were behind it.
    pub fn replayed(&self) -> (u64, u64) {
        let all: Vec<Replayed> = self.plants.iter().map(Plant::replayed).collect();
        assert!(all.iter().all(|one| one.checkpoint == all[0].checkpoint), "{all:?}");
        (all[0].checkpoint, all.iter().map(|one| one.rows).sum())
    }

    /// Stops a process, or lets it go on, without its knowing.
    pub fn signal(&self, process: usize, signal: &str) {
        self.servers[process].as_ref().unwrap().signal(signal);
    }

    pub fn all(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().flatten()
    }

    /// Waits until the doors of all processes take requests.
    pub async fn whole(&self) {
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
pub fn messages(ledger: &Ledger, seconds: &[i64]) -> Value {
    let mut messages = ledger.messages(seconds, &json!({}));
    for (message, second) in messages.as_array_mut().unwrap().iter_mut().zip(seconds) {
        let state = ["running", "tripped", "idle"][second.unsigned_abs() as usize / 7 % 3];
        message["metrics"]["STATE"] = state.into();
        message["metrics"]["FLOW"] = (value(*second) * 100.0).into();
    }
    messages
}

pub type Views = BTreeMap<String, Vec<String>>;

pub async fn views(server: &Server) -> Views {
    server.all_views().await.into_iter().collect()
}

/// Every view without what depends on the order in which things came in: ids are given in it, and
/// settled windows are counted when they are revised.
pub fn timeless(views: &Views) -> Views {
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

pub fn same(one: &Views, other: &Views) -> bool {
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

/// Clients of some pumps, which send to all processes.
pub fn clients(
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
