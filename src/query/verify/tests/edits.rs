//! Deletions and corrections mixed into random rows: what the engine holds afterwards is what the
//! points that are left give.

use super::*;
use crate::model::{Action, Corrected, Edit, EditRefusal, Quality};
use futures::StreamExt;

const METRICS: [&str; 5] = ["temp", "flow", "starts", "on", "mode"];

impl Street {
    /// How many points a deletion found, once all of its rows were here.
    fn delete(
        &mut self,
        asset: u32,
        metrics: &[&str],
        (from, to): (i64, i64),
    ) -> Result<u64, EditRefusal> {
        let metrics: Vec<Arc<str>> = metrics.iter().map(|metric| (*metric).into()).collect();
        self.edit(asset, Action::Delete { metrics, from: Timestamp(from), to: Timestamp(to) })
    }

    fn correct(
        &mut self,
        asset: u32,
        (metric, time): (&str, i64),
        value: Value,
    ) -> Result<u64, EditRefusal> {
        let (metric, event_time, quality) = (metric.into(), Timestamp(time), Quality::GOOD);
        let point = Corrected { metric, event_time, value, quality, device: asset };
        self.edit(asset, Action::Correct { points: vec![point] })
    }

    fn edit(&mut self, asset: u32, action: Action) -> Result<u64, EditRefusal> {
        let edit = Edit {
            id: self.epoch.to_string().into(),
            received_at: Timestamp(0),
            asset,
            asset_type: TYPE,
            key: "pump".into(),
            reason: "a test".into(),
            user: None,
            action,
        };
        let mut changes = Changes::default();
        let outcome = self.state.edit(&edit, &self.names, &mut changes);
        self.close(changes);
        let rows = match outcome {
            Some(outcome) => edit.rows(outcome),
            None => self.views.edit(Timestamp(0), &edit.id),
        };
        match rows.iter().find_map(|row| row.refused.clone()) {
            Some(refusal) => Err(refusal),
            None => Ok(rows.iter().map(|row| row.points).sum()),
        }
    }

    /// The number of rows that a condition holds for.
    async fn count(&self, condition: &str) -> usize {
        let query = format!("SELECT 1 FROM telemetry WHERE {condition}");
        let batches: Vec<_> = self.query.sql(&query).await.unwrap().into_stream().collect().await;
        batches.into_iter().map(|batch| batch.unwrap().num_rows()).sum()
    }
}

fn cases(default: u64) -> u64 {
    let cases = std::env::var("MILLSTREAM_CASES").ok().and_then(|cases| cases.parse().ok());
    cases.unwrap_or(default)
}

#[tokio::test]
async fn what_is_left_is_what_the_engine_holds() {
    let (mut done, mut corrected) = (0, 0);
    for seed in 1..=cases(10) {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut street = Street::new();
        for epoch in 0..60 {
            let mut rows = Rows::new(TYPE, 5);
            for _ in 0..random.below(14) {
                let back = if random.below(6) == 0 { random.below(9_000) as i64 } else { 0 };
                let time = epoch * 240 - back + random.below(15) as i64 * 8;
                push(&mut rows, random.below(ASSETS) as u32, START + time * SECOND, &mut random);
            }
            street.feed(&rows);
            for _ in 0..random.below(3) {
                let asset = random.below(ASSETS) as u32;
                let from = epoch * 240 - random.below(8_000) as i64;
                let length = [1, 300, 5_000, 100_000][random.below(4) as usize];
                let all = random.below(4) == 0;
                let metrics = if all { &METRICS[..] } else { &METRICS[random.below(5) as usize..] };
                let range = (START + from * SECOND, START + (from + length) * SECOND);
                done += street.delete(asset, metrics, range).unwrap();
            }
            let time = START + (epoch * 240 - random.below(20) as i64 * 8) * SECOND;
            let key = [("temp", time), ("mode", time)][random.below(2) as usize];
            let value = match key.0 {
                "temp" => Value::Double(200.0 + random.below(60) as f64 / 4.0),
                _ => Value::String(["7", "run"][random.below(2) as usize].into()),
            };
            let asset = random.below(ASSETS) as u32;
            corrected += u64::from(street.correct(asset, key, value).is_ok());
            if random.below(8) == 0 {
                street.historian.flush().unwrap();
            }
            if epoch % 15 == 14 {
                let report = street.verify().await;
                assert!(report.is_equal(), "seed {seed}, epoch {epoch}: {report}");
            }
        }
        for asset in 0..ASSETS as u32 {
            let range = (i64::MIN, i64::MAX);
            street.delete(asset, &METRICS, range).unwrap();
        }
        let report = street.verify().await;
        assert!(report.is_equal(), "seed {seed}: {report}");
        street.historian.flush().unwrap();
        let report = street.verify().await;
        assert!(report.is_equal(), "seed {seed}, archived: {report}");
    }
    assert!(done > 100 && corrected > 5, "{done} {corrected}");
}

