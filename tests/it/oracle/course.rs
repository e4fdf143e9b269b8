//! Courses: one way in which a story may come to a plant: how messages are cut into frames, how
//! many workers there are, and when the program is stopped or killed and started again.

use super::documents::Random;
use super::story::{Step, What};
use crate::exports::{self, settled};
use futures::TryStreamExt;
use millstream::app::{Runtime, Settings};
use millstream::historian::StoreSettings;
use millstream::ingest::commit::{CommitError, Submission};
use millstream::ingest::format::json;
use millstream::ingest::route::Router;
use millstream::model::{Duration, Epoch, Timestamp};
use millstream::views::InMemory;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time;
use tempfile::TempDir;

/// How often something late asked for archived points, as far as that was seen.
pub static PAGES: AtomicU64 = AtomicU64::new(0);

/// How many files of windows that had left memory were seen, and how many of other rows.
pub static FILES: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// How many files of the archive had moved to a store in the end.
pub static MOVED: AtomicU64 = AtomicU64::new(0);
/// How many rows SQL has told again as of an epoch of before.
pub static TOLD: AtomicU64 = AtomicU64::new(0);

/// The rows of each view, as text and sorted.
pub type Contents = BTreeMap<String, Vec<String>>;

/// How a story comes.
pub struct Course {
    pub seed: u64,
    /// Workers of the first start.
    pub workers: usize,
    /// Whether it is stopped and killed in between.
    pub restarts: bool,
}

/// A plant in the middle of a course.
struct Plant {
    random: Random,
    directory: TempDir,
    /// How often it was started.
    starts: usize,
    /// `None` only while it is started again.
    runtime: Option<Runtime>,
    seconds: tokio::runtime::Runtime,
    /// Epochs at which it was looked at, and which look that was.
    remembered: Vec<(Epoch, usize)>,
}

impl Course {
    /// Tells the story. Returns what the views hold after each of the steps that are `looked` at;
    /// the error says that after step `verified` they are not what telemetry gives.
    pub fn tell(
        &self,
        story: &[Step],
        looked: &[usize],
        verified: Option<usize>,
    ) -> Result<Vec<Contents>, String> {
        let mut plant = Plant::new(self);
        let mut seen = Vec::new();
        for (at, step) in story.iter().enumerate() {
            plant.take(step);
            if self.restarts && plant.random.one_in(10) {
                plant.restart();
            }
            if looked.contains(&at) {
                seen.push(plant.look());
                plant.remembered.push((plant.runtime().views.epoch(), seen.len() - 1));
            }
            if Some(at) == verified {
                let what = |error| format!("{self}, after step {at}: {error}");
                plant.verify().map_err(what)?;
            }
        }
        MOVED.fetch_add(walk(&plant.directory.path().join("store")), Ordering::Relaxed);
        for (epoch, at) in plant.remembered.clone() {
            let what = |error| format!("{self}, as of epoch {epoch}: {error}");
            plant.remembers(epoch, &seen[at]).map_err(what)?;
        }
        Ok(seen)
    }
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let restarts = if self.restarts { "with restarts" } else { "without restarts" };
        write!(f, "{} workers {restarts}", self.workers)
    }
}

impl Plant {
    fn new(course: &Course) -> Self {
        // In memory where there is such a place: a sync to disk takes longer than all the rest.
        let memory = Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let seconds = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (random, directory) = (Random(course.seed), directory.unwrap());
        let mut plant =
            Self { random, directory, starts: 0, runtime: None, seconds, remembered: Vec::new() };
        plant.start(course.workers);
        plant
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join(self.starts.to_string())
    }

    /// A store that takes files as soon as their day is over.
    fn store(&self) -> StoreSettings {
        let url = format!("file://{}/store", self.directory.path().display());
        StoreSettings::new(url.parse().unwrap(), Some(millstream::model::Duration(0)))
    }

    fn start(&mut self, workers: usize) {
        let checkpoints = self.random.one_in(2).then_some(time::Duration::from_secs(3_600));
        let windows = [2, 3, 60][self.random.below(3) as usize];
        let age = Duration([0, 60, 600, 86_400][self.random.below(4) as usize] * 1_000_000);
        let most = [1, 8, 1_000][self.random.below(3) as usize];
        let settings = Settings {
            workers,
            checkpoint_every: checkpoints,
            in_memory: InMemory { windows, age, most, rows: 0 },
            merge_files: [0, 2, 3][self.random.below(3) as usize],
            clock_error: Duration(0),
            archive_store: self.random.one_in(2).then(|| self.store()),
            ..Settings::new(self.data())
        };
        // A program that another test starts has this process's locks until it is the program.
        let mut opened = Runtime::open(&settings);
        for _ in 0..100 {
            let is_locked = |error: &anyhow::Error| format!("{error:#}").contains("is in use");
            if !opened.as_ref().is_err_and(is_locked) {
                break;
            }
            std::thread::sleep(time::Duration::from_millis(20));
            opened = Runtime::open(&settings);
        }
        self.runtime = Some(opened.unwrap());
    }

    /// Stops it, with a checkpoint or without, or kills it; then it starts again.
    fn restart(&mut self) {
        let from = self.data();
        let Some(runtime) = self.runtime.take() else { return };
        match self.random.below(4) {
            0 | 1 => {
                runtime.close().unwrap();
            }
            kind => {
                // What is on the disk at this moment is what a kill leaves.
                self.starts += 1;
                snapshot(&from, &self.data());
                if kind == 2 {
                    std::fs::remove_dir_all(self.data().join("checkpoints")).unwrap();
                }
            }
        }
        let workers = [1, 2, 4][self.random.below(3) as usize];
        self.start(workers);
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("a started plant")
    }

