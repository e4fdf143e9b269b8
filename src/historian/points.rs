//! From hot rows to the columns of `telemetry`, in the order of the archive.
//!
//! The order is (day, asset, metric, event time). Where a key occurs more than once, the newest
//! epoch wins, and inside an epoch the row that came last; who wants to know gets the values of the
//! older epochs apart. Sorting works on rows and numbers, not on points and names: points fall out
//! in order because each asset's rows are walked once a metric.

use super::chunk::{Chunk, Note};
use super::names::{Names, Slots};
use super::schema::{dictionary, written};
use super::whole::Whole;
use crate::model::{DataType, Epoch, Symbol};
use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, NullBufferBuilder, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array, new_null_array,
};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use hashbrown::{HashMap, HashSet};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

const DAY_US: i64 = 86_400_000_000;
const NOWHERE: u32 = u32::MAX;

/// Which hot points are wanted. Readers may get more than they ask for, never less.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// First event time, inclusive.
    pub from: i64,
    /// Last event time, inclusive.
    pub to: i64,
    /// Keys of assets; `None` means all.
    pub assets: Option<Vec<String>>,
    /// Names of metrics; `None` means all.
    pub metrics: Option<Vec<String>>,
}

impl Default for Selection {
    fn default() -> Self {
        Self { from: i64::MIN, to: i64::MAX, assets: None, metrics: None }
    }
}

/// A row of a chunk, with all that it is sorted by.
#[derive(Clone, Copy)]
pub(super) struct RowAt {
    day: i32,
    rank: u32,
    pub time: i64,
    pub chunk: u32,
    pub row: u32,
}

/// Batches of points in archive order.
pub(super) struct Points {
    chunks: Vec<Arc<Chunk>>,
    dictionaries: Dictionaries,
    rows: Vec<RowAt>,
    layouts: Layouts,
    /// Keys of which some older value may stand outside of these chunks.
    noted: HashSet<Note>,
    /// Those of them of which that is so.
    older_outside: Vec<Note>,
    /// Values of older epochs that were met, day by day, for those who want them.
    older: Option<VecDeque<(i32, Builder)>>,
    /// Up to which epoch the values of a key were deleted, by asset, metric and event time.
    deleted: HashMap<(u32, u32, i64), Epoch>,
    /// The rows of the current asset and day, and its metrics that are still to come.
    group: (usize, usize),
    /// Whether each of these rows is one point of each metric, and all of them count.
    is_whole: bool,
    /// Those rows, when it is so.
    whole: Whole,
    metrics_left: Vec<u32>,
    batch_points: usize,
}

struct Dictionaries {
    assets: ArrayRef,
    devices: ArrayRef,
    metrics: ArrayRef,
}

/// The different layouts among the chunks.
struct Layouts {
    /// Which layout each chunk has.
    of_chunk: Vec<usize>,
    /// Where each metric stands in each layout.
    slot_of: Vec<Vec<u32>>,
    /// The metrics of each layout, last name first.
    metrics: Vec<Vec<u32>>,
    metric_rank: Vec<u32>,
}

impl Points {
    /// Sorts the rows of the chunks. Chunks must come in the order of their epochs.
    pub(super) fn new(
        chunks: Vec<Arc<Chunk>>,
        notes: impl IntoIterator<Item = Note>,
        names: &Names,
        selection: &Selection,
        batch_points: usize,
    ) -> Self {
        let assets = rank(names.assets().iter().map(Option::as_deref));
        let wanted = selection.assets.as_ref().map(|keys| {
            let keys: HashSet<&str> = keys.iter().map(String::as_str).collect();
            let known = |name: &Option<Arc<str>>| name.as_deref().is_some_and(|n| keys.contains(n));
            names.assets().iter().map(known).collect::<Vec<bool>>()
        });
        let mut rows = Vec::with_capacity(chunks.iter().map(|chunk| chunk.rows.len()).sum());
        for (chunk, from) in chunks.iter().enumerate() {
            if from.last_time < selection.from || from.first_time > selection.to {
                continue;
            }
            for (row, time) in from.rows.times.iter().copied().enumerate() {
                let asset = from.rows.assets[row] as usize;
                let inside = (selection.from..=selection.to).contains(&time);
                if !inside || wanted.as_ref().is_some_and(|wanted| !wanted[asset]) {
                    continue;
                }
                let day = time.div_euclid(DAY_US) as i32;
                let (chunk, row) = (chunk as u32, row as u32);
                rows.push(RowAt { day, rank: assets[asset], time, chunk, row });
            }
        }
        let newest_first =
            |row: &RowAt| (row.day, row.rank, row.time, Reverse((row.chunk, row.row)));
        rows.sort_unstable_by_key(newest_first);
        Self {
            layouts: Layouts::of(&chunks, names, selection),
            chunks,
            dictionaries: Dictionaries::of(names),
            rows,
            noted: notes.into_iter().collect(),
            older_outside: Vec::new(),
            older: None,
            deleted: HashMap::new(),
            group: (0, 0),
            is_whole: false,
            whole: Whole::default(),
            metrics_left: Vec::new(),
            batch_points,
        }
    }

