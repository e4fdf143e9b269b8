//! Frames for tests, an oracle of the points they become, and outputs made comparable.

use crate::dataflow::Engine;
use crate::model::*;
use arrow::array::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

/// One row: device, event time, message and its values by column.
pub type Row<'a> = (&'a str, i64, u32, &'a [(usize, Value)]);

/// A batch of good quality, with columns of these names and types.
pub fn batch(metrics: &[(&str, DataType)], rows: &[Row]) -> Batch {
    let times: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.1)).collect();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(UInt32Array::from(vec![0; rows.len()])),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.2))),
    ];
    for (column, (_, data_type)) in metrics.iter().enumerate() {
        let value = |row: &Row| row.3.iter().find(|v| v.0 == column).map(|v| v.1.clone());
        let values: Vec<Option<Value>> = rows.iter().map(value).collect();
        macro_rules! array {
            ($array:ty, $variant:path) => {
                Arc::new(<$array>::from_iter(values.into_iter().map(|value| {
                    value.map(|value| match value {
                        $variant(value) => value,
                        other => panic!("{other:?}"),
                    })
                })))
            };
        }
        columns.push(match data_type {
            DataType::Double => array!(Float64Array, Value::Double),
            DataType::Integer => array!(Int64Array, Value::Integer),
            DataType::Bool => array!(BooleanArray, Value::Bool),
            DataType::String => array!(StringArray, Value::String),
        });
    }
    let schema = Batch::schema(metrics.iter().copied());
    Batch::try_new(RecordBatch::try_new(schema, columns).unwrap()).unwrap()
}

pub fn document(kind: Kind, key: &str, id: u32, version: u32, body: Option<&str>) -> Document {
    Document {
        kind,
        key: key.into(),
        id,
        version,
        effective_from: Timestamp::MIN,
        body: body.map(Into::into),
    }
}

/// A frame with nothing in it.
pub fn frame(epoch: u64) -> Frame {
    Frame {
        epoch: Epoch(epoch),
        tick: Timestamp(epoch as i64 * 1000),
        documents: Vec::new(),
        batches: Vec::new(),
        dead_letters: Vec::new(),
        edits: Vec::new(),
        pages: Vec::new(),
        expiry: None,
    }
}

/// The turn of an asset to look at its rows again.
fn turn(asset: u32) -> Page {
    let ((from, to), key) = (PageRequest::TURN, format!("fan-{asset}").into());
    let request = PageRequest { asset, asset_type: TypeId(1), key, from, to, rows: 0 };
    Page { request, after: Epoch(0), content: PageContent::Points(Arc::default()) }
}

/// All outputs of an engine that is given these frames.
pub fn run(workers: usize, frames: &[Frame]) -> Vec<Output> {
    let (frames_tx, frames_rx) = crossbeam_channel::bounded(4);
    let (outputs_tx, outputs_rx) = crossbeam_channel::bounded(16);
    let engine = Engine::start(workers, frames_rx, outputs_tx).unwrap();
    let outputs = std::thread::scope(|scope| {
        scope.spawn(move || {
            for frame in frames {
                frames_tx.send(frame.clone()).unwrap();
            }
        });
        outputs_rx.iter().collect()
    });
    engine.join().unwrap();
    outputs
}

/// Epoch, type, asset, slot, event time, word, quality and message.
pub type Point = (u64, u32, u32, usize, i64, u64, u32, u32);

/// The points of all telemetry.
pub fn points(outputs: &[Output]) -> BTreeSet<Point> {
    let mut points = BTreeSet::new();
    for output in outputs {
        let Output::Change(epoch, Change::Telemetry(rows)) = output else { continue };
        for i in 0..rows.len() {
            for slot in 0..rows.slots {
                if rows.fresh(i)[slot / 64] >> (slot % 64) & 1 == 1 {
                    let place = (rows.asset_type.unwrap().0, rows.assets[i]);
                    let (word, quality) = (rows.words(i)[slot], rows.quality(i)[slot]);
                    let (time, message) = (rows.times[i], rows.messages[i]);
                    let point = (epoch.0, place.0, place.1, slot, time, word, quality, message);
                    assert!(points.insert(point), "{point:?} twice");
                }
            }
        }
    }
    points
}