    fn take(&mut self, step: &Step) {
        let tick = Timestamp(step.now * 1_000_000);
        match &step.what {
            What::Silence => {
                self.commit(Submission { tick: Some(tick), ..Submission::default() }).unwrap();
            }
            What::Document(new) => {
                // What waits for the archive while its metric goes ends in the dead letters.
                self.runtime().settle().unwrap();
                let documents = vec![new.clone()];
                match self.commit(Submission {
                    documents,
                    tick: Some(tick),
                    ..Submission::default()
                }) {
                    Ok(()) | Err(CommitError::Refused(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            What::LongAgo(messages) => {
                messages.iter().for_each(|one| self.send(std::slice::from_ref(one), tick));
            }
            What::Telemetry(messages) => {
                let mut rest = messages.as_slice();
                while !rest.is_empty() {
                    let some = 1 + self.random.below(rest.len() as u64) as usize;
                    self.send(&rest[..some], tick);
                    rest = &rest[some..];
                }
            }
        }
        if self.random.one_in(20) {
            self.runtime().historian.flush().unwrap();
        }
    }

    /// One body, one frame.
    fn send(&self, messages: &[Value], tick: Timestamp) {
        let runtime = self.runtime();
        let body = Value::from(messages).to_string();
        let mut router = Router::new(&*runtime.devices, runtime.routing, "test", tick);
        json::decode(body.as_bytes(), json::Framing::Detect, None, &mut router);
        let routed = router.finish();
        let submission = Submission {
            documents: routed.documents,
            batches: routed.batches,
            dead_letters: routed.dead_letters,
            messages: routed.messages,
            tick: Some(tick),
            ..Submission::default()
        };
        self.commit(submission).unwrap();
    }

    fn commit(&self, submission: Submission) -> Result<(), CommitError> {
        self.runtime().committer.submit_blocking(submission).map(drop)
    }

    /// Whether the views hold what telemetry gives; the error says what differs.
    fn verify(&self) -> Result<(), String> {
        let runtime = self.runtime();
        runtime.settle().unwrap();
        let report = self.seconds.block_on(runtime.verify()).unwrap();
        if report.is_equal() { Ok(()) } else { Err(report.to_string()) }
    }

    /// Whether SQL says now what views held after an epoch. Whether a settled window was revised is
    /// not known any more.
    fn remembers(&self, epoch: Epoch, held: &Contents) -> Result<(), String> {
        for (view, rows) in held {
            if matches!(view.as_str(), "dead_letters" | "corrections") {
                continue;
            }
            let sql = format!("SELECT * FROM {view} AS OF SYSTEM TIME {}", epoch.0);
            let told = self.seconds.block_on(async {
                let answer = self.runtime().query.sql(&sql).await.map_err(|e| e.to_string())?;
                answer.collect().await.map_err(|e| e.to_string())
            });
            let told = told.map_err(|error| format!("{sql}: {error}"))?;
            let told: Vec<String> = exports::rows(&told).iter().map(Value::to_string).collect();
            TOLD.fetch_add(told.len() as u64, Ordering::Relaxed);
            let (told, held) = (settled(told), settled(rows.iter().cloned()));
            if told != held {
                let only = |these: &[String], those: &[String]| -> Vec<String> {
                    these.iter().filter(|row| !those.contains(row)).take(3).cloned().collect()
                };
                let (now, then) = (only(&told, &held), only(&held, &told));
                return Err(format!("{view} is told as {now:#?} and was {then:#?}"));
            }
        }
        Ok(())
    }

    /// What the views hold.
    fn look(&self) -> Contents {
        let runtime = self.runtime();
        runtime.settle().unwrap();
        PAGES.fetch_add(runtime.pages_wanted(), Ordering::Relaxed);
        let views = runtime.views.list();
        for view in views.iter().map(|view| view.name) {
            let files = walk(&self.data().join("archive/windows").join(view));
            let of = usize::from(!view.starts_with("rollups"));
            FILES[of].fetch_add(files, Ordering::Relaxed);
        }
        let names: Vec<&str> = views.iter().map(|view| view.name).collect();
        let contents = self.seconds.block_on(async {
            let mut views = Vec::new();
            for rows in runtime.query.whole(&names).await.unwrap() {
                views.push(rows.try_collect().await.unwrap());
            }
            views
        });
        let text = |batches: Vec<_>| {
            let mut rows: Vec<String> =
                exports::rows(&batches).iter().map(Value::to_string).collect();
            rows.sort();
            rows
        };
        names.into_iter().map(str::to_owned).zip(contents.into_iter().map(text)).collect()
    }
}

/// The number of files in a folder and those in it.
fn walk(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}

/// Copies a data directory as it is at one moment, although files of its archive are merged and move.
fn snapshot(from: &Path, to: &Path) {
    let manifest = || std::fs::read(from.join("archive/manifest.json")).unwrap();
    loop {
        let before = manifest();
        if copy(from, to).is_ok() && manifest() == before {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)?.flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &to)?,
            false => drop(std::fs::copy(&path, &to)?),
        }
    }
    Ok(())
}
