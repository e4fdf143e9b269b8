//! Walks through the log and looks every key up in telemetry, some of all keys at a time.
//!
//! Whether an edit was refused depends on what the dataflow had in memory: that is taken from the
//! view `corrections`. What an edit that was carried out has deleted is found in the log.

use super::report::Conservation;
use super::routes::{Feed, Routes};
use crate::historian::Telemetry;
use crate::model::{Action, Batch, Corrected, Edit, Epoch, Frame, Reason, Timestamp, Value};
use crate::query::error::Error;
use crate::query::limits::Limits;
use crate::query::session::{self, Environment};
use crate::query::source::Contents;
use crate::query::tables::Tables;
use crate::query::telemetry;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType as Arrow, Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type,
};
use futures::StreamExt;
use hashbrown::HashMap;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Keys that are in memory at the same time: about 200 MiB.
const KEYS_AT_ONCE: u64 = 4_000_000;
/// Wrong keys that are named.
const EXAMPLES: usize = 10;
/// The view of dead letters holds at most so many, and so many bytes of them.
const LETTERS: (u64, u64) = (100_000, 256 << 20);

/// Opens the log, or the logs of all processes, for reading from the beginning to an epoch; each
/// call gives a new reader. The error says why that cannot be.
pub type Frames = Arc<Open>;
type Open = dyn Fn(Epoch) -> Result<FramesRead, String> + Send + Sync;

/// Frames in the order of their epochs.
pub type FramesRead = Box<dyn Iterator<Item = Result<Frame, String>>>;

/// What the log says of a key.
#[derive(Default)]
struct Entry {
    /// The value that came last.
    value: u64,
    /// Whether telemetry has the key.
    found: bool,
    /// Whether it may have expired.
    is_old: bool,
}

/// What was edited, as far as it is known before the points are.
#[derive(Default)]
struct Edited {
    /// Ids of edits that were refused.
    refused: HashSet<String>,
    /// Assets and metrics of which points were deleted.
    series: HashSet<u64>,
    /// Keys that came after their time had expired, as far as the view of dead letters has them.
    late: HashSet<u128>,
    /// The time before which points have expired.
    expired: Option<i64>,
}