/// What was said at each epoch, whatever the order and the grouping.
pub fn consolidated(outputs: &[Output]) -> BTreeMap<u64, BTreeMap<String, i64>> {
    fn add<T: Debug>(into: &mut BTreeMap<String, i64>, what: &str, list: &[(T, i64)]) {
        for (datum, diff) in list {
            *into.entry(format!("{what} {datum:?}")).or_default() += diff;
        }
    }
    let mut said: BTreeMap<u64, BTreeMap<String, i64>> = BTreeMap::new();
    for output in outputs {
        let Output::Change(epoch, change) = output else { continue };
        let into = said.entry(epoch.0).or_default();
        match change {
            Change::Reset(..) => drop(into.insert(format!("{change:?}"), 1)),
            Change::Upserts(upserts) => {
                for (i, asset) in upserts.assets.iter().enumerate() {
                    let words = &upserts.words[i * upserts.stride..][..upserts.stride];
                    let key = (upserts.asset_type, upserts.table, asset, upserts.windows.get(i));
                    add(into, "upsert", &[((key, words), 1)]);
                }
            }
            Change::Telemetry(_) => {}
            Change::Superseded(list) => {
                let list: Vec<_> = list.iter().map(|key| (key, 1)).collect();
                add(into, "superseded", &list);
            }
            Change::Events(list) => add(into, "event", list),
            Change::Occurrences(list) => add(into, "occurrence", list),
            Change::Errors(list) => add(into, "error", list),
            Change::FleetHealth(list) => add(into, "health", list),
            Change::FleetThresholds(list) => add(into, "threshold", list),
            Change::Clock(_) | Change::Published(_) | Change::Marked(_) | Change::Expired(_) => {}
            Change::Removed(assets) => {
                for (_, key) in assets {
                    into.retain(|row, _| !row.contains(&format!("{key:?}")));
                }
            }
            Change::Deleted(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| (key, 1)).collect();
                add(into, "deleted", &keys);
            }
            Change::Edits(rows) => {
                let rows: Vec<_> = rows.iter().map(|row| (row, 1)).collect();
                add(into, "edit", &rows);
            }
            // How far paging is depends on when pages come.
            Change::Wanted(_) | Change::Paged(_) => {}
            Change::Documents(list) => add(into, "document", list),
            Change::DeadLetters(list) => {
                let list: Vec<_> = list.iter().map(|letter| (letter, 1)).collect();
                add(into, "letter", &list);
            }
            Change::Outcomes(list) => {
                for outcome in list {
                    let message = outcome.message;
                    add(into, "duplicates of", &[(message, i64::from(outcome.duplicates))]);
                    add(into, "late of", &[(message, i64::from(outcome.too_late))]);
                    add(into, "unmapped of", &[(message, i64::from(outcome.unmapped))]);
                }
            }
        }
    }
    for point in points(outputs) {
        said.entry(point.0).or_default().insert(format!("point {point:?}"), 1);
    }
    for list in said.values_mut() {
        list.retain(|_, diff| *diff != 0);
    }
    said.retain(|_, list| !list.is_empty());
    said
}

const METRICS: [(&str, DataType); 4] = [
    ("p", DataType::Double),
    ("raw", DataType::Integer),
    ("state", DataType::String),
    ("on", DataType::Bool),
];
const DEVICES: u32 = 9;
const ASSETS: u32 = 7;

/// A plant that makes random frames, and the points that should come out of them.
pub struct Plant {
    random: u64,
    epoch: u64,
    time: i64,
    versions: BTreeMap<(Kind, String), u32>,
    links: BTreeSet<(u32, u32)>,
    /// Whether type 1 has its second metric.
    wide: bool,
    pub expected: BTreeSet<Point>,
}

impl Plant {
    pub fn new(seed: u64) -> Self {
        let (versions, links, expected) = Default::default();
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let time = 1_700_000_000_000_000;
        Self { random, epoch: 1000, time, versions, links, wide: false, expected }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % limit
    }

    /// The next frame: sometimes documents, mostly rows, sometimes nothing.
    pub fn frame(&mut self) -> Frame {
        self.epoch += 1 + self.below(3);
        let mut frame = frame(self.epoch);
        if self.versions.is_empty() {
            self.found(&mut frame);
        } else if self.below(4) == 0 {
            self.change(&mut frame);
        }
        for message in 0..self.below(3) as u32 {
            let count = 1 + self.below(12);
            let rows: Vec<_> = (0..count).map(|_| self.row(message)).collect();
            let rows: Vec<Row> = rows.iter().map(|r| (&*r.0, r.1, r.2, &*r.3)).collect();
            frame.batches.push(batch(&METRICS, &rows));
        }
        if self.below(4) == 0 {
            let edit = self.edit();
            frame.edits.push(edit);
        }
        frame
    }

    /// Deletes some of the newest points of an asset.
    fn edit(&mut self) -> Edit {
        let asset = self.below(u64::from(ASSETS)) as u32;
        let (key, metric) = [("pump", "p"), ("fan", "raw")][asset as usize % 2];
        let from = self.time - self.below(30_000_000) as i64;
        let to = from + self.below(30_000_000) as i64;
        Edit {
            id: format!("edit-{}", self.epoch).into(),
            received_at: Timestamp(self.time),
            asset,
            asset_type: TypeId(asset % 2),
            key: format!("{key}-{asset}").into(),
            reason: "test".into(),
            user: None,
            action: Action::Delete {
                metrics: vec![metric.into()],
                from: Timestamp(from),
                to: Timestamp(to),
            },
        }
    }

    fn put(&mut self, frame: &mut Frame, kind: Kind, key: String, id: u32, body: Option<String>) {
        let version = self.versions.entry((kind, key.clone())).or_default();
        *version += 1;
        frame.documents.push(document(kind, &key, id, *version, body.as_deref()));
    }

