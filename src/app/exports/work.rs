//! Writes the file of an export.

use super::job::{Job, State};
use super::{Exports, full, reason};
use crate::model::Timestamp;
use crate::query::{Answer, Prepared, Query, Renderer};
use crate::serve::{DoorError, ErrorKind};
use arrow::array::RecordBatch;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Rows that are written between two looks at whether they are wanted.
const ROWS_AT_ONCE: usize = 4 * 1024;

/// Why a file is not whole.
enum Stop {
    /// Nobody wants it any more, or the program ends.
    Ended,
    Failed(DoorError),
}

/// Waits for a turn, asks, and writes. What is not whole in the end is removed.
pub(super) async fn work(exports: Exports, query: Query, job: Arc<Job>, prepared: Prepared) {
    let shutdown = exports.inner.shutdown.clone();
    let written = tokio::select! {
        () = shutdown.wait() => Err(Stop::Ended),
        () = job.ended().wait() => Err(Stop::Ended),
        written = ask_and_write(&exports, query, &job, prepared) => written,
    };
    // Whoever writes on another thread has stopped, or does so at its next look.
    let written = match written {
        Err(stop) => Err(stop),
        Ok(writing) => writing.await.unwrap_or_else(|error| Err(Stop::Failed(broken(&error)))),
    };
    let failed = match written {
        Ok(finished) if !job.ended().is_triggered() => return job.finish(State::Done, finished),
        Ok(_) | Err(Stop::Ended) => None,
        Err(Stop::Failed(error)) => Some(error),
    };
    if let Err(error) = exports.inner.folder.remove(&job) {
        tracing::warn!(id = job.id(), %error, "file of an export not removed");
    }
    if let Some(error) = failed {
        tracing::warn!(id = job.id(), %error, "export failed");
        job.finish(State::Failed(error), exports.inner.now());
    }
}

/// Gives the time at which the file was whole.
type Writing = tokio::task::JoinHandle<Result<Timestamp, Stop>>;

/// Begins to write as soon as there is an answer.
async fn ask_and_write(
    exports: &Exports,
    query: Query,
    job: &Arc<Job>,
    prepared: Prepared,
) -> Result<Writing, Stop> {
    let turns = Arc::clone(&exports.inner.turns);
    let turn = turns.acquire_owned().await.map_err(|error| Stop::Failed(broken(&error)))?;
    job.run(None);
    let (time, rows) = (exports.inner.limits.time, exports.inner.limits.rows);
    let answer = query.at_length(prepared, time, rows).await;
    // The room of queries closes when nobody holds it any more.
    drop(query);
    let answer = answer.map_err(|error| Stop::Failed(reason(error)))?;
    job.run(Some(answer.epoch()));
    let (exports, job, handle) = (exports.clone(), Arc::clone(job), Handle::current());
    Ok(tokio::task::spawn_blocking(move || {
        let _turn = turn;
        write(&exports, &job, answer, &handle)
    }))
}

fn write(
    exports: &Exports,
    job: &Arc<Job>,
    mut answer: Answer,
    handle: &Handle,
) -> Result<Timestamp, Stop> {
    let inner = &exports.inner;
    let disk = |error: io::Error| Stop::Failed(broken(&error));
    let file = inner.folder.create(job).map_err(disk)?;
    let out = Out { file: BufWriter::new(file), exports: exports.clone(), job: Arc::clone(job) };
    // An error of the output is one of these: what the renderer makes of it says less.
    let why = |error: crate::query::Error| match wanted(exports, job) {
        Err(stop) => stop,
        Ok(()) => Stop::Failed(reason(error)),
    };
    let mut renderer = Renderer::new(job.form(), answer.schema(), out).map_err(why)?;
    loop {
        let next = handle.block_on(async {
            tokio::select! {
                () = inner.shutdown.wait() => None,
                () = job.ended().wait() => None,
                next = answer.next() => Some(next),
            }
        });
        let batch = match next {
            None => return Err(Stop::Ended),
            Some(None) => break,
            Some(Some(batch)) => batch.map_err(|error| Stop::Failed(reason(error)))?,
        };
        for rows in pieces(&batch) {
            renderer.write(&rows).map_err(why)?;
            job.add_rows(rows.num_rows());
            wanted(exports, job)?;
        }
    }
    let out = renderer.finish().map_err(why)?;
    let file = out.file.into_inner().map_err(|error| disk(error.into_error()))?;
    wanted(exports, job)?;
    let finished = inner.now();
    inner.folder.complete(&file, &job.note(finished)).map_err(disk)?;
    Ok(finished)
}

fn pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    let at = (0..rows).step_by(ROWS_AT_ONCE);
    at.map(move |at| batch.slice(at, ROWS_AT_ONCE.min(rows - at)))
}

/// Whether a file may grow on.
fn wanted(exports: &Exports, job: &Job) -> Result<(), Stop> {
    if exports.inner.shutdown.is_triggered() || job.ended().is_triggered() {
        return Err(Stop::Ended);
    }
    let (bytes, most) = (job.bytes(), exports.inner.limits.bytes);
    if exports.others(job) + bytes > most {
        let detail = format!("the files of all exports would take more than {most} bytes");
        return Err(Stop::Failed(full(&detail)));
    }
    Ok(())
}

fn broken(error: &dyn std::fmt::Display) -> DoorError {
    DoorError::new(ErrorKind::Internal, format!("the file cannot be written: {error}"))
}

/// A file that counts what is written to it, and ends when it may not grow.
struct Out {
    file: BufWriter<File>,
    exports: Exports,
    job: Arc<Job>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let before = self.job.bytes() / LOOK_BYTES;
        let looks = self.job.add_bytes(written) / LOOK_BYTES > before;
        if looks && wanted(&self.exports, &self.job).is_err() {
            return Err(io::Error::other("the file may not grow"));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes that are written between two looks at whether they are wanted.
const LOOK_BYTES: u64 = 1 << 20;