    /// Leaves out points that were deleted. Notes must come in the order of their epochs.
    pub(super) fn leave_out(&mut self, deleted: &[Note]) {
        let key = |note: &Note| ((note.asset, note.metric, note.event_time), note.epoch);
        self.deleted.extend(deleted.iter().map(key));
    }

    /// Keeps the values that a key had at older epochs, for [`Points::next_older`].
    pub(super) fn keep_older(&mut self) {
        self.older = Some(VecDeque::new());
    }

    /// The next batch, with the day since 1970-01-01 on which all of its points lie; at least
    /// `batch_points` long, except at the end of a day.
    pub(super) fn next_batch(&mut self) -> Option<Result<(i32, RecordBatch), ArrowError>> {
        let mut builder = Builder::with_capacity(self.batch_points.min(self.rows.len()));
        let mut day = None;
        while builder.times.len() < self.batch_points {
            if self.metrics_left.is_empty() {
                let start = self.group.1;
                let Some(first) = self.rows.get(start) else { break };
                if day.is_some_and(|day| day != first.day) && !builder.times.is_empty() {
                    break;
                }
                let same = |row: &RowAt| (row.day, row.rank) == (first.day, first.rank);
                let length = self.rows[start..].iter().take_while(|row| same(row)).count();
                self.group = (start, start + length);
                self.metrics_left = self.layouts.metrics_of(&self.rows[start..start + length]);
                let rows = &self.rows[start..start + length];
                self.is_whole = self.are_whole(rows);
                if self.is_whole {
                    self.whole.fill(rows, &self.chunks);
                }
            }
            let Some(metric) = self.metrics_left.pop() else { continue };
            day = Some(self.rows[self.group.0].day);
            match self.is_whole {
                true => self.column(metric, &mut builder),
                false => self.run(metric, &mut builder),
            }
        }
        if builder.times.is_empty() {
            return None;
        }
        Some(builder.finish(&self.dictionaries).map(|batch| (day.unwrap_or_default(), batch)))
    }

    /// Keys met so far whose older value stands in an earlier file.
    pub(super) fn older_outside(&self) -> &[Note] {
        &self.older_outside
    }

    /// When all batches were given: the values that their keys had at older epochs, one of each
    /// epoch, day after day; in the same order, and of a key the newest first.
    pub(super) fn next_older(&mut self) -> Option<Result<(i32, RecordBatch), ArrowError>> {
        let (day, builder) = self.older.as_mut()?.pop_front()?;
        Some(builder.finish(&self.dictionaries).map(|batch| (day, batch)))
    }

    /// Whether these rows of one asset and day have all metrics of one layout, all of them
    /// numbers, once at each time, and nothing is known of any but its value.
    fn are_whole(&self, rows: &[RowAt]) -> bool {
        let Some(first) = rows.first() else { return false };
        let chunk = |at: &RowAt| &self.chunks[at.chunk as usize];
        let slots = &chunk(first).slots;
        self.noted.is_empty()
            && self.deleted.is_empty()
            && slots.data_types.iter().all(|data_type| *data_type != DataType::String)
            && rows.windows(2).all(|pair| pair[0].time < pair[1].time)
            && rows.iter().all(|at| {
                Arc::ptr_eq(slots, &chunk(at).slots) && chunk(at).rows.is_whole(at.row as usize)
            })
    }

    /// Appends one metric of the current group when its rows are whole.
    fn column(&self, metric: u32, builder: &mut Builder) {
        let Some(first) = self.rows.get(self.group.0) else { return };
        let (values, quality) = self.whole.slot(self.layouts.slot(first.chunk, metric) as usize);
        builder.times.extend_from_slice(&self.whole.times);
        builder.devices.extend_from_slice(&self.whole.devices);
        builder.values.extend_from_slice(values);
        builder.quality.extend_from_slice(quality);
        builder.epochs.extend_from_slice(&self.whole.epochs);
        let count = builder.times.len();
        builder.assets.resize(count, self.whole.asset as i32);
        builder.metrics.resize(count, metric as i32);
        builder.texts.resize(count, -1);
    }

