//! Sorting a recording by event time: in memory, or in runs on disk that are merged.

use super::error::Error;
use super::open::{BATCH_ROWS, Batches, Recording};
use super::scan::{keys, read};
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows of a sorted batch.
const SORTED_ROWS: usize = BATCH_ROWS / 8;

/// All rows by event time; rows of equal time stay in the order of the file. Holds at most about
/// twice `memory_bytes`.
pub(super) fn sorted(
    recording: &Recording,
    memory_bytes: usize,
    directory: &Path,
) -> Result<Batches, Error> {
    let mut run = Run::default();
    let mut spilled: Option<Spill> = None;
    let mut last = i64::MIN;
    for batch in recording.batches(None)? {
        let batch = batch?;
        let times = read(recording, batch.column(recording.columns().time()))?;
        run.push(batch, keys(&times, &mut last));
        if run.bytes >= memory_bytes {
            if spilled.is_none() {
                spilled = Some(Spill::create(recording, directory)?);
            }
            if let Some(spill) = &mut spilled {
                spill.write(std::mem::take(&mut run))?;
            }
        }
    }
    match spilled {
        None => {
            let failed = damaged(recording);
            Ok(Box::new(run.sort().map(move |batch| batch.map_err(&failed))))
        }
        Some(mut spill) => {
            spill.write(run)?;
            Ok(Box::new(Merge::open(spill, recording.clone())?))
        }
    }
}

fn damaged(recording: &Recording) -> impl Fn(ArrowError) -> Error + Send + use<> {
    let recording = recording.clone();
    move |e| Error::damaged(recording.path(), recording.format().name(), e)
}

/// Rows in memory.
#[derive(Default)]
struct Run {
    batches: Vec<RecordBatch>,
    /// Time, batch and row of each row.
    rows: Vec<(i64, u32, u32)>,
    bytes: usize,
}

impl Run {
    fn push(&mut self, batch: RecordBatch, keys: Vec<i64>) {
        let number = self.batches.len() as u32;
        self.rows.extend(keys.into_iter().enumerate().map(|(row, key)| (key, number, row as u32)));
        self.bytes +=
            batch.get_array_memory_size() + batch.num_rows() * size_of::<(i64, u32, u32)>();
        self.batches.push(batch);
    }

    fn sort(mut self) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send {
        self.rows.sort_by_key(|(key, _, _)| *key);
        let mut start = 0;
        std::iter::from_fn(move || {
            let rows = self.rows.get(start..self.rows.len().min(start + SORTED_ROWS))?;
            if rows.is_empty() {
                return None;
            }
            start += rows.len();
            let indices: Vec<(usize, usize)> =
                rows.iter().map(|(_, batch, row)| (*batch as usize, *row as usize)).collect();
            let batches: Vec<&RecordBatch> = self.batches.iter().collect();
            Some(interleave_record_batch(&batches, &indices))
        })
    }
}

/// Sorted runs in a folder of their own, which goes away with this value.
struct Spill {
    folder: Arc<Folder>,
    file: PathBuf,
    runs: Vec<PathBuf>,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), error = %e, "sort runs not removed");
        }
    }
}

static FOLDERS: AtomicU64 = AtomicU64::new(0);

impl Spill {
    fn create(recording: &Recording, directory: &Path) -> Result<Self, Error> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = directory.join(format!("millstream-sort-{}-{number}", std::process::id()));
        let file = recording.path().to_owned();
        fs::create_dir_all(&folder).map_err(|e| Error::Spill {
            path: file.clone(),
            directory: folder.clone(),
            message: e.to_string(),
        })?;
        Ok(Self { folder: Arc::new(Folder(folder)), file, runs: Vec::new() })
    }

    fn write(&mut self, run: Run) -> Result<(), Error> {
        let Some(first) = run.batches.first() else { return Ok(()) };
        let path = self.folder.0.join(format!("{}.arrows", self.runs.len()));
        let schema = first.schema();
        let write = || -> Result<(), ArrowError> {
            let mut writer = StreamWriter::try_new(BufWriter::new(File::create(&path)?), &schema)?;
            for batch in run.sort() {
                writer.write(&batch?)?;
            }
            writer.finish()?;
            writer.into_inner()?.into_inner().map_err(|e| e.into_error())?;
            Ok(())
        };
        write().map_err(|e| Error::Spill {
            path: self.file.clone(),
            directory: self.folder.0.clone(),
            message: e.to_string(),
        })?;
        self.runs.push(path);
        Ok(())
    }
}

/// The runs as one stream.
struct Merge {
    recording: Recording,
    runs: Vec<Cursor>,
    /// Batches that rows of the next output come from: the current one of each run, and those
    /// that were finished since the last output.
    buffers: Vec<RecordBatch>,
    heap: BinaryHeap<Reverse<(i64, usize)>>,
    _folder: Arc<Folder>,
}

/// Where a run stands.
struct Cursor {
    reader: StreamReader<BufReader<BufReader<File>>>,
    buffer: usize,
    keys: Vec<i64>,
    row: usize,
}

impl Merge {
    fn open(spill: Spill, recording: Recording) -> Result<Self, Error> {
        let mut merge = Self {
            recording,
            runs: Vec::new(),
            buffers: Vec::new(),
            heap: BinaryHeap::new(),
            _folder: Arc::clone(&spill.folder),
        };
        for (number, path) in spill.runs.iter().enumerate() {
            let file = File::open(path).map_err(Error::read(path))?;
            let reader = StreamReader::try_new_buffered(BufReader::new(file), None)
                .map_err(damaged(&merge.recording))?;
            merge.runs.push(Cursor { reader, buffer: 0, keys: Vec::new(), row: 0 });
            merge.load(number)?;
        }
        Ok(merge)
    }

    /// Reads the next batch of a run, if there is one.
    fn load(&mut self, run: usize) -> Result<(), Error> {
        let Some(batch) = self.runs[run].reader.next() else { return Ok(()) };
        let batch = batch.map_err(damaged(&self.recording))?;
        let times = read(&self.recording, batch.column(self.recording.columns().time()))?;
        let cursor = &mut self.runs[run];
        let mut last = cursor.keys.last().copied().unwrap_or(i64::MIN);
        cursor.keys = keys(&times, &mut last);
        cursor.row = 0;
        cursor.buffer = self.buffers.len();
        self.buffers.push(batch);
        self.heap.push(Reverse((cursor.keys[0], run)));
        Ok(())
    }

    fn step(&mut self) -> Result<Option<RecordBatch>, Error> {
        let mut indices = Vec::with_capacity(SORTED_ROWS);
        while indices.len() < SORTED_ROWS {
            let Some(Reverse((_, run))) = self.heap.pop() else { break };
            let cursor = &mut self.runs[run];
            indices.push((cursor.buffer, cursor.row));
            cursor.row += 1;
            match cursor.keys.get(cursor.row) {
                Some(key) => self.heap.push(Reverse((*key, run))),
                None => self.load(run)?,
            }
        }
        if indices.is_empty() {
            return Ok(None);
        }
        let buffers: Vec<&RecordBatch> = self.buffers.iter().collect();
        let batch =
            interleave_record_batch(&buffers, &indices).map_err(damaged(&self.recording))?;
        let mut kept = Vec::with_capacity(self.runs.len());
        for cursor in &mut self.runs {
            kept.push(self.buffers[cursor.buffer].clone());
            cursor.buffer = kept.len() - 1;
        }
        self.buffers = kept;
        Ok(Some(batch))
    }
}

impl Iterator for Merge {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