/// Some of all keys.
struct Part {
    number: u128,
    of: u128,
    keys: HashMap<u128, Entry>,
    edited: Arc<Edited>,
    /// The keys of series of which points were deleted, by event time.
    times: HashMap<u64, BTreeMap<i64, u128>>,
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
    let (contents, snapshot) =
        session::snapshot(tables, &["dead_letters", "corrections"], true).await?;
    let Some(snapshot) = snapshot else { return Err(Error::failed("telemetry got lost")) };
    let Contents { epoch, mut views, .. } = contents;
    let schema = tables.views.list().into_iter().find(|(name, _)| name == "corrections");
    let edits = match (views.pop(), schema) {
        (Some(rows), Some((_, schema))) => session::rows(env, limits, schema, rows).await?,
        _ => Vec::new(),
    };
    let expired = snapshot.announced().map(|before| before.0);
    let letters = views.pop().map(|rows| rows.batches).unwrap_or_default();
    let late = late(&letters);
    let edited = match edits.iter().any(|rows| rows.num_rows() > 0) {
        false => Edited { late, expired, ..Edited::default() },
        true => {
            let (refused, shared) = (refused(&edits), Arc::clone(&frames));
            let found = move || Edited::find(refused, &*shared, epoch);
            let found = tokio::task::spawn_blocking(found).await.map_err(Error::failed)?;
            Edited { late, expired, ..found.map_err(Error::failed)? }
        }
    };
    let edited = Arc::new(edited);
    let files: u64 = snapshot.files().iter().map(|file| file.rows).sum();
    let parts = (files + snapshot.hot_points() as u64).div_ceil(KEYS_AT_ONCE).max(1);
    let mut report = Conservation { epoch: epoch.0, ..Conservation::default() };
    for number in 0..parts {
        let (shared, edited) = (Arc::clone(&frames), Arc::clone(&edited));
        let read = move || Part::read((number.into(), parts.into()), edited, &*shared, epoch);
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
    // Those of points that came too late are in no log.
    let shown = |rows: &RecordBatch| (rows.num_rows() - beyond(rows).count()) as u64;
    report.dead_letters_shown = letters.iter().map(shown).sum();
    Ok(report)
}

/// Counts of keys are those of all parts; everything else was counted with each part.
fn add(sum: Conservation, part: Conservation) -> Conservation {
    Conservation {
        copies: part.copies,
        stored: sum.stored + part.stored,
        replaced: sum.replaced + part.replaced,
        duplicates: sum.duplicates + part.duplicates,
        deleted: sum.deleted + part.deleted,
        expired: sum.expired + part.expired,
        lost: sum.lost + part.lost,
        unexplained: sum.unexplained + part.unexplained,
        examples: [sum.examples, part.examples].concat().into_iter().take(EXAMPLES).collect(),
        epoch: sum.epoch,
        ..part
    }
}

impl Part {
    fn read(
        (number, of): (u128, u128),
        edited: Arc<Edited>,
        frames: &Open,
        up_to: Epoch,
    ) -> Result<Self, String> {
        let (keys, times, first) = (HashMap::new(), HashMap::new(), None);
        let report = Conservation::default();
        let mut part = Self { number, of, keys, edited, times, first, report };
        let mut routes = Routes::default();
        let mut letters = (0, 0);
        for frame in frames(up_to)? {
            let frame = frame?;
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
        for edit in &frame.edits {
            self.edit(edit);
        }
        for letter in &frame.dead_letters {
            *self.report.dead_letters.entry(letter.source.to_string()).or_default() += 1;
            // Generously: the view may count more for each.
            *letters = (letters.0 + 1, letters.1 + 512 + letter.raw.len() as u64);
        }
        Ok(())
    }

    fn point(&mut self, batch: &Batch, (row, column): (usize, usize), feeds: &[Feed]) {
        let values = batch.rows().column(column);
        self.report.received += 1;
        let mut taken = 0;
        for feed in feeds.iter().filter(|feed| feed.takes(values, row)) {
            taken += 1;
            let value = hash((0, value(values, row), batch.qualities()[row]));
            self.keep((&feed.asset, &feed.metric, batch.event_times()[row]), value);
        }
        match taken {
            0 => self.report.unmapped += 1,
            taken => self.report.copies += taken - 1,
        }
    }

    /// Keeps the value of a key, if it is one of this part.
    fn keep(&mut self, (asset, metric, time): (&str, &str, i64), value: u64) {
        let key = key(asset, metric, time);
        if key % self.of != self.number {
            return;
        }
        match self.keys.get_mut(&key) {
            Some(known) if known.value == value => self.report.duplicates += 1,
            Some(known) => {
                known.value = value;
                self.report.replaced += 1;
            }
            None => {
                let is_old = self.edited.expired.is_some_and(|before| time < before);
                let is_old = is_old || self.edited.late.contains(&key);
                self.keys.insert(key, Entry { value, found: false, is_old });
                let series = series(asset, metric);
                if self.edited.series.contains(&series) {
                    self.times.entry(series).or_default().insert(time, key);
                }
            }
        }
    }

    /// Follows an edit, unless it was refused.
    fn edit(&mut self, edit: &Edit) {
        if self.edited.refused.contains(&*edit.id) {
            return;
        }
        match &edit.action {
            Action::Delete { metrics, from, to } => {
                for metric in metrics {
                    let times = self.times.entry(series(&edit.key, metric)).or_default();
                    let mut gone = times.split_off(&from.0);
                    times.append(&mut gone.split_off(&to.0));
                    self.report.deleted += gone.len() as u64;
                    for key in gone.values() {
                        self.keys.remove(key);
                    }
                }
            }
            Action::Correct { points } => {
                self.report.received += points.len() as u64;
                for Corrected { metric, event_time, value, quality, .. } in points {
                    let word = match value {
                        Value::String(text) => hash((0, &**text)),
                        number => number.word(),
                    };
                    self.keep((&edit.key, metric, event_time.0), hash((0, word, quality.0)));
                }
            }
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
        let gone = || self.keys.iter().filter(|(_, entry)| !entry.found);
        self.report.expired = gone().filter(|(_, entry)| entry.is_old).count() as u64;
        self.report.lost = self.keys.len() as u64 - self.report.stored - self.report.expired;
        let lost = gone().filter(|(_, entry)| !entry.is_old).map(|(key, _)| *key);
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
fn names(mut keys: HashSet<u128>, frames: &Open, up_to: Epoch) -> Result<Vec<String>, String> {
    let (mut routes, mut names) = (Routes::default(), Vec::new());
    for frame in frames(up_to)? {
        let frame = frame?;
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

impl Edited {
    /// Finds in the log of which series points were deleted.
    fn find(refused: HashSet<String>, frames: &Open, up_to: Epoch) -> Result<Self, String> {
        let mut found = Self { refused, ..Self::default() };
        for frame in frames(up_to)? {
            for edit in frame?.edits {
                if let Action::Delete { metrics, .. } = &edit.action
                    && !found.refused.contains(&*edit.id)
                {
                    found.series.extend(metrics.iter().map(|metric| series(&edit.key, metric)));
                }
            }
        }
        Ok(found)
    }
}

/// The ids of the edits that the view says were refused.
fn refused(view: &[RecordBatch]) -> HashSet<String> {
    let mut refused = HashSet::new();
    for rows in view {
        let (Some(ids), Some(why)) = (rows.column_by_name("id"), rows.column_by_name("refused"))
        else {
            continue;
        };
        let ids = ids.as_string::<i32>();
        refused.extend((0..ids.len()).filter(|i| why.is_valid(*i)).map(|i| ids.value(i).into()));
    }
    refused
}

/// The rows of dead letters that tell of points that came after their time had expired.
fn beyond(letters: &RecordBatch) -> impl Iterator<Item = usize> {
    let reasons = letters.column_by_name("reason").map(|reasons| reasons.as_string::<i32>());
    let is = move |i: &usize| {
        reasons.is_some_and(|reasons| reasons.value(*i) == Reason::BeyondRetention.code())
    };
    (0..letters.num_rows()).filter(is)
}

/// The keys that those tell of.
fn late(letters: &[RecordBatch]) -> HashSet<u128> {
    let mut keys = HashSet::new();
    for rows in letters {
        let Some(raw) = rows.column_by_name("raw") else { continue };
        let Ok(raw) = cast(raw, &Arrow::Utf8) else { continue };
        for i in beyond(rows) {
            let Ok(letter) = serde_json::from_str::<Late>(raw.as_string::<i32>().value(i)) else {
                continue;
            };
            let Ok(time) = Timestamp::parse(&letter.time) else { continue };
            keys.extend(letter.metrics.keys().map(|metric| key(&letter.asset, metric, time.0)));
        }
    }
    keys
}

/// What came after its time had expired, as its dead letter tells it.
#[derive(Deserialize)]
struct Late {
    asset: String,
    time: String,
    metrics: serde_json::Map<String, serde_json::Value>,
}

fn series(asset: &str, metric: &str) -> u64 {
    hash((3_u8, asset, metric))
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
