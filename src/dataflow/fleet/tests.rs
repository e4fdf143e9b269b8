//! Fleet reductions against a plain recomputation after every epoch.

use super::*;
use differential_dataflow::input::InputSession;
use std::collections::BTreeMap;
use std::sync::mpsc;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::vec::Map;

type Rows = BTreeMap<String, i64>;

/// Adds differences to rows and checks that no row is ever there twice or less than once.
fn apply<T: std::fmt::Debug>(rows: &mut Rows, updates: impl IntoIterator<Item = (T, i64)>) {
    for (row, diff) in updates {
        *rows.entry(format!("{row:?}")).or_default() += diff;
    }
    rows.retain(|_, count| *count != 0);
    assert!(rows.values().all(|count| *count == 1), "{rows:?}");
}

#[test]
fn fleet_rows_are_those_of_a_recomputation() {
    let seed = 0x5eed_u64;
    timely::execute_directly(move |worker| {
        let (tx, rx) = mpsc::channel();
        let (mut healths, mut levels) = (InputSession::new(), InputSession::new());
        let probe = worker.dataflow(|scope| {
            let health = health(healths.to_collection(scope));
            let thresholds = thresholds(levels.to_collection(scope));
            let all = timely::dataflow::operators::Concat::concat(health, thresholds);
            all.map(move |change| tx.send(change).unwrap()).probe().0
        });
        let mut random = seed;
        let mut below = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % limit
        };
        let mut bands: BTreeMap<u32, (Arc<str>, OrderedScore)> = BTreeMap::new();
        let mut states: BTreeMap<u32, u8> = BTreeMap::new();
        let (mut health_rows, mut threshold_rows) = (Rows::new(), Rows::new());
        let (pump, rule): (Arc<str>, Arc<str>) = ("pump".into(), "hot".into());
        for epoch in 0..40_u64 {
            for _ in 0..below(30) {
                let asset = below(300) as u32;
                let band: Arc<str> = ["good", "fair", "poor"][below(3) as usize].into();
                let score = OrderedScore::new(below(20) as f64 - 3.5);
                let mut update = |(band, score): (Arc<str>, OrderedScore), diff| {
                    healths.update((Arc::clone(&pump), band, asset, score), diff);
                };
                update((Arc::clone(&band), score), 1);
                if let Some(old) = bands.insert(asset, (band, score)) {
                    update(old, -1);
                }
                let level = below(3) as u8;
                levels.update((Arc::clone(&rule), level, asset), 1);
                if let Some(old) = states.insert(asset, level) {
                    levels.update((Arc::clone(&rule), old, asset), -1);
                }
            }
            healths.advance_to(epoch + 1);
            levels.advance_to(epoch + 1);
            healths.flush();
            levels.flush();
            worker.step_while(|| probe.less_equal(&epoch));
            for (at, change) in rx.try_iter() {
                assert_eq!(at, epoch);
                match change {
                    Change::FleetHealth(updates) => apply(&mut health_rows, updates),
                    Change::FleetThresholds(updates) => apply(&mut threshold_rows, updates),
                    other => panic!("{other:?}"),
                }
            }
            let mut expected: BTreeMap<&str, (u64, OrderedScore)> = BTreeMap::new();
            for (band, score) in bands.values() {
                let entry = expected.entry(band).or_insert((0, *score));
                *entry = (entry.0 + 1, entry.1.min(*score));
            }
            let expected = expected.into_iter().map(|(band, (assets, worst))| FleetHealthRow {
                asset_type: Arc::clone(&pump),
                band: band.into(),
                assets,
                worst_score_bits: worst.get().to_bits(),
            });
            let mut rows = Rows::new();
            apply(&mut rows, expected.map(|row| (row, 1)));
            assert_eq!(health_rows, rows, "seed {seed}, epoch {epoch}");
            let mut counts: BTreeMap<u8, u64> = BTreeMap::new();
            for level in states.values() {
                *counts.entry(*level).or_default() += 1;
            }
            let expected = counts.into_iter().map(|(level, assets)| FleetThresholdRow {
                rule: Arc::clone(&rule),
                level: level_name(level).into(),
                assets,
            });
            let mut rows = Rows::new();
            apply(&mut rows, expected.map(|row| (row, 1)));
            assert_eq!(threshold_rows, rows, "seed {seed}, epoch {epoch}");
        }
    });
}
