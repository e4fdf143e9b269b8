//! Gathers the values of keys, and picks of each key the one that counts.

use super::history::Asked;
use super::replaced::Replaced;
use super::telemetry::Telemetry;
use crate::model::{DataType, PagePoints, Symbol};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use hashbrown::HashMap;
use std::sync::Arc;

/// Values are looked through when an ask has twice as many as it may have points, and this many.
const LOOK_THROUGH: usize = 4 * 1024;

/// What was found for all asks.
pub(super) struct Versions<'a> {
    asked: &'a Asked,
    metrics: Metrics,
    found: Vec<Found>,
    most: usize,
}

/// The metrics that were met.
#[derive(Default)]
struct Metrics {
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
}

/// What was found for an ask.
#[derive(Default)]
struct Found {
    values: Vec<Version>,
    /// Values of which epochs do not count any more: those before this one, by metric and time.
    deleted: HashMap<(u32, i64), u64>,
    /// There is more than there may be.
    too_many: bool,
}

/// A value that a key had from an epoch on.
struct Version {
    metric: u32,
    time: i64,
    epoch: u64,
    value: f64,
    text: Option<Arc<str>>,
    quality: u32,
}

impl<'a> Versions<'a> {
    /// Nothing yet. Of an ask for which there are more points than `most`, nothing is kept.
    pub(super) fn new(asked: &'a Asked, most: usize) -> Self {
        let found = asked.asks.iter().map(|_| Found::default()).collect();
        Self { asked, metrics: Metrics::default(), found, most }
    }

    /// Takes a deletion. All of them come before the values.
    pub(super) fn delete(&mut self, gone: &Replaced) {
        for ask in self.asked.of(&gone.asset) {
            let key = (self.metrics.id(&gone.metric), gone.event_time);
            let before = self.found[*ask].deleted.entry(key).or_default();
            *before = gone.before.0.max(*before);
        }
    }

    /// Takes points of a file. False when nothing more is wanted.
    pub(super) fn take(&mut self, batch: &RecordBatch) -> bool {
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>().values();
        let [assets, metrics, texts] =
            [1, 2, 4].map(|column| batch.column(column).as_dictionary::<Int32Type>());
        let names = |column: usize| {
            batch.column(column).as_dictionary::<Int32Type>().values().as_string::<i32>()
        };
        let (asset_names, metric_names, words) = (names(1), names(2), names(4));
        let values = batch.column(3).as_primitive::<Float64Type>();
        let qualities = batch.column(5).as_primitive::<UInt32Type>().values();
        let epochs = batch.column(6).as_primitive::<UInt64Type>().values();
        let asked = self.asked;
        let asks: Vec<&[usize]> =
            (0..asset_names.len()).map(|i| asked.of(asset_names.value(i))).collect();
        let metric_ids: Vec<u32> =
            (0..metric_names.len()).map(|i| self.metrics.id(metric_names.value(i))).collect();
        let mut known: Vec<Option<Arc<str>>> = vec![None; words.len()];
        for i in 0..batch.num_rows() {
            for ask in asks[assets.keys().value(i) as usize] {
                if !asked.counts(*ask, times[i], epochs[i]) {
                    continue;
                }
                let text = texts.is_valid(i).then(|| {
                    let word = texts.keys().value(i) as usize;
                    Arc::clone(known[word].get_or_insert_with(|| words.value(word).into()))
                });
                self.found[*ask].push(Version {
                    metric: metric_ids[metrics.keys().value(i) as usize],
                    time: times[i],
                    epoch: epochs[i],
                    value: values.value(i),
                    text,
                    quality: qualities[i],
                });
            }
        }
        self.look_through()
    }