    /// Appends the points of one metric of the current group.
    fn run(&mut self, metric: u32, builder: &mut Builder) {
        let rows = &self.rows[self.group.0..self.group.1];
        // Time and epoch of the value that was met last.
        let mut last: Option<(i64, Epoch)> = None;
        // The oldest value of a key knows whether there is one outside.
        let mut oldest: Option<Note> = None;
        for at in rows {
            let slot = self.layouts.slot(at.chunk, metric);
            let chunk = &self.chunks[at.chunk as usize];
            if slot == NOWHERE || !chunk.holds(at.row as usize, slot as usize) {
                continue;
            }
            let newer = last.filter(|(time, _)| *time == at.time).map(|(_, epoch)| epoch);
            if newer == Some(chunk.epoch) {
                continue;
            }
            let asset = chunk.rows.assets[at.row as usize];
            let key = (asset, metric, at.time);
            if !self.deleted.is_empty()
                && self.deleted.get(&key).is_some_and(|epoch| chunk.epoch <= *epoch)
            {
                continue;
            }
            let note = Note { epoch: chunk.epoch, asset, metric, event_time: at.time };
            if let Some(before) = oldest.replace(note).filter(|_| newer.is_none()) {
                self.older_outside.extend(self.noted.get(&before));
            }
            last = Some((at.time, chunk.epoch));
            let into = match (newer, &mut self.older) {
                (None, _) => &mut *builder,
                (Some(_), Some(days)) => of_day(days, at.day),
                (Some(_), None) => continue,
            };
            into.push(chunk, *at, slot as usize, metric);
        }
        self.older_outside.extend(oldest.and_then(|note| self.noted.get(&note)));
    }
}

/// The builder of a day; days come in order.
fn of_day(days: &mut VecDeque<(i32, Builder)>, day: i32) -> &mut Builder {
    if days.back().is_none_or(|(last, _)| *last != day) {
        days.push_back((day, Builder::default()));
    }
    let last = days.len() - 1;
    &mut days[last].1
}

impl Layouts {
    fn of(chunks: &[Arc<Chunk>], names: &Names, selection: &Selection) -> Self {
        let metric_rank = rank(names.metrics().iter().map(|name| Some(name.as_ref())));
        let wanted = |metric: &u32| match &selection.metrics {
            None => true,
            Some(wanted) => wanted.iter().any(|name| **name == **names.metric(*metric)),
        };
        let mut this =
            Self { of_chunk: Vec::new(), slot_of: Vec::new(), metrics: Vec::new(), metric_rank };
        let mut known: HashMap<*const Slots, usize> = HashMap::new();
        for chunk in chunks {
            let next = this.slot_of.len();
            let layout = *known.entry(Arc::as_ptr(&chunk.slots)).or_insert(next);
            this.of_chunk.push(layout);
            if layout < next {
                continue;
            }
            let mut slot_of = vec![NOWHERE; names.metrics().len()];
            for (slot, metric) in chunk.slots.metrics.iter().enumerate() {
                slot_of[*metric as usize] = slot as u32;
            }
            this.slot_of.push(slot_of);
            let mut metrics: Vec<u32> =
                chunk.slots.metrics.iter().copied().filter(|metric| wanted(metric)).collect();
            this.sort(&mut metrics);
            this.metrics.push(metrics);
        }
        this
    }

    fn slot(&self, chunk: u32, metric: u32) -> u32 {
        self.slot_of[self.of_chunk[chunk as usize]][metric as usize]
    }

    /// The metrics of all layouts among these rows, last name first.
    fn metrics_of(&self, rows: &[RowAt]) -> Vec<u32> {
        let mut layouts: Vec<usize> = Vec::new();
        for row in rows {
            let layout = self.of_chunk[row.chunk as usize];
            if !layouts.contains(&layout) {
                layouts.push(layout);
            }
        }
        if let [layout] = layouts[..] {
            return self.metrics[layout].clone();
        }
        let mut metrics: Vec<u32> = layouts.iter().flat_map(|l| self.metrics[*l].clone()).collect();
        self.sort(&mut metrics);
        metrics
    }

    fn sort(&self, metrics: &mut Vec<u32>) {
        metrics
            .sort_unstable_by_key(|metric| std::cmp::Reverse(self.metric_rank[*metric as usize]));
        metrics.dedup();
    }
}

