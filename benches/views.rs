//! An epoch into the views: the upserts that a tick of the asset telemetry workload makes, with
//! 0, 1 and 100 subscribers. Elements are upserted rows.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

#[path = "support/workload.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod workload;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::FutureExt;
use millstream::dataflow::Engine;
use millstream::model::{Change, Epoch, Frame, Output};
use millstream::views::{Envelope, Filter, Limits, Subscription, Views};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What the dataflow says of all frames, epoch by epoch.
fn changes(frames: Vec<Frame>) -> BTreeMap<Epoch, Vec<Change>> {
    let (sender, receiver) = crossbeam_channel::bounded(64);
    let (outputs_sender, outputs) = crossbeam_channel::bounded(1024);
    let engine = Engine::start(1, receiver, outputs_sender).unwrap();
    let feeder =
        std::thread::spawn(move || frames.into_iter().for_each(|f| sender.send(f).unwrap()));
    let mut changes: BTreeMap<Epoch, Vec<Change>> = BTreeMap::new();
    for output in outputs {
        if let Output::Change(epoch, change) = output {
            changes.entry(epoch).or_default().push(change);
        }
    }
    feeder.join().unwrap();
    engine.join().unwrap();
    changes
}

fn upserts_only(changes: Vec<Change>) -> Vec<Change> {
    changes.into_iter().filter(|change| matches!(change, Change::Upserts(_))).collect()
}

fn rows(changes: &[Change]) -> usize {
    let rows = |change: &Change| match change {
        Change::Upserts(upserts) => upserts.assets.len(),
        _ => 0,
    };
    changes.iter().map(rows).sum()
}

/// Subscribers of the health of single assets, as many dashboards have them.
fn subscribe(views: &Views, subscribers: usize) -> Vec<Subscription> {
    let (_, contents) = views.snapshot(&["assets"], &Filter::default()).unwrap();
    let keys = contents[0][0].column_by_name("key").unwrap();
    let keys = arrow::array::AsArray::as_string::<i32>(keys);
    let one = |i| {
        let asset = Some(arrow::array::StringArray::value(keys, i).to_owned());
        let filter = Filter { asset, ..Filter::default() };
        views.subscribe("asset_health", filter, Envelope::Diff).unwrap()
    };
    (0..subscribers).map(one).collect()
}

fn apply(criterion: &mut Criterion) {
    let frames = workload::frames(&workload::batches());
    let mut ticks = changes(frames);
    let (_, documents) = ticks.pop_first().unwrap();
    let ticks: Vec<Vec<Change>> = ticks.into_values().map(upserts_only).collect();
    let ticks: Vec<Vec<Change>> = ticks.into_iter().filter(|tick| rows(tick) > 0).collect();
    let mut group = criterion.benchmark_group("views");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    let mean = ticks.iter().map(|tick| rows(tick)).sum::<usize>() / ticks.len();
    group.throughput(Throughput::Elements(mean as u64));
    for subscribers in [0, 1, 100] {
        let views = Views::new(Limits::default());
        views.apply(Epoch(1), documents.clone());
        let mut subscriptions = subscribe(&views, subscribers);
        let mut epoch = 1;
        group.bench_function(format!("apply/{subscribers} subscribers"), |bencher| {
            bencher.iter_custom(|epochs| {
                let mut elapsed = Duration::ZERO;
                for _ in 0..epochs {
                    epoch += 1;
                    let tick = ticks[epoch as usize % ticks.len()].clone();
                    let begun = Instant::now();
                    views.apply(Epoch(epoch), tick);
                    elapsed += begun.elapsed();
                    for subscription in &mut subscriptions {
                        while let Some(Some(_)) = subscription.next().now_or_never() {}
                    }
                }
                elapsed
            });
        });
    }
    group.finish();
}

criterion_group!(benches, apply);
criterion_main!(benches);