    fn found(&mut self, frame: &mut Frame) {
        let pump = r#"{"p":{"unit":"kPa","range":[0,5000]},"count":{"type":"integer"},"state":{"type":"string"}}"#;
        let mapped = r#"{"mappings":[{"target":"count","source":"raw"}]}"#;
        let body = type_body("pump", pump, mapped);
        self.put(frame, Kind::AssetTypes, "pump".into(), 0, Some(body));
        let body = type_body("fan", r#"{"raw":{}}"#, "{}");
        self.put(frame, Kind::AssetTypes, "fan".into(), 1, Some(body));
        let body = r#"{"apiVersion":"devices/v1","kind":"DeviceTypeProfile","metadata":{"key":"box"},"extraction_rules":[{"metric":"p","type":"double","unit":"bar"}]}"#;
        self.put(frame, Kind::DeviceTypes, "box".into(), 0, Some(body.into()));
        for id in 0..ASSETS {
            let key = ["pump", "fan"][id as usize % 2];
            let body = format!(r#"{{"key":"{key}-{id}","asset_type":"{key}"}}"#);
            self.put(frame, Kind::Assets, format!("{key}-{id}"), id, Some(body));
        }
        for id in 0..DEVICES {
            let body = format!(r#"{{"key":"dev-{id}","device_type":"box"}}"#);
            self.put(frame, Kind::Devices, format!("dev-{id}"), id, Some(body));
        }
        for _ in 0..8 {
            self.relink(frame);
        }
    }

    fn change(&mut self, frame: &mut Frame) {
        if self.below(4) == 0 {
            self.wide = !self.wide;
            let metrics =
                if self.wide { r#"{"raw":{},"on":{"type":"bool"}}"# } else { r#"{"raw":{}}"# };
            let body = type_body("fan", metrics, "{}");
            self.put(frame, Kind::AssetTypes, "fan".into(), 1, Some(body));
            // It holds for all time: they look at their rows again at once.
            frame.pages.extend((0..ASSETS).filter(|id| id % 2 == 1).map(turn));
        }
        for _ in 0..=self.below(3) {
            self.relink(frame);
        }
    }

    /// Makes a link, or takes it away.
    fn relink(&mut self, frame: &mut Frame) {
        let device = self.below(u64::from(DEVICES)) as u32;
        let asset = self.below(u64::from(ASSETS)) as u32;
        let name = format!("{}-{asset}", ["pump", "fan"][asset as usize % 2]);
        let key = format!("dev-{device}->{name}");
        let id = device * ASSETS + asset;
        if self.links.remove(&(device, asset)) {
            self.put(frame, Kind::Links, key, id, None);
        } else {
            self.links.insert((device, asset));
            let body = format!(r#"{{"device":"dev-{device}","asset":"{name}"}}"#);
            self.put(frame, Kind::Links, key, id, Some(body));
        }
    }

    fn row(&mut self, message: u32) -> (String, i64, u32, Vec<(usize, Value)>) {
        // One device more than there are; no time twice.
        let device = self.below(u64::from(DEVICES) + 1) as u32;
        self.time += 1_000 + self.below(1_000_000) as i64;
        let (pressure, count) = (self.below(80) as f64, self.below(9) as i64);
        let state: Arc<str> = ["off", "idle", "running"][self.below(3) as usize].into();
        let on = self.below(2) == 0;
        let all =
            [Value::Double(pressure), Value::Integer(count), Value::String(state), Value::Bool(on)];
        let present: Vec<usize> = (0..4).filter(|_| self.below(3) > 0).collect();
        let links: Vec<u32> =
            self.links.iter().filter(|link| link.0 == device).map(|link| link.1).collect();
        for asset in links {
            for &column in &present {
                let slot = match (asset % 2, column) {
                    (0, 0..=2) => column,
                    (1, 1) => 0,
                    (1, 3) if self.wide => 1,
                    _ => continue,
                };
                let word = match (asset % 2, column) {
                    (0, 0) => (pressure * 100.0).to_bits(),
                    (1, 1) => (count as f64).to_bits(),
                    _ => all[column].word(),
                };
                let outside = (asset % 2, column) == (0, 0) && pressure > 50.0;
                let quality = if outside { Quality::OUT_OF_RANGE } else { Quality::GOOD };
                let kind = asset % 2;
                let point = (self.epoch, kind, asset, slot, self.time, word, quality.0, message);
                self.expected.insert(point);
            }
        }
        let values = present.into_iter().map(|column| (column, all[column].clone())).collect();
        (format!("dev-{device}"), self.time, message, values)
    }
}

fn type_body(key: &str, metrics: &str, transformation: &str) -> String {
    format!(
        r#"{{"apiVersion":"assets/v1","kind":"AssetTypeProfile","metadata":{{"key":"{key}"}},"metric_definitions":{metrics},"transformation_engine":{transformation}}}"#
    )
}
