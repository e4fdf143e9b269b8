//! A running engine, and what tests ask of it.

use crate::support::{INGEST, JSON};
use reqwest::{Client, Method};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A running engine. It is killed when it is dropped.
pub struct Server {
    pub child: Child,
    pub url: String,
    /// Where clients of PostgreSQL are answered.
    pub postgres: Option<String>,
    /// Where clients of Flight SQL are answered.
    pub flight: Option<String>,
    pub log: PathBuf,
    pub client: Client,
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
        self.signal("TERM");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not stop")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("a signal");
        assert!(sent.success());
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
pub async fn eventually<T>(what: &str, attempt: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(Duration::from_secs(10), what, attempt).await
}

/// Tries until something is there, for at most so long.
pub async fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(begun.elapsed() < limit, "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
