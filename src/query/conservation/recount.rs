//! Walks through the log and looks every key up in telemetry, some of all keys at a time.

use super::report::Conservation;
use super::routes::{Feed, Routes};
use crate::historian::Telemetry;
use crate::log;
use crate::model::{Batch, Epoch, Frame, Timestamp};
use crate::query::error::Error;
use crate::query::limits::Limits;
use crate::query::session::{self, Environment, Tables};
use crate::query::source::Contents;
use crate::query::telemetry;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType as Arrow, Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type,
};
use futures::StreamExt;
use hashbrown::HashMap;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Keys that are in memory at the same time: about 200 MiB.
const KEYS_AT_ONCE: u64 = 4_000_000;
/// Wrong keys that are named.
const EXAMPLES: usize = 10;
/// The view of dead letters holds at most so many, and so many bytes of them.
const LETTERS: (u64, u64) = (100_000, 256 << 20);

/// Opens the log for reading from its beginning; each call gives a new reader.
pub type Frames = Arc<dyn Fn() -> Result<log::Reader, log::Error> + Send + Sync>;

/// What the log says of a key.
#[derive(Default)]
struct Entry {
    /// The value that came last.
    value: u64,
    /// Whether telemetry has the key.
    found: bool,
}

/// Some of all keys.
struct Part {
    number: u128,
    of: u128,
    keys: HashMap<u128, Entry>,
    first: Option<Epoch>,
    report: Conservation,
}

/// Recounts at the epoch that is visible now.
pub(in crate::query) async fn recount(
    tables: &Tables,
    env: &Environment,
    limits: &Limits,
    frames: Frames,
) -> Result<Conservation, Error> {
    let (contents, snapshot) = session::snapshot(tables, &["dead_letters"], true).await?;
    let Some(snapshot) = snapshot else { return Err(Error::failed("telemetry got lost")) };
    let Contents { epoch, views: letters, .. } = contents;
    let files: u64 = snapshot.files().iter().map(|file| file.rows).sum();
    let parts = (files + snapshot.hot_points() as u64).div_ceil(KEYS_AT_ONCE).max(1);
    let mut report = Conservation { epoch: epoch.0, ..Conservation::default() };
    for number in 0..parts {
        let shared = Arc::clone(&frames);
        let read = move || Part::read(number.into(), parts.into(), &*shared, epoch);
        let part = tokio::task::spawn_blocking(read).await.map_err(Error::failed)?;
        let part = part.map_err(Error::failed)?;
        let (mut found, lost) = part.compare(env, limits, &snapshot).await?;
        if !lost.is_empty() {
            let frames = Arc::clone(&frames);
            let named = tokio::task::spawn_blocking(move || names(lost, &*frames, epoch)).await;
            found.examples.extend(named.map_err(Error::failed)?.map_err(Error::failed)?);
        }
        report = add(report, found);
    }
    report.dead_letters_shown = letters.iter().flatten().map(|rows| rows.num_rows() as u64).sum();
    Ok(report)
}

/// Counts of keys are those of all parts; everything else was counted with each part.
fn add(sum: Conservation, part: Conservation) -> Conservation {
    Conservation {
        copies: part.copies,
        stored: sum.stored + part.stored,
        replaced: sum.replaced + part.replaced,
        duplicates: sum.duplicates + part.duplicates,
        lost: sum.lost + part.lost,
        unexplained: sum.unexplained + part.unexplained,
        examples: [sum.examples, part.examples].concat().into_iter().take(EXAMPLES).collect(),
        epoch: sum.epoch,
        ..part
    }
}

impl Part {
    fn read(
        number: u128,
        of: u128,
        frames: &dyn Fn() -> Result<log::Reader, log::Error>,
        up_to: Epoch,
    ) -> Result<Self, String> {
        let (keys, first) = (HashMap::new(), None);
        let mut part = Self { number, of, keys, first, report: Conservation::default() };
        let mut routes = Routes::default();
        let mut letters = (0, 0);
        for frame in frames().map_err(|e| e.to_string())?.up_to(up_to) {
            let frame = frame.map_err(|e| e.to_string())?;
            part.first.get_or_insert(frame.epoch);
            part.take(&frame, &mut routes, &mut letters)?;
        }
        part.report.dead_letters_full = letters.0 > LETTERS.0 || letters.1 > LETTERS.1;
        Ok(part)
    }

    fn take(
        &mut self,
        frame: &Frame,
        routes: &mut Routes,
        letters: &mut (u64, u64),
    ) -> Result<(), String> {
        routes.learn(&frame.documents)?;
        let mut messages = HashSet::new();
        for batch in &frame.batches {
            routes.points(batch, |row, column, feeds| {
                messages.insert(batch.messages()[row]);
                self.point(batch, (row, column), feeds);
            });
        }
        self.report.messages += messages.len() as u64;
        for letter in &frame.dead_letters {
            *self.report.dead_letters.entry(letter.source.to_string()).or_default() += 1;
            // Generously: the view may count more for each.
            *letters = (letters.0 + 1, letters.1 + 512 + letter.raw.len() as u64);
        }
        Ok(())
    }

