//! The oracle is the engine and the engine's is this: two roads from the same rows. A verifier
//! that finds nothing is worth something only when it finds what is planted.

use super::level::{State, Stay, Watch};
use super::{Finding, Report, event};
use crate::catalog::asset_type::{EventRule, Levels, RuleKind};
use crate::dataflow::asset::{Changes, Names, Plan, TypeState};
use crate::historian::{Ask, Historian, Options};
use crate::model::{
    Change, Document, Epoch, FleetHealthRow, FleetThresholdRow, Kind, Page, PageContent,
    PageRequest, Rows, Timestamp, TypeId, Value,
};
use crate::query::{Contents, Limits, NoSystemTables, Query, ViewSource};
use crate::views::{Filter, Snapshot, Views};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

mod edits;
mod eras;

const SECOND: i64 = 1_000_000;
const START: i64 = 1_772_323_200 * SECOND;
const ASSETS: u64 = 4;
const TYPE: TypeId = TypeId(0);

const DOCUMENT: &str = r#"{
  "apiVersion": "assets/v1", "kind": "AssetTypeProfile", "metadata": {"key": "pump"},
  "time": {"hot_horizon": "PT2H", "out_of_order": "PT20S"},
  "metric_definitions": {"temp": {"range": [0, 500]}, "flow": {}, "starts": {"type": "integer"},
    "on": {"type": "bool"}, "mode": {"type": "string"}},
  "transformation_engine": {"derived": {
    "half": {"expr": "ratio / 2", "trigger": ["flow"]},
    "ratio": {"expr": "temp / flow"},
    "code": {"sql": "CAST(mode AS BIGINT)", "type": "integer"}}},
  "health_algorithm": {"type": "weighted_deductions", "rules": [
    {"id": "hot", "when": "temp > 212", "deduct": 30, "hold": "PT2M"},
    {"id": "off", "when": "$not(on)", "deduct": 15},
    {"id": "ratio", "metric": "ratio", "ramp": {"from": {"at": 10}, "to": {"at": 40, "deduct": 50}}}]},
  "threshold_rules": [
    {"id": "temp_high", "metric": "temp", "levels": {
      "warning": {"op": "ge", "value": 210, "deadband": {"abs": 1}},
      "critical": {"op": "ge", "value": 212, "deadband": {"abs": 2}, "on_delay": "PT40S", "off_delay": "PT30S"}}},
    {"id": "flow_low", "metric": "flow", "levels": {"critical": {"op": "lt", "value": 12, "deadband": {"pct_of_value": 10}}}},
    {"id": "stuck", "metric": "mode", "levels": {"warning": {"op": "eq", "value": "7"}}},
    {"id": "ratio_low", "expr": "ratio < 15", "levels": {"warning": {"off_delay": "PT10S"}}},
    {"id": "flow_silent", "kind": "absence", "metric": "flow", "levels": {
      "warning": {"on_delay": "PT25S"}, "critical": {"on_delay": "PT1M"}}}],
  "event_rules": [
    {"id": "hot", "when": "temp > 212", "event_type": "pump.hot", "severity": "critical", "cooldown": "PT3M",
     "message": "{{asset}} at {{metrics.temp|1}} in {{ mode }}, {{nothing}} {{"},
    {"id": "long", "when": "flow < 13", "for": "PT30S", "event_type": "pump.dry"},
    {"id": "cool", "when": "temp > 211", "edge": "falling", "event_type": "pump.cool"}]
}"#;