    /// Takes the hot points.
    pub(super) fn take_hot(&mut self, telemetry: &Telemetry) {
        let (asked, names) = (self.asked, &telemetry.names);
        let asks = |asset: u32| names.asset(asset).map_or(&[] as &[usize], |key| asked.of(key));
        let asks: Vec<&[usize]> = (0..names.assets().len() as u32).map(asks).collect();
        for chunk in &telemetry.chunks {
            let (rows, slots) = (&chunk.rows, &chunk.slots);
            let metric_ids: Vec<u32> =
                slots.metrics.iter().map(|id| self.metrics.id(names.metric(*id))).collect();
            for row in 0..rows.len() {
                for ask in asks[rows.assets[row] as usize] {
                    if !asked.counts(*ask, rows.times[row], chunk.epoch.0) {
                        continue;
                    }
                    for (slot, metric) in metric_ids.iter().enumerate() {
                        if !chunk.holds(row, slot) {
                            continue;
                        }
                        let word = rows.words[row * rows.slots + slot];
                        let (value, text) = match slots.data_types[slot] {
                            DataType::String => (0.0, Some(Symbol(word as u32).text())),
                            number => (number.number(word).unwrap_or_default(), None),
                        };
                        self.found[*ask].push(Version {
                            metric: *metric,
                            time: rows.times[row],
                            epoch: chunk.epoch.0,
                            value,
                            text,
                            quality: rows.quality[row * rows.slots + slot],
                        });
                    }
                }
            }
            self.look_through();
        }
    }

    /// Whether there is an ask for which more may be found.
    pub(super) fn wanting(&self) -> bool {
        self.found.iter().any(|found| !found.too_many)
    }

    /// The points that count, for each ask.
    pub(super) fn finish(self) -> Vec<Option<PagePoints>> {
        let (most, names) = (self.most, self.metrics.names);
        self.found.into_iter().map(|found| found.finish(most, &names)).collect()
    }

    /// Drops what does not count where much was found. False when nothing more is wanted.
    fn look_through(&mut self) -> bool {
        let enough = LOOK_THROUGH.max(self.most.saturating_mul(2));
        for found in &mut self.found {
            if found.values.len() >= enough {
                found.pick(self.most);
            }
        }
        self.wanting()
    }
}

impl Metrics {
    fn id(&mut self, name: &str) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let (id, name): (u32, Arc<str>) = (self.names.len() as u32, name.into());
        self.names.push(Arc::clone(&name));
        self.ids.insert(name, id);
        id
    }
}

impl Found {
    fn push(&mut self, version: Version) {
        let gone = || self.deleted.get(&(version.metric, version.time));
        if self.too_many || (!self.deleted.is_empty() && gone().is_some_and(|b| version.epoch < *b))
        {
            return;
        }
        self.values.push(version);
    }

    /// Keeps the newest value of each key; of an epoch that which came last. A key that has one
    /// will have one: what is deleted does not get here.
    fn pick(&mut self, most: usize) {
        self.values.sort_by_key(|version| (version.metric, version.time, version.epoch));
        self.values.dedup_by(|newer, kept| {
            let same = (newer.metric, newer.time) == (kept.metric, kept.time);
            if same {
                std::mem::swap(newer, kept);
            }
            same
        });
        if self.values.len() > most {
            (self.too_many, self.values, self.deleted) = (true, Vec::new(), HashMap::new());
        }
    }

    fn finish(mut self, most: usize, names: &[Arc<str>]) -> Option<PagePoints> {
        self.pick(most);
        if self.too_many {
            return None;
        }
        let mut points = PagePoints::default();
        let mut last = None;
        let has_texts = self.values.iter().any(|version| version.text.is_some());
        for version in self.values {
            if last.replace(version.metric) != Some(version.metric) {
                points.names.push(Arc::clone(&names[version.metric as usize]));
            }
            points.metrics.push(points.names.len() as u32 - 1);
            points.times.push(version.time);
            points.values.push(version.value);
            points.texts.extend(has_texts.then_some(version.text));
            points.quality.push(version.quality);
        }
        Some(points)
    }
}
