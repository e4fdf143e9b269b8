//! Lets old rows of views leave memory: a thread writes what the hub hands it, and the hub
//! lets the rows go when they are durable.

use crate::historian::{self, NewFile, OldRows};
use crate::model::ArchiveFile;
use crate::views::{InMemory, Leaving, Old, OldFiles, Views, Wanted};
use anyhow::Context;
use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long nothing is tried after a file could not be written.
const PAUSE: Duration = Duration::from_secs(10);

/// The hub's side: at most one table is on its way at a time.
pub struct Departures {
    stay: InMemory,
    /// `None` only at the end.
    to_write: Option<Sender<Old>>,
    thread: Option<JoinHandle<()>>,
    written: Receiver<Result<Written, String>>,
    under_way: bool,
    not_before: Option<Instant>,
}

/// Rows that leave, and the file that has them; `None` when there are none.
type Written = (Leaving, Option<ArchiveFile>);

/// Files of old rows for the views.
#[derive(Clone)]
pub struct Reader(pub OldRows);

impl Departures {
    /// Starts the thread, which ends with what it is at when this is dropped.
    pub fn start(files: Reader, stay: InMemory) -> anyhow::Result<Self> {
        let (to_write, tables) = bounded::<Old>(1);
        let (done, written) = bounded(1);
        let write = move || {
            for table in tables {
                let written = table.leaving(&files).and_then(|leaving| {
                    let file = write(&files.0, &leaving).map_err(|error| error.to_string())?;
                    Ok((leaving, file))
                });
                if done.send(written).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("old-rows".into())
            .spawn(write)
            .context("start the writer of old rows")?;
        let (to_write, thread) = (Some(to_write), Some(thread));
        Ok(Self { stay, to_write, thread, written, under_way: false, not_before: None })
    }

    /// Lets go of what was written since, and has the next written when it is time.
    pub fn go_on(&mut self, views: &Views) {
        if let Ok(written) = self.written.try_recv() {
            self.under_way = false;
            match written {
                Ok((leaving, None)) => views.stay(&leaving),
                Ok((leaving, Some(file))) => {
                    let rows = file.rows;
                    let counts = views.leave(&leaving, file);
                    let (view, epoch) = (leaving.view().name(), leaving.epoch());
                    tracing::debug!(view, %epoch, rows, counts, "old rows left memory");
                }
                Err(error) => {
                    tracing::error!(%error, "old rows stay in memory");
                    self.not_before = Some(Instant::now() + PAUSE);
                }
            }
        }
        let waits = self.not_before.is_some_and(|time| Instant::now() < time);
        if !self.under_way
            && !waits
            && let (Some(to_write), Some(table)) = (&self.to_write, views.old(self.stay))
        {
            self.under_way = to_write.send(table).is_ok();
        }
    }
}

impl Drop for Departures {
    /// Waits for the file that is being written: whoever opens the directory next writes it anew.
    fn drop(&mut self) {
        self.to_write = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer of old rows panicked");
        }
    }
}

fn write(files: &OldRows, leaving: &Leaving) -> Result<Option<ArchiveFile>, historian::Error> {
    if leaving.is_empty() {
        return Ok(None);
    }
    let mut writing = files.create(&NewFile {
        view: leaving.view().name(),
        name: &leaving.name(),
        epoch: leaving.epoch(),
        schema: &leaving.schema(),
        order: leaving.view().order(),
    })?;
    leaving.batches(|batch| writing.write(&batch))?;
    writing.finish().map(Some)
}

impl OldFiles for Reader {
    fn read(
        &self,
        files: &[ArchiveFile],
        wanted: &Wanted,
    ) -> Result<Vec<(usize, RecordBatch)>, String> {
        let times = wanted.of.values().flatten();
        let (first, last) = (times.clone().min().copied(), times.max().copied());
        let (first, last) = (first.unwrap_or(i64::MAX), last.unwrap_or(i64::MIN));
        let mut found = Vec::new();
        for (place, file) in files.iter().enumerate() {
            if file.min_event_time <= last && first <= file.max_event_time {
                let batches = self.0.read(file, wanted.time, &wanted.of);
                let batches = batches.map_err(|error| error.to_string())?;
                found.extend(batches.into_iter().map(|batch| (place, batch)));
            }
        }
        Ok(found)
    }
}
