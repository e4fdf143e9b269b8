//! Directed tests of what each view shows, and a random test that every subscription folds to the
//! snapshot at every epoch.

mod aged;
mod asked;
mod random;

use super::*;
use crate::base::clock::ManualClock;
use crate::model::{
    Change, DeadLetter, Document, Epoch, EventRow, FleetHealthRow, Kind, Outcome, Reason, Table,
    Timestamp, TypeId, Upserts, Value, Window,
};
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::sync::Arc;

const NEVER: u64 = i64::MIN as u64;

/// One string a row, columns separated by `|`.
pub(super) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> =
                columns.iter().map(|column| column.value(row).to_string()).collect();
            lines.push(cells.join("|"));
        }
    }
    lines
}

fn show(views: &Views, view: &str, filter: &Filter) -> Vec<String> {
    lines(&views.snapshot(&[view], filter).unwrap().1[0])
}

fn check(views: &Views, view: &str, expected: &[&str]) {
    assert_eq!(show(views, view, &Filter::default()), expected, "{view}");
}

pub(super) fn document(kind: Kind, key: &str, id: u32, version: u32, body: &str) -> Document {
    Document {
        kind,
        key: key.into(),
        id,
        version,
        effective_from: Timestamp::MIN,
        body: Some(body.into()),
    }
}

const PUMP: &str = r#"{"apiVersion": "assets/v1", "kind": "AssetTypeProfile",
    "metadata": {"key": "pump"},
    "metric_definitions": {"flow": {"unit": "m3/h"}, "running": {"type": "bool"},
        "state": {"type": "string"}},
    "transformation_engine": {"derived": {"starts": {"expr": "1", "type": "integer"}}},
    "health_algorithm": {"type": "weighted_deductions", "rules": [
        {"id": "hot", "when": "true", "deduct": 30}, {"id": "dry", "when": "true", "deduct": 30}]},
    "threshold_rules": [{"id": "low", "metric": "flow", "levels": {}}]}"#;

