//! Runs the `tests:` of an asset type document through the engine that runs everything else.

use crate::catalog::Layout;
use crate::catalog::asset_type::{
    AssetType, ExpectedAlarm, ExpectedEvent, ExpectedOccurrence, Literal, Test,
};
use crate::dataflow::Engine;
use crate::model::{
    Batch, Change, DataType, Document, Epoch, EventRow, Frame, Kind, Occurrence, Output, Table,
    Timestamp,
};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The unit that a device type gives to a metric, for those that a mapping says nothing of.
pub type Units<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// What a test left behind.
#[derive(Default)]
struct Left {
    latest: Vec<u64>,
    health: Vec<u64>,
    occurrences: BTreeMap<Occurrence, i64>,
    events: BTreeMap<EventRow, i64>,
    errors: Vec<String>,
}

/// Runs one test of a document. Returns what differs, nothing when all is as expected.
pub fn run(document: &AssetType, test: &Test, units: &Units) -> Vec<String> {
    let sources = sources(document, units);
    let mut series: IndexMap<&str, Vec<(f64, &Literal)>> = IndexMap::new();
    series.extend(test.given.iter().map(|(name, value)| (name.as_str(), vec![(0.0, value)])));
    for (name, points) in &test.series {
        let points = points.iter().map(|(time, value)| (*time, value));
        series.entry(name).or_default().extend(points);
    }
    let late = test.late.iter().map(|(name, points)| {
        (name.as_str(), points.iter().map(|(time, value)| (*time, value)).collect())
    });
    let unknown: Vec<_> = (test.given.keys().chain(test.series.keys()).chain(test.late.keys()))
        .filter(|name| !sources.contains_key(name.as_str()))
        .map(|name| format!("no mapping has the source '{name}'"))
        .collect();
    if !unknown.is_empty() {
        return unknown;
    }
    match feed(document, &sources, [series, late.collect()]) {
        Ok(left) => left.compare(document, test),
        Err(message) => vec![message],
    }
}

/// The sources of a document: type and unit of each.
fn sources(document: &AssetType, units: &Units) -> IndexMap<String, (DataType, Option<String>)> {
    let mappings = &document.transformation_engine.mappings;
    let mut sources = IndexMap::new();
    for (target, metric) in &document.metric_definitions {
        let mapping = mappings.iter().find(|mapping| mapping.target == *target);
        let source = mapping.map_or(target, |mapping| &mapping.source);
        let given = mapping.and_then(|mapping| mapping.from_unit.clone()).or_else(|| units(source));
        sources.insert(source.clone(), (metric.data_type, given.or_else(|| metric.unit.clone())));
    }
    sources
}

fn feed(
    document: &AssetType,
    sources: &IndexMap<String, (DataType, Option<String>)>,
    parts: [IndexMap<&str, Vec<(f64, &Literal)>>; 2],
) -> Result<Left, String> {
    let (frames, receiver) = crossbeam_channel::bounded(4);
    let (sender, outputs) = crossbeam_channel::unbounded();
    let engine = Engine::start(1, receiver, sender).map_err(|error| error.to_string())?;
    let mut frame = Frame {
        epoch: Epoch(1),
        tick: Timestamp(0),
        documents: documents(document, sources)?,
        batches: Vec::new(),
        dead_letters: Vec::new(),
        edits: Vec::new(),
        pages: Vec::new(),
        expiry: None,
    };
    for part in parts {
        let batch = batch(sources, &part)?;
        frame.batches = (!batch.is_empty()).then_some(batch).into_iter().collect();
        frames.send(frame.clone()).map_err(|_| "the engine stopped".to_owned())?;
        frame.epoch.0 += 1;
        frame.documents.clear();
    }
    drop(frames);
    engine.join().map_err(|error| error.to_string())?;
    let mut left = Left::default();
    for output in outputs {
        if let Output::Change(_, change) = output {
            left.take(change);
        }
    }
    Ok(left)
}