/// What is done to a view before it is compared.
type Plant = Option<(&'static str, fn(RecordBatch) -> RecordBatch)>;

struct Source {
    views: Views,
    planted: Mutex<Plant>,
}

impl ViewSource for Source {
    fn list(&self) -> Vec<(String, SchemaRef)> {
        self.views.list().into_iter().map(|view| (view.name.to_string(), view.schema)).collect()
    }

    fn snapshot(&self, names: &[&str]) -> Result<Contents, String> {
        let taken = self.views.whole_snapshot(names, &Filter::default());
        let Snapshot { epoch, clock, removed, mut views, .. } = taken.map_err(|e| e.to_string())?;
        let removed = removed.values().cloned().collect();
        if let Some((name, change)) = *self.planted.lock().unwrap()
            && let Some(at) = names.iter().position(|known| *known == name)
        {
            let first = views[at].batches.first_mut().expect("a planted view has rows");
            *first = change(first.clone());
        }
        let views = views.into_iter().map(|rows| rows.batches.into()).collect();
        Ok(Contents { epoch, clock, removed, views })
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }
}

/// The engine's state, views and archive, fed by hand.
struct Street {
    state: TypeState,
    names: Names,
    views: Views,
    historian: Arc<Historian>,
    query: Query,
    source: Arc<Source>,
    documents: Vec<Document>,
    health: BTreeMap<(Arc<str>, Arc<str>), BTreeMap<u32, f64>>,
    levels: BTreeMap<(Arc<str>, u8), i64>,
    fleet: (Vec<FleetHealthRow>, Vec<FleetThresholdRow>),
    epoch: u64,
    _directory: tempfile::TempDir,
}

impl Street {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let historian = Arc::new(Historian::open(directory.path(), Options::default()).unwrap());
        let views = Views::new(crate::views::Limits::default());
        let source = Arc::new(Source { views: views.clone(), planted: Mutex::new(None) });
        let as_source: Arc<dyn ViewSource> = Arc::clone(&source) as _;
        let system = Arc::new(NoSystemTables);
        let query =
            Query::new(as_source, system, Arc::clone(&historian), Limits::default()).unwrap();
        let document = serde_json::from_str(DOCUMENT).unwrap();
        let plan = Plan::compile(TYPE, "pump", 1, &document).unwrap();
        let mut documents = vec![of(Kind::AssetTypes, 0, "pump", DOCUMENT)];
        let mut names = Names::default();
        for id in 0..ASSETS as u32 {
            let (asset, device) = (format!("pump-{}", 9 - id), format!("box-{id}"));
            let body = format!(r#"{{"key": "{asset}", "asset_type": "pump"}}"#);
            documents.push(of(Kind::Assets, id, &asset, &body));
            let body = format!(r#"{{"key": "{device}", "device_type": "box"}}"#);
            documents.push(of(Kind::Devices, id, &device, &body));
            names.insert(id, asset.into());
        }
        for document in &documents {
            historian.apply_document(document).unwrap();
        }
        let all = documents.iter().map(|document| (document.clone(), 1)).collect();
        views.apply(Epoch(1), vec![Change::Documents(all)]);
        historian.close_epoch(Epoch(1), Timestamp(0));
        Self {
            state: TypeState::new(plan),
            names,
            views,
            historian,
            query,
            source,
            documents,
            health: BTreeMap::new(),
            levels: BTreeMap::new(),
            fleet: (Vec::new(), Vec::new()),
            epoch: 1,
            _directory: directory,
        }
    }

    fn feed(&mut self, rows: &Rows) {
        let mut changes = Changes::default();
        self.state.apply(rows.clone(), &self.names, &mut changes);
        self.close(changes);
    }

    /// Hands on what one epoch has changed.
    fn close(&mut self, changes: Changes) {
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        let mut list = self.fleet(&changes);
        let mut wanted = Vec::new();
        for change in changes.list {
            match change {
                Change::Telemetry(rows) => self.historian.accept(epoch, rows).unwrap(),
                Change::Superseded(keys) => self.historian.superseded(epoch, &keys).unwrap(),
                Change::Deleted(keys) => self.historian.deleted(epoch, &keys).unwrap(),
                Change::Wanted(requests) => wanted.extend(requests),
                other => list.push(other),
            }
        }
        self.historian.close_epoch(epoch, Timestamp(0));
        self.views.apply(epoch, list);
        wanted.into_iter().for_each(|request| self.bring(request));
    }

    /// Brings back what an asset wants.
    fn bring(&mut self, request: PageRequest) {
        let PageRequest { key, from, to, .. } = request.clone();
        let ask = Ask { asset: key, from, to, after: Epoch(0) };
        let found = self.historian.history(&[ask], Epoch(self.epoch), usize::MAX).unwrap();
        let content = PageContent::Points(Arc::new(found.into_iter().next().flatten().unwrap()));
        let page = Page { request, after: Epoch(0), content };
        let mut changes = Changes::default();
        self.state.page(&page, &self.names, &mut changes);
        self.close(changes);
    }

    /// What the fleet's reductions would say.
    fn fleet(&mut self, changes: &Changes) -> Vec<Change> {
        for ((asset_type, band, asset, score), diff) in &changes.health {
            let key = (Arc::clone(asset_type), Arc::clone(band));
            let of_band = self.health.entry(key).or_default();
            match diff {
                1 => of_band.insert(*asset, score.get()),
                _ => of_band.remove(asset),
            };
        }
        for ((rule, level, _), diff) in &changes.thresholds {
            *self.levels.entry((Arc::clone(rule), *level)).or_default() += diff;
        }
        let filled = self.health.iter().filter(|(_, assets)| !assets.is_empty());
        let health: Vec<FleetHealthRow> = filled
            .map(|((asset_type, band), scores)| FleetHealthRow {
                asset_type: Arc::clone(asset_type),
                band: Arc::clone(band),
                assets: scores.len() as u64,
                worst_score_bits: scores.values().copied().fold(f64::NAN, f64::min).to_bits(),
            })
            .collect();
        let counted = self.levels.iter().filter(|(_, count)| **count != 0);
        let levels: Vec<FleetThresholdRow> = counted
            .map(|((rule, level), count)| FleetThresholdRow {
                rule: Arc::clone(rule),
                level: ["normal", "warning", "critical"][usize::from(*level)].into(),
                assets: *count as u64,
            })
            .collect();
        let was = std::mem::replace(&mut self.fleet, (health.clone(), levels.clone()));
        let gone = was.0.into_iter().map(|row| (row, -1));
        let health = gone.chain(health.into_iter().map(|row| (row, 1))).collect();
        let gone = was.1.into_iter().map(|row| (row, -1));
        let levels = gone.chain(levels.into_iter().map(|row| (row, 1))).collect();
        vec![Change::FleetHealth(health), Change::FleetThresholds(levels)]
    }

    async fn verify(&self) -> Report {
        self.query.verify(self.documents.clone()).await.unwrap()
    }

    /// Random rows: in order, late, twice, corrected, bad, and from long before.
    fn random(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut street = Self::new();
        for epoch in 0..50 {
            let mut rows = Rows::new(TYPE, 5);
            for _ in 0..random.below(14) {
                let back = if random.below(6) == 0 { random.below(3000) as i64 } else { 0 };
                let time = epoch * 120 - back + random.below(15) as i64 * 8;
                push(&mut rows, random.below(ASSETS) as u32, START + time * SECOND, &mut random);
            }
            if epoch > 30 && random.below(5) == 0 {
                // Behind every other row by more than the horizon, or among those that are gone.
                let back = [20_000 - epoch, -(random.below(3_000) as i64)];
                let time = START - back[random.below(2) as usize] * SECOND;
                push(&mut rows, random.below(ASSETS) as u32, time, &mut random);
            }
            street.feed(&rows);
            if random.below(10) == 0 {
                street.historian.flush().unwrap();
            }
        }
        street
    }
}

fn of(kind: Kind, id: u32, key: &str, body: &str) -> Document {
    Document {
        kind,
        key: key.into(),
        id,
        version: 1,
        effective_from: Timestamp::MIN,
        body: Some(body.into()),
    }
}

fn push(rows: &mut Rows, asset: u32, time: i64, random: &mut Random) {
    let values = [
        Value::Double(200.0 + random.below(60) as f64 / 4.0),
        Value::Double(8.0 + random.below(40) as f64 / 3.0),
        Value::Integer(random.below(9) as i64),
        Value::Bool(random.below(2) == 0),
        Value::String(["7", "8", "run"][random.below(3) as usize].into()),
    ];
    let fresh = random.below(31) + 1;
    rows.assets.push(asset);
    rows.devices.push(asset);
    rows.times.push(time);
    rows.messages.push(0);
    rows.fresh.push(fresh);
    for (slot, value) in values.iter().enumerate() {
        let is_fresh = fresh >> slot & 1 == 1;
        rows.words.push(if is_fresh { value.word() } else { 0 });
        let quality = [0, 0, 0, 0x4094_0000, 0x8000_0000][random.below(5) as usize];
        rows.quality.push(if is_fresh { quality } else { 0 });
    }
}

#[tokio::test]
async fn what_the_engine_holds_is_what_telemetry_gives() {
    // More seeds with `MILLSTREAM_CASES`.
    let cases = std::env::var("MILLSTREAM_CASES").ok().and_then(|cases| cases.parse().ok());
    for seed in 1..=cases.unwrap_or(10) {
        println!("seed {seed}");
        let street = Street::random(seed);
        let report = street.verify().await;
        assert!(report.is_equal(), "seed {seed}: {report}");
        assert_eq!(report.views.len(), 12, "{report}");
        for (view, finding) in &report.views {
            assert!(*finding != Finding::Equal { rows: 0 }, "seed {seed}: nothing in {view}");
        }
    }
}

#[tokio::test]
async fn what_is_planted_is_found() {
    let street = Street::random(3);
    let views: Vec<String> = street.verify().await.views.into_iter().map(|(v, _)| v).collect();
    let plants: [fn(RecordBatch) -> RecordBatch; 2] =
        [|batch| batch.slice(1, batch.num_rows() - 1), twice];
    for view in views {
        for plant in plants {
            *street.source.planted.lock().unwrap() = Some((view.clone().leak(), plant));
            let report = street.verify().await;
            let finding = report.views.iter().find(|(name, _)| *name == view).unwrap();
            match &finding.1 {
                Finding::Different { rows, first } => assert_eq!(*rows as usize, first.len()),
                other => panic!("{view}: {other:?}"),
            }
            assert!(report.to_string().contains("DIFFERENT"), "{report}");
        }
    }
}

/// The same batch with its first row twice.
fn twice(batch: RecordBatch) -> RecordBatch {
    let first = batch.slice(0, 1);
    arrow::compute::concat_batches(&batch.schema(), [&first, &batch]).unwrap()
}

#[tokio::test]
async fn a_wrong_value_is_shown_beside_the_right_one() {
    let street = Street::random(5);
    *street.source.planted.lock().unwrap() = Some(("rollups_1h", |batch| {
        let mut columns = batch.columns().to_vec();
        let at = batch.schema().index_of("sum").unwrap();
        columns[at] = Arc::clone(&columns[batch.schema().index_of("max").unwrap()]);
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    }));
    let report = street.verify().await;
    let (_, finding) = report.views.iter().find(|(view, _)| view == "rollups_1h").unwrap();
    let Finding::Different { rows, first } = finding else { panic!("{report}") };
    assert!(*rows > 0 && first.len() <= 10, "{report}");
    let (view, right) = (first[0].view.clone().unwrap(), first[0].recomputed.clone().unwrap());
    assert!(view.contains("sum=") && right.contains("sum=") && view != right, "{report}");
}

#[tokio::test]
async fn a_type_that_cannot_be_read_is_not_compared_and_that_is_said() {
    let mut street = Street::random(7);
    street.documents[0].body = Some("{}".into());
    let report = street.verify().await;
    assert!(report.notes[0].starts_with("asset type 'pump', version 1: "), "{report}");
    assert!(report.is_equal(), "{report}");
}

fn check_level(points: &[(i64, f64)], state: Option<(usize, i64, i64)>, expected: &[Stay]) {
    let levels: Levels = serde_json::from_str(
        r#"{"critical": {"op": "ge", "value": 212, "deadband": {"abs": 2},
            "on_delay": "PT90S", "off_delay": "PT30S"}}"#,
    )
    .unwrap();
    let times: Vec<i64> = points.iter().map(|(t, _)| t * SECOND).collect();
    let values: Vec<Option<Value>> = points.iter().map(|(_, v)| Some(Value::Double(*v))).collect();
    let watch = Watch::new(RuleKind::Value, &levels, None);
    let (last, mut stays) = watch.follow(State::default(), &times, &values, i64::MIN);
    stays.extend(watch.open(&last));
    assert_eq!((last.shown(), &*stays), (state, expected));
}