fn pump() -> Views {
    let views = Views::with_clock(Limits::default(), Arc::new(ManualClock::at(0)));
    let documents = [
        document(Kind::AssetTypes, "pump", 7, 1, PUMP),
        document(Kind::Assets, "p-1", 0, 1, r#"{"key": "p-1", "asset_type": "pump"}"#),
        document(Kind::Assets, "p-2", 1, 1, r#"{"asset_type": "pump", "display_name": "Two"}"#),
        document(Kind::Links, "d->p-1", 0, 1, r#"{"device": "d", "asset": "p-1"}"#),
    ];
    views.apply(Epoch(1), vec![Change::Documents(documents.map(|d| (d, 1)).to_vec())]);
    views
}

fn upserts(table: Table, asset: u32, window: Option<i64>, words: &[u64]) -> Change {
    Change::Upserts(Upserts {
        asset_type: TypeId(7),
        table,
        stride: words.len(),
        assets: vec![asset],
        windows: window.into_iter().collect(),
        words: words.to_vec(),
    })
}

fn latest(asset: u32, flow: f64, at: i64) -> Change {
    let open = Value::String("open".into()).word();
    let words = [flow.to_bits(), at as u64, 0, 1, 2_000_000, 0x8000_0000, open, 5, 0, 0, NEVER, 0];
    upserts(Table::Latest, asset, None, &words)
}

#[test]
fn wide_tables_are_unpivoted() {
    let views = pump();
    let words = [3.0, 60.0, 10.0, 30.0, 10.0, 30.0].map(f64::to_bits);
    let mut rollup = vec![2, 3];
    rollup.extend(&words[1..]);
    rollup.extend([0; 6]);
    views.apply(
        Epoch(2),
        vec![
            latest(0, 1.5, 1_000_000),
            upserts(
                Table::Health,
                0,
                None,
                &[1_000_000, 70f64.to_bits(), 30f64.to_bits(), 0f64.to_bits()],
            ),
            upserts(Table::Health, 1, None, &[NEVER, 0, 0, 0]),
            upserts(Table::Thresholds, 0, None, &[1, 1_000_000, 3]),
            upserts(Table::Rollups(Window::Minute), 0, Some(60_000_000), &rollup),
        ],
    );
    check(
        &views,
        "asset_metrics",
        &[
            "p-1|pump|flow|1970-01-01T00:00:01Z|1.5|-|m3/h|Good",
            "p-1|pump|running|1970-01-01T00:00:02Z|1.0|true|-|Bad",
            "p-1|pump|state|1970-01-01T00:00:00.000005Z|-|open|-|Good",
        ],
    );
    check(
        &views,
        "asset_health",
        &[r#"p-1|pump|1970-01-01T00:00:01Z|70.0|degraded|[{"rule":"hot","points":30.0}]"#],
    );
    check(&views, "threshold_states", &["p-1|pump|low|warning|1970-01-01T00:00:01Z|3"]);
    check(
        &views,
        "rollups_1m",
        &["p-1|pump|flow|1970-01-01T00:01:00Z|3|60.0|10.0|30.0|20.0|10.0|30.0|revised|1"],
    );
    check(&views, "rollups_5m", &[]);
}

#[test]
fn small_views_follow_their_changes() {
    let views = pump();
    let fleet = |assets| FleetHealthRow {
        asset_type: "pump".into(),
        band: "healthy".into(),
        assets,
        worst_score_bits: 90f64.to_bits(),
    };
    views.apply(Epoch(2), vec![Change::FleetHealth(vec![(fleet(1), 1)])]);
    views.apply(Epoch(3), vec![Change::FleetHealth(vec![(fleet(1), -1), (fleet(2), 1)])]);
    check(&views, "fleet_health", &["pump|healthy|2|90.0"]);
    check(&views, "assets", &["p-1|0|pump|1|-", "p-2|1|pump|1|Two"]);
    check(&views, "links", &["d->p-1|0|d|p-1|1"]);
    let gone = Document {
        kind: Kind::Assets,
        key: "p-1".into(),
        id: 0,
        version: 2,
        effective_from: Timestamp::MIN,
        body: None,
    };
    views.apply(Epoch(4), vec![Change::Documents(vec![(gone, 1)])]);
    check(&views, "assets", &["p-2|1|pump|1|Two"]);
    let event = EventRow {
        asset: "p-1".into(),
        rule: "r".into(),
        event_type: "start".into(),
        severity: "info".into(),
        event_time: 0,
        message: "m".into(),
        suppressed: false,
    };
    views.apply(Epoch(5), vec![Change::Events(vec![(event.clone(), 2)])]);
    check(&views, "events", &["p-1|r|start|info|1970-01-01T00:00:00Z|m|false"; 2]);
    views.apply(Epoch(6), vec![Change::Events(vec![(event, -2)])]);
    check(&views, "events", &[]);
}

#[test]
fn dead_letters_keep_the_newest() {
    let limits = Limits { dead_letters: 2, ..Limits::default() };
    let views = Views::with_clock(limits, Arc::new(ManualClock::at(0)));
    let letter = |i: i64| DeadLetter {
        received_at: Timestamp(i * 1_000_000),
        source: "http".into(),
        device: None,
        reason: Reason::Syntax,
        detail: "no".into(),
        raw: b"x\xff".to_vec().into(),
    };
    views.apply(Epoch(1), vec![Change::DeadLetters((0..3).map(letter).collect())]);
    check(
        &views,
        "dead_letters",
        &[
            "1970-01-01T00:00:01Z|http|-|SYNTAX|no|x\\xff",
            "1970-01-01T00:00:02Z|http|-|SYNTAX|no|x\\xff",
        ],
    );
    let refused = views.subscribe("dead_letters", Filter::default(), Envelope::Upsert).err();
    assert!(refused.unwrap().to_string().contains("ask for envelope 'diff'"));
}

#[test]
fn filters_keep_what_they_name() {
    let views = pump();
    views.apply(Epoch(2), vec![latest(0, 1.0, 1), latest(1, 2.0, 1)]);
    let count = |asset: &str, asset_type: &str, metric: &str| {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let filter =
            Filter { asset: some(asset), asset_type: some(asset_type), metric: some(metric) };
        show(&views, "asset_metrics", &filter).len()
    };
    assert_eq!(count("", "", ""), 6);
    assert_eq!(count("p-2", "", ""), 3);
    assert_eq!(count("p-2", "pump", "flow"), 1);
    assert_eq!(count("", "fan", ""), 0);
    assert_eq!(count("", "", "starts"), 0);
    assert_eq!(count("p-9", "", ""), 0);
    let metric = Filter { metric: Some("flow".into()), ..Filter::default() };
    let error = views.snapshot(&["events"], &metric).unwrap_err().to_string();
    assert_eq!(error, "filter view events by metric: it can be filtered by asset");
    let error = views.snapshot(&["nonsense"], &metric).unwrap_err().to_string();
    assert!(error.starts_with("find view 'nonsense': the views are asset_metrics, "), "{error}");
    assert_eq!(views.first(View::AssetMetrics, &Filter::default(), 2).unwrap().1[0].num_rows(), 2);
}

#[test]
fn a_reset_and_a_new_layout_start_over() {
    let views = pump();
    views.apply(Epoch(2), vec![latest(0, 1.0, 1), latest(1, 2.0, 1)]);
    // Whatever the order in the epoch, the reset comes before the rows.
    views.apply(Epoch(3), vec![latest(1, 9.0, 1), Change::Reset(TypeId(7), Table::Latest)]);
    assert_eq!(show(&views, "asset_metrics", &Filter::default()).len(), 3);
    let slim = r#"{"apiVersion": "assets/v1", "kind": "AssetTypeProfile",
        "metadata": {"key": "pump"}, "metric_definitions": {"head": {}}}"#;
    let new = document(Kind::AssetTypes, "pump", 7, 2, slim);
    let head = upserts(Table::Latest, 0, None, &[4f64.to_bits(), 0, 0]);
    views.apply(Epoch(4), vec![head, Change::Documents(vec![(new, 1)])]);
    check(&views, "asset_metrics", &["p-1|pump|head|1970-01-01T00:00:00Z|4.0|-|-|Good"]);
    // Rows that do not fit are refused, and nothing breaks.
    views.apply(Epoch(5), vec![latest(0, 1.0, 1)]);
    check(&views, "asset_metrics", &["p-1|pump|head|1970-01-01T00:00:00Z|4.0|-|-|Good"]);
}

#[tokio::test]
async fn a_subscriber_hears_only_what_changed() {
    let views = pump();
    views.apply(Epoch(2), vec![latest(0, 1.0, 1)]);
    let mut diff = views.subscribe("asset_metrics", Filter::default(), Envelope::Diff).unwrap();
    let mut upsert = views.subscribe("asset_metrics", Filter::default(), Envelope::Upsert).unwrap();
    assert_eq!((diff.epoch, lines(&diff.snapshot).len()), (Epoch(2), 3));
    views.apply(Epoch(3), vec![latest(0, 1.0, 1)]);
    views.apply(Epoch(4), vec![latest(0, 2.0, 1)]);
    let expected: [(&mut Subscription, &[&str]); 2] = [
        (
            &mut diff,
            &[
                "p-1|pump|flow|1970-01-01T00:00:00.000001Z|1.0|-|m3/h|Good|-1",
                "p-1|pump|flow|1970-01-01T00:00:00.000001Z|2.0|-|m3/h|Good|1",
            ],
        ),
        (&mut upsert, &["p-1|pump|flow|1970-01-01T00:00:00.000001Z|2.0|-|m3/h|Good|upsert"]),
    ];
    for (subscription, expected) in expected {
        let message = subscription.next().await.unwrap();
        let Message::Batch(delta) = message else { panic!("{message:?}") };
        assert_eq!(delta.epoch, Epoch(4));
        assert_eq!(lines(std::slice::from_ref(&delta.rows)), expected);
    }
}

#[tokio::test]
async fn progress_comes_without_changes_and_at_most_every_second() {
    let clock = Arc::new(ManualClock::at(0));
    let views = Views::with_clock(Limits::default(), Arc::clone(&clock) as _);
    let mut subscription = views.subscribe("events", Filter::default(), Envelope::Diff).unwrap();
    for (epoch, now) in [(1, 0), (2, 900_000), (3, 1_000_000), (4, 1_100_000)] {
        clock.set(now);
        views.apply(Epoch(epoch), vec![]);
        if epoch == 1 || epoch == 3 {
            let message = subscription.next().await.unwrap();
            assert!(matches!(message, Message::Progress(Epoch(e)) if e == epoch), "{message:?}");
        }
    }
    let more = tokio::time::timeout(std::time::Duration::from_millis(20), subscription.next());
    assert!(more.await.is_err());
}

#[tokio::test]
async fn a_slow_subscriber_is_told_and_let_go() {
    let limits = Limits { queue_messages: 3, ..Limits::default() };
    let views = Views::with_clock(limits, Arc::new(ManualClock::at(0)));
    views.apply(
        Epoch(1),
        vec![Change::Documents(vec![
            (document(Kind::AssetTypes, "pump", 7, 1, PUMP), 1),
            (document(Kind::Assets, "p-1", 0, 1, "{}"), 1),
        ])],
    );
    let mut slow = views.subscribe("asset_metrics", Filter::default(), Envelope::Diff).unwrap();
    for epoch in 2..10 {
        views.apply(Epoch(epoch), vec![latest(0, epoch as f64, 1)]);
    }
    let mut epochs = Vec::new();
    while let Some(message) = slow.next().await {
        match message {
            Message::Batch(delta) => epochs.push(delta.epoch.0),
            Message::Progress(_) => {}
            Message::Closed(closed) => {
                assert_eq!(closed.epoch.0, *epochs.last().unwrap());
                assert!(closed.hint.contains("subscribe again"));
                epochs.push(0);
            }
        }
    }
    assert_eq!(epochs, [2, 3, 4, 0]);
}

#[tokio::test]
async fn epochs_and_outcomes_can_be_waited_for() {
    let views = Views::new(Limits { outcome_epochs: 2, ..Limits::default() });
    let outcome = |message| Outcome { message, duplicates: 1, ..Outcome::default() };
    let waiting = tokio::spawn({
        let views = views.clone();
        async move { views.wait_for(Epoch(3)).await }
    });
    for epoch in 1..=3 {
        views.apply(Epoch(epoch), vec![Change::Outcomes(vec![outcome(5), outcome(2)])]);
    }
    waiting.await.unwrap();
    assert_eq!(views.outcomes(Epoch(3), 0..10), [outcome(2), outcome(5)]);
    assert_eq!(views.outcomes(Epoch(3), 3..6), [outcome(5)]);
    assert_eq!(views.outcomes(Epoch(1), 0..10), []);
}

#[test]
fn outcomes_have_a_limit_and_those_of_the_newest_epoch_are_there() {
    let views = Views::new(Limits { outcomes: 100, ..Limits::default() });
    let outcome = |message| Outcome { message, duplicates: 1, ..Outcome::default() };
    let mut kept = 0;
    for epoch in 1..=50 {
        // Some epochs have more than all may have together.
        let count = [10, 45, 130][epoch as usize % 3];
        views.apply(Epoch(epoch), vec![Change::Outcomes((0..count).map(outcome).collect())]);
        let of = |epoch| views.outcomes(Epoch(epoch), 0..200).len();
        assert_eq!(of(epoch), count as usize, "epoch {epoch}");
        kept = (1..=epoch).map(of).sum();
        assert!(kept <= 100 || kept == count as usize, "{kept} after epoch {epoch}");
    }
    assert!(kept > 0);
}

#[test]
fn what_views_hold_grows_with_their_rows_and_goes_with_them() {
    let views = pump();
    let empty = views.held();
    let assets: Vec<u32> = (0..2_000).collect();
    let rows = Upserts {
        asset_type: TypeId(7),
        table: Table::Latest,
        stride: 12,
        words: vec![1; 12 * assets.len()],
        windows: Vec::new(),
        assets: assets.clone(),
    };
    views.apply(Epoch(10), vec![Change::Upserts(rows)]);
    let full = views.held();
    // 12 words of the row, and the key.
    assert!(full.wide - empty.wide >= 2_000 * (12 * 8 + 16), "{empty:?} {full:?}");
    let gone = assets.into_iter().map(|id| (id, format!("a{id}").into())).collect();
    views.apply(Epoch(11), vec![Change::Removed(gone)]);
    assert!(views.held().wide * 20 < full.wide, "{full:?} {:?}", views.held());
}