fn documents(
    document: &AssetType,
    sources: &IndexMap<String, (DataType, Option<String>)>,
) -> Result<Vec<Document>, String> {
    let key = document.metadata.key.as_str();
    let rules: Vec<_> = sources
        .iter()
        .map(|(metric, (data_type, unit))| {
            serde_json::json!({"metric": metric, "type": data_type, "unit": unit})
        })
        .collect();
    let body = serde_json::to_string(document).map_err(|error| error.to_string())?;
    let device_type = serde_json::json!({
        "apiVersion": "devices/v1", "kind": "DeviceTypeProfile", "metadata": {"key": "test"},
        "processing_mode": "endpoint", "extraction_rules": rules,
    });
    let of = |kind, key: &str, body: String| Document {
        kind,
        key: key.into(),
        id: 0,
        version: 1,
        effective_from: Timestamp::MIN,
        body: Some(body.into()),
    };
    Ok(vec![
        of(Kind::AssetTypes, key, body),
        of(Kind::DeviceTypes, "test", device_type.to_string()),
        of(Kind::Assets, "test", serde_json::json!({"key": "test", "asset_type": key}).to_string()),
        of(Kind::Devices, "test", r#"{"key": "test", "device_type": "test"}"#.to_owned()),
        of(Kind::Links, "test->test", r#"{"device": "test", "asset": "test"}"#.to_owned()),
    ])
}

/// All points of a part, one row for each time.
fn batch(
    sources: &IndexMap<String, (DataType, Option<String>)>,
    part: &IndexMap<&str, Vec<(f64, &Literal)>>,
) -> Result<Batch, String> {
    let micros = |seconds: f64| (seconds * 1e6).round() as i64;
    let times: BTreeSet<i64> =
        part.values().flatten().map(|(seconds, _)| micros(*seconds)).collect();
    let times: Vec<i64> = times.into_iter().collect();
    let rows = times.len();
    let columns = sources.iter().map(|(name, (data_type, _))| {
        let mut cells: Vec<Option<&Literal>> = vec![None; rows];
        for (seconds, value) in part.get(name.as_str()).into_iter().flatten() {
            if let Ok(row) = times.binary_search(&micros(*seconds)) {
                cells[row] = Some(value);
            }
        }
        column(*data_type, &cells).map_err(|message| format!("source '{name}': {message}"))
    });
    let mut all: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n("test", rows))),
        Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC")),
        Arc::new(UInt32Array::from(vec![0; rows])),
        Arc::new(UInt32Array::from(vec![0; rows])),
    ];
    for column in columns {
        all.push(column?);
    }
    let metrics = sources.iter().map(|(name, (data_type, _))| (name.as_str(), *data_type));
    let rows = RecordBatch::try_new(Batch::schema(metrics), all);
    Batch::try_new(rows.map_err(|e| e.to_string())?).map_err(|error| error.to_string())
}

fn column(data_type: DataType, cells: &[Option<&Literal>]) -> Result<ArrayRef, String> {
    let wrong = |literal: &Literal| format!("{literal:?} is no {data_type}");
    let number = |cell: &Option<&Literal>| match cell {
        None => Ok(None),
        Some(Literal::Number(number)) => Ok(Some(*number)),
        Some(other) => Err(wrong(other)),
    };
    Ok(match data_type {
        DataType::Double => {
            Arc::new(Float64Array::from(cells.iter().map(number).collect::<Result<Vec<_>, _>>()?))
        }
        DataType::Integer => {
            let numbers = cells.iter().map(number).collect::<Result<Vec<_>, _>>()?;
            Arc::new(numbers.into_iter().map(|x| x.map(|x| x as i64)).collect::<Int64Array>())
        }
        DataType::Bool => {
            let bools = cells.iter().map(|cell| match cell {
                None => Ok(None),
                Some(Literal::Bool(value)) => Ok(Some(*value)),
                Some(other) => Err(wrong(other)),
            });
            Arc::new(BooleanArray::from(bools.collect::<Result<Vec<_>, _>>()?))
        }
        DataType::String => {
            let texts = cells.iter().map(|cell| match cell {
                None => Ok(None),
                Some(Literal::Text(text)) => Ok(Some(text.as_str())),
                Some(other) => Err(wrong(other)),
            });
            Arc::new(StringArray::from(texts.collect::<Result<Vec<_>, _>>()?))
        }
    })
}