    fn point(&mut self, batch: &Batch, (row, column): (usize, usize), feeds: &[Feed]) {
        let values = batch.rows().column(column);
        let report = &mut self.report;
        report.received += 1;
        let mut taken = 0;
        for feed in feeds.iter().filter(|feed| feed.takes(values, row)) {
            taken += 1;
            let key = key(&feed.asset, &feed.metric, batch.event_times()[row]);
            if key % self.of != self.number {
                continue;
            }
            let value = hash((0, value(values, row), batch.qualities()[row]));
            match self.keys.get_mut(&key) {
                Some(known) if known.value == value => report.duplicates += 1,
                Some(known) => {
                    known.value = value;
                    report.replaced += 1;
                }
                None => {
                    self.keys.insert(key, Entry { value, found: false });
                }
            }
        }
        match taken {
            0 => report.unmapped += 1,
            taken => report.copies += taken - 1,
        }
    }

    /// Looks at all of telemetry. Gives some of the keys that are not there, too.
    async fn compare(
        mut self,
        env: &Environment,
        limits: &Limits,
        snapshot: &Telemetry,
    ) -> Result<(Conservation, HashSet<u128>), Error> {
        let failed = |error| Error::from_datafusion(&error);
        let context = session::empty(env, limits)?;
        session::register(&context, telemetry::NAME, Arc::new(telemetry::table(snapshot)?))?;
        let query = "SELECT asset, metric, event_time, epoch FROM telemetry";
        let frame = context.sql(query).await.map_err(failed)?;
        let mut rows = frame.execute_stream().await.map_err(failed)?;
        while let Some(batch) = rows.next().await {
            self.look_up(&batch.map_err(failed)?);
        }
        self.report.stored = self.keys.values().filter(|entry| entry.found).count() as u64;
        self.report.lost = self.keys.len() as u64 - self.report.stored;
        let lost = self.keys.iter().filter(|(_, entry)| !entry.found).map(|(key, _)| *key);
        let lost = lost.take(EXAMPLES).collect();
        Ok((self.report, lost))
    }

    fn look_up(&mut self, rows: &RecordBatch) {
        let (assets, metrics) =
            (rows.column(0).as_string::<i32>(), rows.column(1).as_string::<i32>());
        let times = rows.column(2).as_primitive::<TimestampMicrosecondType>();
        let epochs = rows.column(3).as_primitive::<UInt64Type>();
        for row in 0..rows.num_rows() {
            let (asset, metric, time) = (assets.value(row), metrics.value(row), times.value(row));
            let key = key(asset, metric, time);
            if key % self.of != self.number {
                continue;
            }
            let wrong = match self.keys.get_mut(&key) {
                Some(entry) if !entry.found => {
                    entry.found = true;
                    continue;
                }
                Some(_) => "is there twice",
                // Older than the log, whose beginning was cut.
                None if Some(Epoch(epochs.value(row))) < self.first => continue,
                None => "is in no frame of the log",
            };
            self.report.unexplained += 1;
            if self.report.examples.len() < EXAMPLES {
                let time = Timestamp(time);
                self.report.examples.push(format!("{asset} {metric} at {time} {wrong}"));
            }
        }
    }
}

/// Names keys by reading the log once more.
fn names(
    mut keys: HashSet<u128>,
    frames: &dyn Fn() -> Result<log::Reader, log::Error>,
    up_to: Epoch,
) -> Result<Vec<String>, String> {
    let (mut routes, mut names) = (Routes::default(), Vec::new());
    for frame in frames().map_err(|e| e.to_string())?.up_to(up_to) {
        let frame = frame.map_err(|e| e.to_string())?;
        routes.learn(&frame.documents)?;
        for batch in &frame.batches {
            routes.points(batch, |row, _, feeds| {
                let time = batch.event_times()[row];
                for Feed { asset, metric, .. } in feeds {
                    if keys.remove(&key(asset, metric, time)) {
                        names.push(format!("{asset} {metric} at {} is lost", Timestamp(time)));
                    }
                }
            });
        }
    }
    Ok(names)
}

fn key(asset: &str, metric: &str, time: i64) -> u128 {
    let half = |which: u8| u128::from(hash((which, asset, metric, time)));
    half(1) << 64 | half(2)
}

/// A value's own bits; those of a text by its hash.
fn value(column: &ArrayRef, row: usize) -> u64 {
    match column.data_type() {
        Arrow::Float64 => column.as_primitive::<Float64Type>().value(row).to_bits(),
        Arrow::Int64 => column.as_primitive::<Int64Type>().value(row) as u64,
        Arrow::Boolean => column.as_boolean().value(row).into(),
        _ => hash((0, column.as_string::<i32>().value(row))),
    }
}

/// The same in every process, so that nothing here depends on a seed.
fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
