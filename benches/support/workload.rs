//! The asset telemetry workload: rows of eight metrics from many devices, one batch a second.
//!
//! `MILLSTREAM_WORKLOAD` names a folder with a `telemetry.arrow` (columns `ts, device, p_in, p_out,
//! flow, temp, vib, current, level, position`, one record batch a tick). Without it a workload of
//! the same shape is made up: 1,000 devices, 60 seconds, 1 % of the rows late, 0.1 % twice.

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::datatypes::TimestampMicrosecondType;
use millstream::app::{Runtime, Settings, publish_folder};
use millstream::catalog::{Catalog, read_folder};
use millstream::ingest::commit::{Answer, Submission};
use millstream::model::{Batch, DataType, Document, Epoch, Frame, Kind, NewDocument, Timestamp};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

pub const METRICS: [&str; 8] =
    ["p_in", "p_out", "flow", "temp", "vib", "current", "level", "position"];

/// A runtime on a new data directory, with the workload's types and without checkpoints.
pub fn open(data: &Path) -> Runtime {
    let runtime = Runtime::open(&Settings::new(data)).unwrap();
    let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/asset_telemetry");
    assert!(publish_folder(&runtime, data, &catalog).unwrap().is_empty());
    runtime
}

/// Hands in a batch; the answer comes when it is durable.
pub fn submit(runtime: &Runtime, batch: Batch) -> Answer {
    let messages = batch.len() as u32;
    let submission = Submission { batches: vec![batch], messages, ..Submission::default() };
    runtime.committer.enqueue_blocking(submission).unwrap()
}

/// The batches of the workload, one a tick, in order of arrival.
pub fn batches() -> Vec<Batch> {
    match std::env::var("MILLSTREAM_WORKLOAD") {
        Ok(folder) => read(&Path::new(&folder).join("telemetry.arrow")),
        Err(_) => made_up(1_000, 60),
    }
}

/// The documents of `benches/asset_telemetry`, and those that the devices of the batches need.
pub fn documents(batches: &[Batch]) -> Vec<Document> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/asset_telemetry");
    let (new, problems) = read_folder(&folder);
    assert!(problems.is_empty(), "{problems:?}");
    let mut catalog = Catalog::new();
    let mut documents = Vec::new();
    let mut publish = |catalog: &mut Catalog, new: &NewDocument| {
        if let Some(document) = catalog.assign(new, millstream::model::Timestamp(0)).unwrap() {
            catalog.apply(&document).unwrap();
            documents.push(document);
        }
    };
    new.iter().for_each(|file| publish(&mut catalog, &file.document));
    let devices: BTreeSet<&str> =
        batches.iter().flat_map(|b| b.devices().iter().flatten()).collect();
    for device in devices {
        for new in catalog.provision(device).expect("a device type takes the device") {
            publish(&mut catalog, &new);
        }
    }
    documents
}

/// What a catalog with the workload's types is told of the devices of the batches.
pub fn devices(batches: &[Batch]) -> Vec<NewDocument> {
    let of = |document: Document| NewDocument {
        kind: document.kind,
        key: document.key,
        body: document.body,
    };
    documents(batches).into_iter().map(of).filter(|new| new.kind > Kind::DeviceTypes).collect()
}

/// Frames of the workload: the first has the documents, each other one a batch.
pub fn frames(batches: &[Batch]) -> Vec<Frame> {
    let frame = |epoch, documents, batches| Frame {
        epoch: Epoch(epoch),
        tick: Timestamp(0),
        documents,
        batches,
        dead_letters: Vec::new(),
        edits: Vec::new(),
        pages: Vec::new(),
        expiry: None,
    };
    let mut frames = vec![frame(1, documents(batches), Vec::new())];
    let ticks = batches.iter().enumerate();
    frames.extend(ticks.map(|(i, b)| frame(2 + i as u64, Vec::new(), vec![b.clone()])));
    frames
}

/// One row of each of so many devices, all at this event time.
pub fn tick(devices: usize, at: i64) -> Batch {
    let mut below = random(at as u64);
    let keys = StringArray::from_iter_values((0..devices).map(|i| format!("dev-{i:05}")));
    let metrics = MIDDLE.map(|middle| {
        let values = (0..devices).map(|_| middle * (0.7 + below(6000) as f64 / 10_000.0));
        Arc::new(Float64Array::from_iter_values(values)) as ArrayRef
    });
    batch(vec![at; devices], keys, metrics.to_vec())
}

fn read(path: &Path) -> Vec<Batch> {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let reader = arrow::ipc::reader::FileReader::try_new(file, None).unwrap();
    reader.map(|batch| of_record_batch(&batch.unwrap())).filter(|batch| !batch.is_empty()).collect()
}

fn of_record_batch(rows: &RecordBatch) -> Batch {
    let times = rows.column(0).as_primitive::<TimestampMicrosecondType>().values();
    let devices = rows.column(1).as_string::<i32>().clone();
    let metrics = METRICS.map(|name| Arc::clone(rows.column_by_name(name).unwrap()));
    batch(times.to_vec(), devices, metrics.to_vec())
}

fn batch(times: Vec<i64>, devices: StringArray, metrics: Vec<ArrayRef>) -> Batch {
    let rows = times.len();
    assert_eq!(devices.len(), rows);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(devices),
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        Arc::new(UInt32Array::from(vec![0; rows])),
        Arc::new(UInt32Array::from(vec![0; rows])),
    ];
    columns.extend(metrics);
    let schema = Batch::schema(METRICS.map(|name| (name, DataType::Double)));
    Batch::try_new(RecordBatch::try_new(schema, columns).unwrap()).unwrap()
}

/// Values of the metrics around which others are made up.
const MIDDLE: [f64; 8] = [60.0, 45.0, 100.0, 70.0, 5.5, 10.0, 30.0, 50.0];

/// Numbers below a limit.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut random = seed;
    move |n| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    }
}

fn made_up(devices: usize, seconds: usize) -> Vec<Batch> {
    let mut below = random(20_260_101);
    let mut arrivals: Vec<(i64, i64, usize, [f64; 8])> = Vec::new();
    for second in 0..seconds as i64 {
        for device in 0..devices {
            let time =
                1_767_225_600_000_000 + second * 1_000_000 + (device as i64 * 7919) % 1000 * 1000;
            let late = if below(100) == 0 { 1_000_000 + below(29_000_000) as i64 } else { 0 };
            let values = MIDDLE.map(|m| m * (0.7 + below(6000) as f64 / 10_000.0));
            arrivals.push((time + late, time, device, values));
            if below(1000) == 0 {
                arrivals.push((time + late + below(5_000_000) as i64, time, device, values));
            }
        }
    }
    arrivals.sort_by_key(|(arrival, ..)| *arrival);
    let start = arrivals[0].0;
    let mut ticks: Vec<Vec<&(i64, i64, usize, [f64; 8])>> = vec![Vec::new(); seconds + 1];
    for row in &arrivals {
        ticks[(((row.0 - start) / 1_000_000) as usize).min(seconds)].push(row);
    }
    let of_tick = |rows: Vec<&(i64, i64, usize, [f64; 8])>| {
        let times = rows.iter().map(|row| row.1).collect();
        let devices =
            StringArray::from_iter_values(rows.iter().map(|row| format!("dev-{:05}", row.2)));
        let metrics = (0..8).map(|m| {
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.3[m]))) as ArrayRef
        });
        batch(times, devices, metrics.collect())
    };
    ticks.into_iter().filter(|rows| !rows.is_empty()).map(of_tick).collect()
}