impl Left {
    fn take(&mut self, change: Change) {
        match change {
            Change::Upserts(mut rows) if rows.table == Table::Latest => {
                self.latest = std::mem::take(&mut rows.words);
            }
            Change::Upserts(mut rows) if rows.table == Table::Health => {
                self.health = std::mem::take(&mut rows.words);
            }
            Change::Occurrences(rows) => {
                rows.into_iter()
                    .for_each(|(row, d)| *self.occurrences.entry(row).or_default() += d);
            }
            Change::Events(rows) => {
                rows.into_iter().for_each(|(row, d)| *self.events.entry(row).or_default() += d);
            }
            Change::Errors(rows) => {
                let new = rows.into_iter().filter(|(_, diff)| *diff > 0);
                self.errors.extend(new.map(|(row, _)| format!("{}: {}", row.source, row.message)));
            }
            _ => {}
        }
    }

    fn compare(&self, document: &AssetType, test: &Test) -> Vec<String> {
        let mut differs = self.errors.clone();
        let layout = Layout::of(document);
        for (metric, expected) in &test.expect {
            let Some(slot) = layout.position(metric) else {
                differs.push(format!("no metric '{metric}'"));
                continue;
            };
            let words = self.latest.get(3 * slot..3 * slot + 2);
            let value = words.filter(|words| words[1] as i64 != i64::MIN).map(|words| words[0]);
            let data_type = layout.slots[slot].data_type;
            let found = value.map(|word| data_type.value(word));
            if !value.is_some_and(|word| matches(expected, data_type, word)) {
                differs.push(format!("{metric} is {found:?}, expected {expected:?}"));
            }
        }
        if let Some(expected) = test.expect_health {
            let score = self.health.get(1).map_or(f64::NAN, |word| f64::from_bits(*word));
            if !near(score, expected) {
                differs.push(format!("health is {score}, expected {expected}"));
            }
        }
        differs.extend(test.expect_alarm.as_ref().and_then(|expected| self.alarm(expected)));
        differs.extend(test.expect_events.as_ref().and_then(|expected| self.events(expected)));
        differs
    }

    fn alarm(&self, expected: &ExpectedAlarm) -> Option<String> {
        let seconds = |micros: i64| micros as f64 / 1e6;
        let of_rule =
            |row: &&Occurrence| *row.rule == expected.rule && *row.level == expected.level;
        let standing = self.occurrences.iter().filter(|(_, n)| **n != 0).map(|(row, _)| row);
        let mut found: Vec<_> = standing
            .filter(of_rule)
            .map(|row| ExpectedOccurrence {
                since: seconds(row.since),
                raised: seconds(row.raised),
                condition_end: row.condition_end.map(seconds),
                cleared: row.cleared.map(seconds),
            })
            .collect();
        found.sort_by(|a, b| a.since.total_cmp(&b.since));
        let at = format!("{}.{}", expected.rule, expected.level);
        (found != expected.occurrences)
            .then(|| format!("{at} occurred {found:?}, expected {:?}", expected.occurrences))
    }

    fn events(&self, expected: &[ExpectedEvent]) -> Option<String> {
        let standing = self.events.iter().filter(|(_, n)| **n != 0).map(|(row, _)| row);
        let mut found: Vec<_> = standing
            .map(|row| ExpectedEvent {
                rule: row.rule.to_string(),
                at: row.event_time as f64 / 1e6,
                suppressed: row.suppressed,
            })
            .collect();
        found.sort_by(|a, b| a.at.total_cmp(&b.at).then_with(|| a.rule.cmp(&b.rule)));
        (found != expected).then(|| format!("events are {found:?}, expected {expected:?}"))
    }
}

fn matches(expected: &Literal, data_type: DataType, word: u64) -> bool {
    use crate::model::Value;
    match (expected, data_type.value(word)) {
        (Literal::Number(expected), Value::Double(found)) => near(found, *expected),
        (Literal::Number(expected), Value::Integer(found)) => found as f64 == *expected,
        (Literal::Bool(expected), Value::Bool(found)) => found == *expected,
        (Literal::Text(expected), Value::String(found)) => *found == **expected,
        _ => false,
    }
}

/// Whether a number is within half of the last digit that the expected one is written with.
fn near(found: f64, expected: f64) -> bool {
    let digits = expected.to_string().split_once('.').map_or(0, |(_, digits)| digits.len());
    (found - expected).abs() <= 0.5 * 10f64.powi(-(digits as i32)) + 1e-9
}
