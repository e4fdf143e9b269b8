//! What is known of the sink from outside: for operators, and for whoever cuts the log.

use super::error::Error;
use crate::model::Epoch;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tracing::{error, info, warn};

/// Gauge: the epoch up to which everything is in the database. Label `sink`.
pub const EPOCH: &str = "millstream_sink_epoch";
/// Gauge: 1 while no connection is tried because the last ones failed, else 0. Label `sink`.
pub const CIRCUIT_OPEN: &str = "millstream_sink_circuit_open";
/// Counter: rows that were sent and committed. Labels `sink`, `table`.
pub const ROWS: &str = "millstream_sink_rows_total";
/// Counter: points and events that PostgreSQL has no timestamp for, left out. Label `sink`.
pub const LEFT_OUT: &str = "millstream_sink_left_out_total";
/// Counter: sessions that failed. Label `sink`.
pub const FAILURES: &str = "millstream_sink_failures_total";

/// The value of the label `sink`, and the name in `millstream_sinks`.
pub const NAME: &str = "timescaledb";

/// What the sink is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Making a connection and looking for its place.
    Connecting,
    /// Writing what comes, or what it missed.
    Following,
    /// The circuit is open: the last session failed, the next one begins after a pause.
    Waiting,
    /// Another process writes for this data directory; this one has stopped.
    Fenced,
}

/// What the sink says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is at.
    pub state: State,
    /// Everything up to this epoch is in the database; 0 before the first session.
    pub epoch: Epoch,
    /// Why the last session failed; empty when none did since the last success.
    pub last_error: String,
}

/// The shared side of a sink.
#[derive(Debug)]
pub(super) struct Status {
    inner: Mutex<Inner>,
    end: Notify,
}

#[derive(Debug)]
struct Inner {
    report: Report,
    /// What the database says of itself, once it was asked.
    cursor: Option<Epoch>,
    /// Where its points are, and its tables of views.
    points: Epoch,
    views: Epoch,
    /// Whether the places are to be written that else would wait, and whether they were.
    finishes: bool,
    finished: bool,
}

impl State {
    /// The name that users see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Following => "following",
            Self::Waiting => "waiting",
            Self::Fenced => "fenced",
        }
    }
}

impl Status {
    pub fn new() -> Self {
        let report =
            Report { state: State::Connecting, epoch: Epoch(0), last_error: String::new() };
        let (points, views) = (Epoch(0), Epoch(0));
        let inner = Inner { report, cursor: None, points, views, finishes: false, finished: false };
        Self { inner: Mutex::new(inner), end: Notify::new() }
    }

    pub fn report(&self) -> Report {
        let inner = self.lock();
        Report { epoch: inner.points.min(inner.views), ..inner.report.clone() }
    }

    /// The program is about to end.
    pub fn finish(&self) {
        self.lock().finishes = true;
        self.end.notify_one();
    }

    /// Returns once when the program is about to end.
    pub async fn end(&self) {
        self.end.notified().await;
    }

    pub fn finishes(&self) -> bool {
        self.lock().finishes
    }

    pub fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// The tables of views are at an epoch; `finished` when all their places are written.
    pub fn looked(&self, epoch: Epoch, finished: bool) {
        let mut inner = self.lock();
        inner.views = epoch;
        inner.finished |= finished;
    }

    pub fn cursor(&self) -> Option<Epoch> {
        self.lock().cursor
    }

    pub fn connecting(&self) {
        self.set(State::Connecting);
    }

    /// A session has found its place.
    pub fn found(&self, cursor: Epoch, server: &str) {
        info!(server, %cursor, "following into the database");
        let mut inner = self.lock();
        inner.cursor = Some(cursor);
        (inner.points, inner.views) = (cursor, Epoch(0));
        drop(inner);
        self.set(State::Following);
    }

    /// The database has committed a new place.
    pub fn moved(&self, cursor: Epoch) {
        self.lock().cursor = Some(cursor);
        self.reached(cursor);
    }

    /// There is nothing to write up to this epoch.
    pub fn reached(&self, epoch: Epoch) {
        metrics::gauge!(EPOCH, "sink" => NAME).set(epoch.0 as f64);
        let mut inner = self.lock();
        inner.points = epoch;
        inner.report.last_error.clear();
        drop(inner);
        self.set(State::Following);
    }

    pub fn waiting(&self, failure: &Error, wait: Duration) {
        let last_error = failure.to_string();
        let mut inner = self.lock();
        // The same trouble again is no news.
        if inner.report.last_error != last_error {
            warn!(error = last_error, "the database does not take rows; trying again and again");
        }
        tracing::debug!(?wait, "pause before the next connection to the database");
        inner.report.last_error = last_error;
        drop(inner);
        metrics::counter!(FAILURES, "sink" => NAME).increment(1);
        self.set(State::Waiting);
    }

    pub fn fenced(&self, failure: &Error) {
        error!(error = %failure, "nothing more is written to the database");
        self.lock().report.last_error = failure.to_string();
        self.set(State::Fenced);
    }

    fn set(&self, state: State) {
        let open = matches!(state, State::Waiting | State::Fenced);
        metrics::gauge!(CIRCUIT_OPEN, "sink" => NAME).set(f64::from(u8::from(open)));
        self.lock().report.state = state;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
