//! The real program as a child process, and what tests ask of it. Every test has a plant of its
//! own: a data directory and a copy of the catalog in `tests/data/plant`.

use reqwest::{Client, Method};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Event times of the tests start here: 2023-11-14T22:13:20Z, in seconds.
pub const BASE: i64 = 1_700_000_000;

pub const JSON: &str = "application/json";
pub const LINES: &str = "application/x-ndjson";
pub const ARROW: &str = "application/vnd.apache.arrow.stream";
pub const YAML: &str = "application/yaml";
pub const INGEST: &str = "/api/v1/telemetry/ingest";

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The program. It runs outside of the repository, so that it finds no catalog by itself.
pub fn program() -> Command {
    let built = || env!("CARGO_BIN_EXE_millstream").to_owned();
    let mut command =
        Command::new(std::env::var("CARGO_BIN_EXE_millstream").unwrap_or_else(|_| built()));
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

/// How a command ended.
pub struct Finished {
    pub code: i32,
    pub out: String,
    pub err: String,
    pub bytes: Vec<u8>,
}

/// Runs a command to its end.
pub fn run<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Finished {
    let output = program().args(args).output().expect("the program starts");
    Finished {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}

impl Finished {
    /// Panics with everything that was said unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

/// A plant on disk: `data` and `catalog` in a directory that goes with it.
pub struct Plant {
    directory: TempDir,
}

impl Plant {
    pub fn new() -> Self {
        let plant = Self { directory: tempfile::tempdir().expect("a directory") };
        copy(&repository("tests/data/plant"), &plant.catalog());
        plant
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn catalog(&self) -> PathBuf {
        self.path("catalog")
    }

    /// A file of the catalog.
    pub fn document(&self, path: &str) -> String {
        fs::read_to_string(self.catalog().join(path)).expect("a document")
    }

    /// Starts the engine and waits until its doors are open.
    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    pub fn serve_with(&self, args: &[&str]) -> Server {
        let log = self.path("server.log");
        let mut child = program()
            .arg("serve")
            .arg("--data")
            .arg(self.data())
            .arg("--catalog")
            .arg(self.catalog())
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).expect("a log"))
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let Some(url) = url.map(str::to_owned) else {
            let log = fs::read_to_string(log).unwrap_or_default();
            panic!("no address in '{line}'; the log says\n{log}");
        };
        Server { child, url, log, client: Client::new() }
    }

    /// Runs a command on the data directory.
    pub fn run(&self, args: &[&str]) -> Finished {
        let data = self.data();
        let mut all: Vec<&str> = args.to_vec();
        all.extend(["--data", data.to_str().expect("a plain path")]);
        run(&all)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).expect("a copy")),
        }
    }
}

/// A running engine. It is killed when it is dropped.
pub struct Server {
    child: Child,
    pub url: String,
    log: PathBuf,
    client: Client,
}

/// An answer: the status, the content type, the body.
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.bytes);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body of an answer that must be good.
    #[track_caller]
    pub fn good(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The problem document of an answer that must be a refusal.
    #[track_caller]
    pub fn problem(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.content_type, "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        problem
    }
}

impl Server {
    /// Sends a request; `None` when the connection breaks.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Option<Answer> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let header = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = header.unwrap_or_default().to_owned();
        let bytes = answer.bytes().await.ok()?.to_vec();
        Some(Answer { status, content_type, bytes })
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        self.try_send(method, path, headers, body).await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        self.send(Method::POST, path, &[("content-type", content_type)], body).await
    }

    /// Sends telemetry as JSON, which must be taken.
    pub async fn ingest(&self, messages: Value) -> Value {
        self.post(INGEST, JSON, messages.to_string()).await.good()
    }

    /// The rows of a view; the name may have a query behind it.
    pub async fn view(&self, name: &str) -> Vec<Value> {
        rows(self.get(&format!("/api/v1/views/{name}")).await.good())
    }

    /// The epoch that is visible now.
    pub async fn epoch(&self) -> u64 {
        self.get("/health").await.good()["epoch"].as_u64().expect("an epoch")
    }

    /// The rows of a query.
    pub async fn sql(&self, query: &str) -> Vec<Value> {
        rows(self.post("/api/v1/sql", "text/plain", query.to_owned()).await.good())
    }

    /// Every view with its rows, in an order that does not depend on how they are kept.
    pub async fn all_views(&self) -> Vec<(String, Vec<String>)> {
        let list = self.get("/api/v1/views").await.good();
        let mut all = Vec::new();
        for view in list["views"].as_array().expect("a list") {
            let name = view["name"].as_str().expect("a name");
            let mut rows: Vec<String> =
                self.view(name).await.iter().map(ToString::to_string).collect();
            rows.sort();
            all.push((name.to_owned(), rows));
        }
        all
    }

    /// Asks it to stop, as an operator does, and waits; returns the exit code.
    pub fn terminate(mut self) -> i32 {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("a signal");
        assert!(sent.success());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not stop")
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("a status");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

fn rows(mut answer: Value) -> Vec<Value> {
    match answer["rows"].take() {
        Value::Array(rows) => rows,
        other => panic!("no rows: {other}"),
    }
}

/// Tries until something is there, for at most ten seconds.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