#[test]
fn a_level_has_its_deadband_and_its_delays() {
    let stay = |since: i64, raised: i64, end: i64, cleared: i64| Stay {
        level: 2,
        since: since * SECOND,
        raised: raised * SECOND,
        condition_end: Some(end * SECOND),
        cleared: Some(cleared * SECOND),
    };
    let mut points = vec![
        (0, 208.0),
        (60, 212.4),
        (120, 212.8),
        (180, 213.0),
        (240, 210.4),
        (300, 209.9),
        (420, 208.0),
    ];
    let state = Some((0, 300 * SECOND, 2));
    check_level(&points, state, &[stay(60, 150, 300, 330)]);
    points.insert(3, (130, 209.5));
    // The late point breaks the condition before it was raised; the deadline at 150 is past it.
    check_level(&points, state, &[stay(180, 270, 300, 330)]);
    check_level(&[], None, &[]);
    check_level(&[(5, 1.0)], Some((0, 5 * SECOND, 0)), &[]);
}

/// Events as when they fired, the time as of which their message is made, and "suppressed".
fn check_event(rule: &str, conditions: &[(i64, bool)], expected: &[(i64, i64, bool)]) {
    let rule: EventRule = serde_json::from_str(rule).unwrap();
    let times: Vec<i64> = conditions.iter().map(|(t, _)| t * SECOND).collect();
    let conditions: Vec<_> = conditions.iter().map(|(_, c)| Some(Value::Bool(*c))).collect();
    let initial = event::State::default();
    let (_, fired) = event::follow(&rule, initial, &times, &conditions, i64::MIN);
    let fired: Vec<_> =
        fired.iter().map(|f| (f.at / SECOND, f.as_of / SECOND, f.suppressed)).collect();
    assert_eq!(fired, expected);
}

#[test]
fn events_fire_on_edges_after_their_time_and_cool_down() {
    let row = [(0, true), (10, false), (20, true), (30, true), (60, false), (70, true)];
    check_event(
        r#"{"id": "e", "when": "x", "event_type": "t", "cooldown": "PT30S"}"#,
        &row,
        &[(0, 0, false), (20, 20, true), (70, 70, false)],
    );
    check_event(
        r#"{"id": "e", "when": "x", "event_type": "t", "edge": "falling"}"#,
        &row,
        &[(10, 10, false), (60, 60, false)],
    );
    check_event(
        r#"{"id": "e", "when": "x", "event_type": "t", "for": "PT20S"}"#,
        &row,
        &[(40, 39, false)],
    );
}