impl Dictionaries {
    fn of(names: &Names) -> Self {
        let assets = names.assets().iter().map(|name| name.as_deref().unwrap_or_default());
        let devices = names.devices().iter().map(|name| name.as_deref().unwrap_or_default());
        let metrics = names.metrics().iter().map(|name| name.as_ref());
        Self {
            assets: Arc::new(StringArray::from_iter_values(assets)),
            devices: Arc::new(StringArray::from_iter_values(devices)),
            metrics: Arc::new(StringArray::from_iter_values(metrics)),
        }
    }
}

/// The place of each name among all names in order.
fn rank<'a>(names: impl Iterator<Item = Option<&'a str>>) -> Vec<u32> {
    let names: Vec<Option<&str>> = names.collect();
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_unstable_by_key(|i| names[*i]);
    let mut ranks = vec![0; names.len()];
    for (rank, i) in order.into_iter().enumerate() {
        ranks[i] = rank as u32;
    }
    ranks
}

/// Columns of points that are being built.
#[derive(Default)]
struct Builder {
    times: Vec<i64>,
    assets: Vec<i32>,
    devices: Vec<i32>,
    metrics: Vec<i32>,
    values: Vec<f64>,
    /// Whether the value is a number, then the place of its text in `symbols` or -1.
    texts: Vec<i32>,
    symbols: Vec<Symbol>,
    symbol_at: HashMap<u32, i32>,
    quality: Vec<u32>,
    epochs: Vec<u64>,
}

impl Builder {
    fn with_capacity(points: usize) -> Self {
        // A batch ends behind the run of one metric.
        let points = points + points / 8;
        Self {
            times: Vec::with_capacity(points),
            assets: Vec::with_capacity(points),
            devices: Vec::with_capacity(points),
            metrics: Vec::with_capacity(points),
            values: Vec::with_capacity(points),
            texts: Vec::with_capacity(points),
            quality: Vec::with_capacity(points),
            epochs: Vec::with_capacity(points),
            ..Self::default()
        }
    }

    fn push(&mut self, chunk: &Chunk, at: RowAt, slot: usize, metric: u32) {
        let row = at.row as usize;
        let word = chunk.rows.words[row * chunk.rows.slots + slot];
        let (value, text) = match chunk.slots.data_types[slot] {
            DataType::String => (0.0, self.symbol(word as u32)),
            number => (number.number(word).unwrap_or_default(), -1),
        };
        self.times.push(at.time);
        self.assets.push(chunk.rows.assets[row] as i32);
        self.devices.push(chunk.rows.devices[row] as i32);
        self.metrics.push(metric as i32);
        self.values.push(value);
        self.texts.push(text);
        self.quality.push(chunk.rows.quality[row * chunk.rows.slots + slot]);
        self.epochs.push(chunk.epoch.0);
    }

    fn symbol(&mut self, id: u32) -> i32 {
        let next = self.symbols.len() as i32;
        let at = *self.symbol_at.entry(id).or_insert(next);
        if at == next {
            self.symbols.push(Symbol(id));
        }
        at
    }

    fn finish(self, names: &Dictionaries) -> Result<RecordBatch, ArrowError> {
        let length = self.times.len();
        let (values, texts): (ArrayRef, ArrayRef) = if self.symbols.is_empty() {
            (Arc::new(Float64Array::from(self.values)), new_null_array(&dictionary(), length))
        } else {
            let (mut numbers, mut texts) =
                (NullBufferBuilder::new(length), NullBufferBuilder::new(length));
            for text in &self.texts {
                numbers.append(*text < 0);
                texts.append(*text >= 0);
            }
            let keys = self.texts.iter().map(|text| (*text).max(0)).collect();
            let keys = Int32Array::new(keys, texts.finish());
            let words = self.symbols.iter().map(|symbol| symbol.text());
            let words: ArrayRef = Arc::new(StringArray::from_iter_values(words));
            let values = Float64Array::new(self.values.into(), numbers.finish());
            (Arc::new(values), Arc::new(DictionaryArray::<Int32Type>::try_new(keys, words)?))
        };
        let named = |keys: Vec<i32>, names: &ArrayRef| -> Result<ArrayRef, ArrowError> {
            let keys = Int32Array::from(keys);
            Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(names))?))
        };
        let columns = vec![
            Arc::new(TimestampMicrosecondArray::from(self.times).with_timezone("UTC")) as ArrayRef,
            named(self.assets, &names.assets)?,
            named(self.devices, &names.devices)?,
            named(self.metrics, &names.metrics)?,
            values,
            texts,
            Arc::new(UInt32Array::from(self.quality)),
            Arc::new(UInt64Array::from(self.epochs)),
        ];
        RecordBatch::try_new(written(), columns)
    }
}