#[tokio::test]
async fn a_deleted_point_is_in_no_answer_wherever_it_is() {
    let mut street = Street::new();
    let mut random = Random(1);
    let at = |second: i64| START + second * SECOND;
    let feed = |street: &mut Street, seconds: &[i64], random: &mut Random| {
        let mut rows = Rows::new(TYPE, 5);
        seconds.iter().for_each(|second| push(&mut rows, 0, at(*second), random));
        rows.fresh.fill(31);
        street.feed(&rows);
    };
    feed(&mut street, &[0, 1], &mut random);
    street.historian.flush().unwrap();
    feed(&mut street, &[2, 3], &mut random);
    // One in a file, one in memory.
    assert_eq!(street.delete(0, &["temp"], (at(1), at(3))), Ok(2));
    assert_eq!(street.count("metric = 'temp'").await, 2);
    assert_eq!(street.count("metric = 'flow'").await, 4);
    assert_eq!(street.delete(0, &["temp"], (at(1), at(3))), Ok(0));
    // A deletion without a point behind it is archived too.
    street.historian.flush().unwrap();
    assert_eq!(street.count("metric = 'temp'").await, 2);
    assert_eq!(street.delete(0, &["temp"], (at(3), at(4))), Ok(1));
    street.historian.flush().unwrap();
    assert_eq!(street.count("metric = 'temp'").await, 1);
    // What comes again is a new point.
    feed(&mut street, &[1, 2, 3], &mut random);
    assert_eq!(street.count("metric = 'temp'").await, 4);
    street.historian.flush().unwrap();
    assert_eq!(street.count("metric = 'temp'").await, 4);
    let report = street.verify().await;
    assert!(report.is_equal(), "{report}");
    assert_eq!(street.delete(0, &METRICS, (at(0), at(4))), Ok(20));
    assert_eq!(street.count("true").await, 0);
    let report = street.verify().await;
    assert!(report.is_equal(), "{report}");
    assert_eq!(street.historian.archived_epoch(), Epoch(street.epoch - 1));
}

#[tokio::test]
async fn a_value_of_another_type_is_no_correction() {
    let mut street = Street::new();
    let mut rows = Rows::new(TYPE, 5);
    push(&mut rows, 0, START, &mut Random(3));
    rows.fresh.fill(31);
    street.feed(&rows);
    for (metric, value) in [
        ("temp", Value::String("8".into())),
        ("starts", Value::Double(1e300)),
        ("mode", Value::Double(1e300)),
        ("on", Value::Integer(1)),
    ] {
        let refused = EditRefusal::NoPoint(metric.into(), START);
        assert_eq!(street.correct(0, (metric, START), value), Err(refused));
    }
    assert_eq!(street.correct(0, ("on", START), Value::Bool(true)), Ok(1));
    let report = street.verify().await;
    assert!(report.is_equal(), "{report}");
}
