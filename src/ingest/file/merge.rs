//! Several recordings as one stream of steps.

use super::error::Error;
use super::open::{BATCH_ROWS, Batches, Recording};
use super::scan::{Scan, keys, read};
use super::sort::sorted;
use crate::model::{Duration, Timestamp};
use arrow::array::RecordBatch;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file with more late rows than one in so many is sorted.
const LATE_ONE_IN: u64 = 10;

/// How recordings are played.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether files are sorted by event time.
    pub order: Order,
    /// Event time that a step spans at most. Long spans make large batches and are fastest; short
    /// ones make a replay advance evenly.
    pub span: Duration,
    /// Memory that sorting may take, all files together.
    pub sort_bytes: usize,
    /// Where sorted runs go that do not fit.
    pub temporary: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            order: Order::Auto,
            span: Duration(1_000_000),
            sort_bytes: 512 << 20,
            temporary: std::env::temp_dir(),
        }
    }
}

/// Whether a file is sorted by event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// When more than a tenth of its rows are late.
    #[default]
    Auto,
    /// Never: files tell the order of arrival.
    Keep,
    /// Whenever a row is late.
    Sort,
}

/// A file that is played.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is.
    pub recording: Recording,
    /// What its times are like.
    pub scan: Scan,
    /// Whether its rows are sorted by event time before they are played.
    pub sorted: bool,
    /// `file:<name>`: how dead letters name it.
    pub label: Arc<str>,
}

/// Rows of one file that are played together.
#[derive(Clone, Debug)]
pub struct Step {
    /// Whose rows: its `recording.columns()` routes them.
    pub source: Arc<Source>,
    /// The rows.
    pub rows: RecordBatch,
    /// The recording's clock behind the rows: the greatest event time of all files so far.
    pub tick: Timestamp,
}

/// Recordings being played. An error ends it.
pub struct Replay {
    span: i64,
    sources: Vec<Arc<Source>>,
    tracks: Vec<Track>,
    tick: i64,
    failed: bool,
}

impl Replay {
    /// Opens files, reads their times once, and sorts those that need it.
    pub fn open(paths: &[impl AsRef<Path>], settings: &Settings) -> Result<Self, Error> {
        let mut sources = Vec::new();
        for path in paths {
            let recording = Recording::open(path.as_ref())?;
            let scan = Scan::of(&recording)?;
            let sorted = match settings.order {
                Order::Auto => scan.late > scan.rows / LATE_ONE_IN,
                Order::Keep => false,
                Order::Sort => scan.late > 0,
            };
            let name = recording.path().file_name().unwrap_or_default().to_string_lossy();
            let label = format!("file:{name}").into();
            sources.push(Arc::new(Source { recording, scan, sorted, label }));
        }
        let to_sort = sources.iter().filter(|source| source.sorted).count();
        let memory_bytes = settings.sort_bytes / to_sort.max(1);
        let mut tracks = Vec::new();
        for source in &sources {
            let batches = match source.sorted {
                true => sorted(&source.recording, memory_bytes, &settings.temporary)?,
                false => source.recording.batches(None)?,
            };
            tracks.push(Track { batches, current: None, clock: i64::MIN });
        }
        let span = settings.span.0.max(1);
        Ok(Self { span, sources, tracks, tick: i64::MIN, failed: false })
    }

    /// The files, in the order in which they were given.
    pub fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// The number of rows of all files.
    pub fn rows(&self) -> u64 {
        self.sources.iter().map(|source| source.scan.rows).sum()
    }

    /// Least and greatest event time of all files; `None` when no row has one.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let spans = self.sources.iter().filter_map(|source| source.scan.span);
        spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    fn step(&mut self) -> Result<Option<Step>, Error> {
        let mut next: Option<(i64, usize)> = None;
        for (number, track) in self.tracks.iter_mut().enumerate() {
            let Some(clock) = track.peek(&self.sources[number].recording)? else { continue };
            let slot = clock.div_euclid(self.span);
            if next.is_none_or(|(least, _)| slot < least) {
                next = Some((slot, number));
            }
        }
        let Some((_, number)) = next else { return Ok(None) };
        let Some((rows, clock)) = self.tracks[number].take(self.span) else { return Ok(None) };
        self.tick = self.tick.max(clock);
        let source = Arc::clone(&self.sources[number]);
        Ok(Some(Step { source, rows, tick: Timestamp(self.tick) }))
    }
}

impl Iterator for Replay {
    type Item = Result<Step, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

/// Where a file stands.
struct Track {
    batches: Batches,
    current: Option<Current>,
    /// The file's own clock: the greatest event time so far. A late row comes at this time.
    clock: i64,
}

struct Current {
    rows: RecordBatch,
    /// The file's clock at each row, ascending.
    clocks: Vec<i64>,
    at: usize,
}

impl Track {
    /// The clock of the next row.
    fn peek(&mut self, recording: &Recording) -> Result<Option<i64>, Error> {
        loop {
            if let Some(current) = &self.current
                && let Some(clock) = current.clocks.get(current.at)
            {
                return Ok(Some(*clock));
            }
            let Some(rows) = self.batches.next().transpose()? else {
                self.current = None;
                return Ok(None);
            };
            let times = read(recording, rows.column(recording.columns().time()))?;
            // A file that begins without a time begins with its first time.
            if self.clock == i64::MIN
                && let Some(first) = (0..rows.num_rows()).find(|row| times.is_valid(*row))
            {
                self.clock = times.micros[first];
            }
            let mut clocks = keys(&times, &mut self.clock.clone());
            for clock in &mut clocks {
                self.clock = self.clock.max(*clock);
                *clock = self.clock;
            }
            self.current = Some(Current { rows, clocks, at: 0 });
        }
    }

    /// The next rows that share a span, and their last clock.
    fn take(&mut self, span: i64) -> Option<(RecordBatch, i64)> {
        let current = self.current.as_mut()?;
        let clocks = &current.clocks[current.at..];
        let slot = clocks.first()?.div_euclid(span);
        let rows = clocks.partition_point(|clock| clock.div_euclid(span) == slot).min(BATCH_ROWS);
        let slice = current.rows.slice(current.at, rows);
        current.at += rows;
        Some((slice, clocks[rows - 1]))
    }
}
