//! Long answers as files: a question becomes a job, the job a file that is downloaded when it is
//! whole.
//!
//! ```text
//! queued --a turn--> running --whole--> done --age or removal--> gone
//!                       '----error----> failed ----------------> gone
//! ```
//!
//! Files are below the data directory in a folder of their own. One is written under another name
//! and gets its own when it is whole and on the disk; beside it a note says what it is. Both survive
//! a restart; what is not whole is removed at a start, and with it the job. Jobs ask by the limits
//! of queries, but for time and rows.

mod folder;
mod job;
mod limits;
mod work;

pub use limits::Limits;

use self::folder::Folder;
use self::job::{Job, State};
use super::doors::asked;
use crate::base::clock::Clock;
use crate::base::shutdown::Shutdown;
use crate::model::Timestamp;
use crate::query::{Form, Prepared, Query};
use crate::serve::{DoorError, ErrorKind, Export, ExportFile};
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How often is looked for what is too old.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The exports of a data directory. Clones share everything.
#[derive(Clone)]
pub struct Exports {
    inner: Arc<Inner>,
}

struct Inner {
    folder: Folder,
    limits: Limits,
    jobs: Mutex<BTreeMap<String, Arc<Job>>>,
    turns: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
}

impl Exports {
    /// Takes over what is whole in the folder, and removes the rest. Must be called inside a tokio
    /// runtime.
    pub fn open(
        folder: &Path,
        limits: Limits,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let path = folder.display().to_string();
        let (folder, notes) = Folder::open(folder).with_context(|| format!("open {path}"))?;
        let jobs = notes.into_iter().map(|note| (note.id.clone(), Arc::new(Job::of(note))));
        let inner = Inner {
            folder,
            jobs: Mutex::new(jobs.collect()),
            turns: Arc::new(Semaphore::new(limits.running)),
            limits,
            clock,
            shutdown,
        };
        let exports = Self { inner: Arc::new(inner) };
        exports.sweep();
        let (inner, shutdown) = (Arc::downgrade(&exports.inner), exports.inner.shutdown.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = shutdown.wait() => return,
                    () = tokio::time::sleep(SWEEP_EVERY) => {}
                }
                let Some(inner) = inner.upgrade() else { return };
                Self { inner }.sweep();
            }
        });
        Ok(exports)
    }

    /// Takes a question, which is answered when its turn comes. Must be called inside a tokio
    /// runtime.
    pub fn start(
        &self,
        query: &Query,
        question: (Prepared, String),
        form: Form,
    ) -> Result<Export, DoorError> {
        self.sweep();
        let inner = &self.inner;
        let job = {
            let mut jobs = self.jobs();
            if jobs.len() >= inner.limits.jobs {
                let detail = format!("{} exports are kept, which is the limit", jobs.len());
                return Err(full(&detail));
            }
            let bytes: u64 = jobs.values().map(|job| job.bytes()).sum();
            if bytes >= inner.limits.bytes {
                return Err(full(&format!("exports take {bytes} bytes: the limit is reached")));
            }
            let job = Arc::new(Job::new(question.1, form, inner.now()));
            jobs.insert(job.id().to_owned(), Arc::clone(&job));
            job
        };
        let (exports, worked) = (self.clone(), Arc::clone(&job));
        let work = work::work(exports, query.clone(), worked, question.0);
        tokio::spawn(work);
        Ok(self.told(&job))
    }

    /// All exports, oldest first.
    pub fn list(&self) -> Vec<Export> {
        self.sweep();
        let jobs: Vec<Arc<Job>> = self.jobs().values().cloned().collect();
        jobs.iter().map(|job| self.told(job)).collect()
    }

    /// How far an export is.
    pub fn get(&self, id: &str) -> Result<Export, DoorError> {
        self.sweep();
        let job = self.job(id)?;
        Ok(self.told(&job))
    }

    /// The file of an export that is done.
    pub fn file(&self, id: &str) -> Result<ExportFile, DoorError> {
        let job = self.job(id)?;
        if !matches!(job.state(), State::Done) {
            let detail = format!("the export {id} is {}", job.state().name());
            let hint = format!("GET /api/v1/exports/{id} says how far it is");
            return Err(DoorError::new(ErrorKind::Conflict, detail).hint(hint));
        }
        let opened = self.inner.folder.read(&job);
        let file = opened.map_err(|error| {
            DoorError::new(ErrorKind::Internal, format!("the file of the export {id}: {error}"))
        })?;
        Ok(ExportFile { file, form: job.form(), bytes: job.bytes() })
    }

    /// Ends an export that runs, and removes it with its file.
    pub fn remove(&self, id: &str) -> Result<(), DoorError> {
        let job = self.jobs().remove(id).ok_or_else(|| nothing(id))?;
        self.end(&job);
        Ok(())
    }

    /// Ends a job that nobody finds any more. Whoever writes its file removes what is there of it.
    fn end(&self, job: &Job) {
        job.end();
        if let Err(error) = self.inner.folder.remove(job) {
            tracing::warn!(id = job.id(), %error, "file of an export not removed");
        }
    }

    /// Removes what is too old.
    fn sweep(&self) {
        let age = i64::try_from(self.inner.limits.age.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp(self.inner.now().0.saturating_sub(age));
        let mut old = Vec::new();
        self.jobs().retain(|_, job| {
            let is_old = job.finished().is_some_and(|finished| finished <= before);
            if is_old {
                old.push(Arc::clone(job));
            }
            !is_old
        });
        old.iter().for_each(|job| self.end(job));
    }

    fn job(&self, id: &str) -> Result<Arc<Job>, DoorError> {
        self.jobs().get(id).cloned().ok_or_else(|| nothing(id))
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Job>>> {
        self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, job: &Job) -> Export {
        let age = i64::try_from(self.inner.limits.age.as_micros()).unwrap_or(i64::MAX);
        job.told(|finished| Timestamp(finished.0.saturating_add(age)))
    }

    /// What all files take, but that of one.
    fn others(&self, job: &Job) -> u64 {
        self.jobs().values().filter(|other| other.id() != job.id()).map(|job| job.bytes()).sum()
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_micros())
    }
}

fn nothing(id: &str) -> DoorError {
    DoorError::new(ErrorKind::NotFound, format!("there is no export '{id}'"))
        .hint("GET /api/v1/exports lists the exports")
}

fn full(detail: &str) -> DoorError {
    DoorError::new(ErrorKind::TooMany, detail).hint("DELETE those that are not needed any more")
}

/// An error of a query as the reason why a job failed.
fn reason(error: crate::query::Error) -> DoorError {
    asked(error)
}
