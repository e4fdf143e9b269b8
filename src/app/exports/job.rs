//! One export: what is asked, and how far it is.

use super::folder::Note;
use crate::base::shutdown::Shutdown;
use crate::model::{Epoch, Timestamp};
use crate::query::Form;
use crate::serve::{DoorError, Export, Problem};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// How far an export is.
#[derive(Clone, Debug)]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// It is written.
    Running,
    /// Its file is whole.
    Done,
    /// It has no file, for this reason.
    Failed(DoorError),
}

impl State {
    /// The name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed(_) => "failed",
        }
    }
}

/// An export.
#[derive(Debug)]
pub struct Job {
    id: String,
    question: String,
    form: Form,
    created: Timestamp,
    rows: AtomicU64,
    bytes: AtomicU64,
    progress: Mutex<Progress>,
    /// Triggered when nobody wants it any more.
    ended: Shutdown,
}

#[derive(Debug)]
struct Progress {
    state: State,
    finished: Option<Timestamp>,
    epoch: Option<Epoch>,
}

impl Job {
    /// One that waits.
    pub fn new(question: String, form: Form, now: Timestamp) -> Self {
        let progress = Progress { state: State::Queued, finished: None, epoch: None };
        Self {
            id: Uuid::now_v7().to_string(),
            question,
            form,
            created: now,
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            progress: Mutex::new(progress),
            ended: Shutdown::new(),
        }
    }

    /// One that is done since before a start.
    pub fn of(note: Note) -> Self {
        let progress = Progress {
            state: State::Done,
            finished: Some(Timestamp(note.finished)),
            epoch: Some(Epoch(note.epoch)),
        };
        Self {
            id: note.id,
            question: note.question,
            form: note.form,
            created: Timestamp(note.created),
            rows: AtomicU64::new(note.rows),
            bytes: AtomicU64::new(note.bytes),
            progress: Mutex::new(progress),
            ended: Shutdown::new(),
        }
    }

    /// What a restart must know of it once it is done.
    pub fn note(&self, finished: Timestamp) -> Note {
        Note {
            id: self.id.clone(),
            question: self.question.clone(),
            form: self.form,
            created: self.created.0,
            finished: finished.0,
            epoch: self.progress().epoch.unwrap_or_default().0,
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes(),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn form(&self) -> Form {
        self.form
    }

    /// The bytes that its file has so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn state(&self) -> State {
        self.progress().state.clone()
    }

    /// When it was done or failed.
    pub fn finished(&self) -> Option<Timestamp> {
        self.progress().finished
    }

    /// Rows were written.
    pub fn add_rows(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Bytes were written. Gives all of them.
    pub fn add_bytes(&self, bytes: usize) -> u64 {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64
    }

    /// Its turn has come, and all tables are at this epoch.
    pub fn run(&self, epoch: Option<Epoch>) {
        let mut progress = self.progress();
        progress.state = State::Running;
        progress.epoch = epoch;
    }

    /// Its file is whole, or will never be.
    pub fn finish(&self, state: State, now: Timestamp) {
        if !matches!(state, State::Done) {
            self.bytes.store(0, Ordering::Relaxed);
        }
        let mut progress = self.progress();
        progress.state = state;
        progress.finished = Some(now);
    }

    /// Nobody wants it any more.
    pub fn end(&self) {
        self.ended.trigger();
    }

    pub fn ended(&self) -> &Shutdown {
        &self.ended
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The export in the words of the wire.
    pub fn told(&self, expires: impl Fn(Timestamp) -> Timestamp) -> Export {
        let progress = self.progress();
        let (error, file) = match &progress.state {
            State::Failed(error) => (Some(Problem::from(error.clone())), None),
            State::Done => (None, Some(format!("/api/v1/exports/{}/file", self.id))),
            _ => (None, None),
        };
        Export {
            id: self.id.clone(),
            state: progress.state.name().into(),
            format: self.form.name().into(),
            question: self.question.clone(),
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes(),
            epoch: progress.epoch.map(|epoch| epoch.0),
            created_at: self.created.to_string(),
            finished_at: progress.finished.map(|time| time.to_string()),
            expires_at: progress.finished.map(|time| expires(time).to_string()),
            file,
            error,
        }
    }
}
