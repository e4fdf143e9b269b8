//! SQL over an archive of 1 M points: 100 assets, 8 metrics, 1,250 times, one every 10 seconds.
//! Elements are points of the archive.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream::historian::{Historian, Options};
use millstream::model::{Document, Epoch, Kind, Rows, Timestamp, TypeId};
use millstream::query::{Contents, Limits, NoSystemTables, Query, ViewSource};
use std::sync::Arc;

const METRICS: [&str; 8] = ["p_in", "p_out", "flow", "temp", "vib", "current", "level", "position"];
const ASSETS: u32 = 100;
const TIMES: i64 = 1_250;
const START: i64 = 1_767_225_600_000_000;

const QUERIES: [(&str, &str); 7] = [
    ("count", "select count(*) from telemetry"),
    (
        "filter by asset",
        "select metric, min(value), max(value) from telemetry where asset = 'a-42' group by metric",
    ),
    (
        "group by hour",
        "select date_bin(interval '1 hour', event_time) as hour, metric, avg(value) \
         from telemetry group by hour, metric",
    ),
    (
        "group by bucket of an hour",
        "select time_bucket('1 hour', event_time) as hour, metric, avg(value) \
         from telemetry group by hour, metric",
    ),
    (
        "newest of each series, by last",
        "select asset, metric, last(value, event_time) from telemetry group by asset, metric",
    ),
    (
        "newest of each series, by last_value",
        "select asset, metric, last_value(value order by event_time) \
         from telemetry group by asset, metric",
    ),
    (
        "mean of each series, weighted by time",
        "select asset, metric, time_weighted_avg(event_time, value) \
         from telemetry group by asset, metric",
    ),
];

/// No views, at the one epoch of the archive.
struct NoViews;

impl ViewSource for NoViews {
    fn list(&self) -> Vec<(String, arrow::datatypes::SchemaRef)> {
        Vec::new()
    }

    fn snapshot(&self, _names: &[&str]) -> Result<Contents, String> {
        let (removed, views) = Default::default();
        Ok(Contents { epoch: Epoch(1), clock: Timestamp::MIN, removed, views })
    }
}

fn document(kind: Kind, id: u32, key: String, body: serde_json::Value) -> Document {
    Document {
        kind,
        key: key.into(),
        id,
        version: 1,
        effective_from: Timestamp::MIN,
        body: Some(body.to_string().into()),
    }
}

/// All points in Parquet files.
fn fill(historian: &Historian) {
    let metrics: serde_json::Map<_, _> =
        METRICS.iter().map(|name| ((*name).to_owned(), serde_json::json!({}))).collect();
    let asset_type = serde_json::json!({
        "apiVersion": "assets/v1", "kind": "AssetTypeProfile", "metadata": {"key": "machine"},
        "metric_definitions": metrics,
    });
    let apply = |document| historian.apply_document(&document).unwrap();
    apply(document(Kind::AssetTypes, 0, "machine".into(), asset_type));
    for id in 0..ASSETS {
        let (asset, device) = (format!("a-{id}"), format!("d-{id}"));
        let body = serde_json::json!({"key": asset, "asset_type": "machine"});
        apply(document(Kind::Assets, id, asset, body));
        let body = serde_json::json!({"key": device, "device_type": "box"});
        apply(document(Kind::Devices, id, device, body));
    }
    let mut rows = Rows::new(TypeId(0), METRICS.len());
    for time in 0..TIMES {
        for asset in 0..ASSETS {
            rows.assets.push(asset);
            rows.devices.push(asset);
            rows.times.push(START + time * 10_000_000);
            rows.messages.push(0);
            rows.fresh.push((1 << METRICS.len()) - 1);
            rows.quality.extend([0; METRICS.len()]);
            let value = |slot| ((time * 31 + i64::from(asset) * 7 + slot) % 1_000) as f64 * 0.25;
            rows.words.extend((0..METRICS.len() as i64).map(|slot| value(slot).to_bits()));
        }
    }
    historian.accept(Epoch(1), rows).unwrap();
    historian.close_epoch(Epoch(1), Timestamp(START));
    historian.flush().unwrap();
}

fn scan(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let historian = Arc::new(Historian::open(directory.path(), Options::default()).unwrap());
    fill(&historian);
    let views: Arc<dyn ViewSource> = Arc::new(NoViews);
    let query = Query::new(views, Arc::new(NoSystemTables), historian, Limits::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("sql");
    group.sample_size(20);
    group.throughput(Throughput::Elements(METRICS.len() as u64 * u64::from(ASSETS) * TIMES as u64));
    for (name, text) in QUERIES {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let batches = query.sql(text).await.unwrap().collect().await.unwrap();
                    assert!(batches.iter().any(|batch| batch.num_rows() > 0));
                    batches
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);
