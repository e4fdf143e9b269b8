//! The oracle here is the state machine itself on the ordered series: whatever the order of
//! arrival, the duplicates, the corrections and the batch borders, the same must come out.

use super::{Changes, Era, Eras, Held, Names, Plan, TypeState};
use crate::catalog::asset_type::AssetType;
use crate::model::{
    Change, EditRefusal, Page, PageContent, Rows, Table, TypeId, Window, mask_words,
};
use pages::Archive;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that was said, folded.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    tables: BTreeMap<(Table, u32, i64), Vec<u64>>,
    rows: BTreeMap<String, i64>,
    fleet: BTreeMap<String, i64>,
    points: usize,
}

struct Graph {
    state: TypeState,
    names: Names,
    said: Said,
    slots: usize,
    /// Names of the metrics, measured and derived.
    metrics: Vec<String>,
}

/// A row of two metrics, `None` where it has no point.
type Row = (i64, [Option<f64>; 2]);

const DOCUMENT: &str = r#"{
  "apiVersion": "assets/v1", "kind": "AssetTypeProfile", "metadata": {"key": "pump"},
  "time": {"hot_horizon": "PT1H", "out_of_order": "PT0S"},
  "metric_definitions": {"temp": {"range": [0, 500]}, "flow": {}},
  "transformation_engine": {"derived": {
    "ratio": {"expr": "temp / flow"}, "half": {"expr": "ratio / 2", "trigger": ["flow"]}}},
  "health_algorithm": {"type": "weighted_deductions", "rules": [
    {"id": "hot", "when": "temp > 212", "deduct": 30, "hold": "PT2M"},
    {"id": "ratio", "metric": "ratio", "ramp": {"from": {"at": 10}, "to": {"at": 40, "deduct": 50}}}]},
  "threshold_rules": [
    {"id": "temp_high", "metric": "temp", "levels": {
      "warning": {"op": "ge", "value": 210, "deadband": {"abs": 1}},
      "critical": {"op": "ge", "value": 212, "deadband": {"abs": 2}, "on_delay": "PT90S", "off_delay": "PT30S"}}},
    {"id": "ratio_low", "expr": "ratio < 12", "levels": {"warning": {"off_delay": "PT10S"}}},
    {"id": "temp_silent", "kind": "absence", "metric": "temp", "levels": {
      "warning": {"on_delay": "PT30S"}, "critical": {"on_delay": "PT2M"}}}],
  "event_rules": [
    {"id": "hot", "when": "temp > 212", "event_type": "pump.hot", "severity": "critical", "cooldown": "PT3M",
     "message": "{{asset}} at {{metrics.temp|1}}"},
    {"id": "long", "when": "flow < 12", "for": "PT1M", "event_type": "pump.dry"},
    {"id": "cool", "when": "temp > 211", "edge": "falling", "event_type": "pump.cool"}]
}"#;

impl Graph {
    fn new(document: &str) -> Self {
        let document: AssetType = serde_json::from_str(document).unwrap();
        let plan = Plan::compile(TypeId(3), "pump", 1, &document).unwrap();
        let slots = plan.measured();
        let mut names = Names::default();
        (0..4).for_each(|i| names.insert(i, format!("pump-{i}").into()));
        let mut metrics: Vec<String> = document.metric_definitions.keys().cloned().collect();
        metrics.extend(document.transformation_engine.derived.keys().cloned());
        Self { state: TypeState::new(plan), names, said: Said::default(), slots, metrics }
    }

    /// Publishes a version that holds from a second on, and has all assets look at their rows again.
    fn publish(&mut self, document: &str, version: u32, from: i64) {
        let changes = self.announce(document, version, from);
        self.take_turns(&changes);
    }

    /// Publishes a version that holds from a second on. Assets with rows after it have their turn
    /// still to come.
    fn announce(&mut self, document: &str, version: u32, from: i64) -> Changes {
        let document: AssetType = serde_json::from_str(document).unwrap();
        let plan = Plan::compile(TypeId(3), "pump", version, &document).unwrap();
        self.slots = plan.measured();
        let mut changes = Changes::default();
        let lost: Vec<String> = self.metrics.clone();
        self.metrics = document.metric_definitions.keys().cloned().collect();
        self.metrics.extend(document.transformation_engine.derived.keys().cloned());
        self.state.publish(plan, from * 1_000_000, &self.names, &mut changes);
        self.said.rename(&lost, &self.metrics);
        self.said.fold(&changes);
        changes
    }

    /// Lets the assets that wait for nothing but their turn have it.
    fn take_turns(&mut self, changes: &Changes) {
        let wanted = changes.list.iter().filter_map(|change| match change {
            Change::Wanted(requests) => Some(requests),
            _ => None,
        });
        for request in wanted.flatten().filter(|request| request.is_turn()) {
            let content = PageContent::Points(Arc::default());
            let page = Page { request: request.clone(), after: Default::default(), content };
            let mut changes = Changes::default();
            self.state.page(&page, &self.names, &mut changes);
            self.said.fold(&changes);
        }
    }

    /// Lets time pass up to a second.
    fn tick(&mut self, second: i64) {
        let mut changes = Changes::default();
        self.state.tick(second * 1_000_000, &self.names, &mut changes);
        self.said.fold(&changes);
    }

    /// Deletes the points of some metrics of an asset at seconds `[from, to)`.
    fn delete(
        &mut self,
        asset: u32,
        metrics: &[&str],
        (from, to): (i64, i64),
    ) -> Result<Vec<u64>, EditRefusal> {
        let metrics: Vec<Arc<str>> = metrics.iter().map(|metric| (*metric).into()).collect();
        let range = (from * 1_000_000, to * 1_000_000);
        let mut changes = Changes::default();
        let done = self.state.delete(asset, &metrics, range, &self.names, &mut changes);
        self.said.fold(&changes);
        done
    }

    /// Feeds `(asset, row)` as one epoch.
    fn feed(&mut self, input: &[(u32, Row)]) -> Changes {
        self.feed_with(0, input)
    }

    /// Feeds rows of this quality.
    fn feed_with(&mut self, quality: u32, input: &[(u32, Row)]) -> Changes {
        let mut rows = Rows::new(TypeId(3), self.slots);
        for (i, (asset, (time, values))) in input.iter().enumerate() {
            rows.assets.push(*asset);
            rows.devices.push(0);
            rows.times.push(time * 1_000_000);
            rows.messages.push(i as u32);
            let mut mask = vec![0; mask_words(self.slots)];
            for (slot, value) in values.iter().chain([&None]).enumerate().take(self.slots) {
                mask[0] |= u64::from(value.is_some()) << slot;
                rows.words.push(value.unwrap_or_default().to_bits());
                rows.quality.push(if value.is_some() { quality } else { 0 });
            }
            rows.fresh.extend(mask);
        }
        let mut changes = Changes::default();
        self.state.apply(rows, &self.names, &mut changes);
        self.said.fold(&changes);
        changes
    }
}

impl Said {
    fn fold(&mut self, changes: &Changes) {
        for change in &changes.list {
            match change {
                Change::Upserts(upserts) => {
                    for (i, asset) in upserts.assets.iter().enumerate() {
                        let window = upserts.windows.get(i).copied().unwrap_or(0);
                        let words =
                            upserts.words[i * upserts.stride..(i + 1) * upserts.stride].to_vec();
                        self.tables.insert((upserts.table, *asset, window), words);
                    }
                }
                Change::Reset(_, table) => self.tables.retain(|(t, ..), _| t != table),
                Change::Telemetry(rows) => self.points += rows.points(),
                Change::Superseded(keys) | Change::Deleted(keys) => self.points -= keys.len(),
                Change::Events(rows) => rows.iter().for_each(|(r, d)| add(&mut self.rows, r, *d)),
                Change::Occurrences(rows) => {
                    rows.iter().for_each(|(r, d)| add(&mut self.rows, r, *d))
                }
                Change::Errors(rows) => rows.iter().for_each(|(r, d)| add(&mut self.rows, r, *d)),
                _ => {}
            }
        }
        changes.health.iter().for_each(|(r, d)| add(&mut self.fleet, r, *d));
        changes.thresholds.iter().for_each(|(r, d)| add(&mut self.fleet, r, *d));
    }

    /// Rows of the tables that are kept by name move to another version's columns.
    fn rename(&mut self, old: &[String], new: &[String]) {
        for ((table, ..), words) in &mut self.tables {
            let (head, width) = match table {
                Table::Latest => (0, 3),
                Table::Rollups(_) => (1, 6),
                _ => continue,
            };
            let was = std::mem::replace(words, vec![0; head + width * new.len()]);
            words[..head].copy_from_slice(&was[..head]);
            for (i, name) in new.iter().enumerate() {
                let to = head + i * width;
                match old.iter().position(|known| known == name) {
                    Some(j) => {
                        let from = head + j * width;
                        words[to..to + width].copy_from_slice(&was[from..from + width]);
                    }
                    None if width == 3 => words[to + 1] = i64::MIN as u64,
                    None => {}
                }
            }
        }
    }

    /// Revisions tell of the order of arrival: that is what they are for.
    fn without_revisions(mut self) -> Self {
        // What says that nothing is there is not shown.
        const NEVER: u64 = i64::MIN as u64;
        let shown = |table: &Table, words: &[u64]| match table {
            Table::Rollups(_) => words[1..].chunks(6).any(|stat| stat[0] > 0),
            Table::Latest | Table::Thresholds => words.chunks(3).any(|part| part[1] != NEVER),
            Table::Health => words[0] != NEVER,
        };
        self.tables.retain(|(table, ..), words| shown(table, words));
        for ((table, ..), words) in &mut self.tables {
            if let Table::Rollups(_) = table {
                words[0] = words[0].min(1);
            }
        }
        self
    }
}

/// Asserts equality; says the first difference instead of everything.
fn same(left: &Said, right: &Said, what: &str) {
    for (key, words) in &left.tables {
        assert_eq!(Some(words), right.tables.get(key), "{what}: {key:?}");
    }
    let only = |a: &Said, b: &Said| -> Vec<(String, i64)> {
        let rows = a.rows.iter().filter(|(row, count)| b.rows.get(*row) != Some(*count));
        rows.map(|(row, count)| (row.clone(), *count)).collect()
    };
    let (here, there) = (only(left, right), only(right, left));
    assert!(here.is_empty() && there.is_empty(), "{what}: {here:#?} against {there:#?}");
    assert_eq!(left.fleet, right.fleet, "{what}");
    assert_eq!(left.points, right.points, "{what}");
    assert_eq!(left.tables.len(), right.tables.len(), "{what}");
}

fn add(rows: &mut BTreeMap<String, i64>, row: &impl std::fmt::Debug, diff: i64) {
    let key = format!("{row:?}");
    let count = rows.entry(key.clone()).or_default();
    *count += diff;
    if *count == 0 {
        rows.remove(&key);
    }
}

/// A small deterministic generator: the seed is printed with every failure.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

mod edits;
mod pages;

const SERIES: [(i64, f64); 7] =
    [(0, 208.0), (60, 212.4), (120, 212.8), (180, 213.0), (240, 210.4), (300, 209.9), (420, 208.0)];

fn occurrences(said: &Said) -> Vec<&str> {
    occurrences_of(said, "temp_high", "critical")
}

fn occurrences_of<'a>(said: &'a Said, rule: &str, level: &str) -> Vec<&'a str> {
    let is_meant =
        |key: &&String| key.starts_with("Occurrence") && key.contains(rule) && key.contains(level);
    said.rows.keys().filter(is_meant).map(|key| key.split_once("since").unwrap().1).collect()
}

#[test]
fn silence_begins_with_the_last_point_and_ends_with_the_next() {
    let mut graph = Graph::new(DOCUMENT);
    let mut feed = |time, temp: Option<f64>| {
        graph.feed(&[(0, (time, [temp, Some(20.0)]))]);
        occurrences_of(&graph.said, "temp_silent", "warning").join("; ")
    };
    // The asset's first row counts, though the metric is not in it.
    assert_eq!(feed(0, None), "");
    assert_eq!(feed(40, None), ": 0, raised: 30000000, condition_end: None, cleared: None }");
    let first = ": 0, raised: 30000000, condition_end: Some(50000000), cleared: Some(50000000) }";
    assert_eq!(feed(50, Some(200.0)), first);
    assert_eq!(feed(79, Some(200.0)), first);
    // Other metrics do not break the silence.
    assert_eq!(feed(100, None), first);
    let second = ": 79000000, raised: 109000000, condition_end: None, cleared: None }";
    assert_eq!(feed(110, None), format!("{first}; {second}"));
    // A late point ends it in time.
    assert_eq!(feed(105, Some(200.0)), first);
    // And a late point at the beginning ends the wait for the first one.
    assert_eq!(feed(25, Some(200.0)), "");
}

#[test]
fn the_worked_example_of_the_state_table() {
    let mut graph = Graph::new(DOCUMENT);
    for (time, temp) in SERIES {
        graph.feed(&[(0, (time, [Some(temp), None]))]);
    }
    let first =
        ": 60000000, raised: 150000000, condition_end: Some(300000000), cleared: Some(330000000) }";
    assert_eq!(occurrences(&graph.said), [first]);
    // A late point breaks the pending condition.
    graph.feed(&[(0, (130, [Some(209.5), None]))]);
    let second = ": 180000000, raised: 270000000, condition_end: Some(300000000), cleared: Some(330000000) }";
    assert_eq!(occurrences(&graph.said), [second]);
}

#[test]
fn a_correction_that_changes_no_level_says_nothing_of_levels() {
    let mut graph = Graph::new(DOCUMENT);
    for (time, temp) in SERIES {
        graph.feed(&[(0, (time, [Some(temp), None]))]);
    }
    let changes = graph.feed(&[(0, (240, [Some(212.6), None]))]);
    let levels = |change: &&Change| {
        matches!(change, Change::Occurrences(_))
            || matches!(change, Change::Upserts(u) if u.table == Table::Thresholds)
    };
    assert_eq!(changes.list.iter().filter(levels).count(), 0, "{changes:?}");
    let changes = graph.feed(&[(0, (240, [Some(212.6), None]))]);
    assert!(changes.list.iter().all(|c| matches!(c, Change::Outcomes(_))), "{changes:?}");
}

#[test]
fn a_correction_that_leaves_nothing_to_evaluate_takes_the_level_back() {
    let mut graph = Graph::new(DOCUMENT);
    let rows = [(0, (0, [Some(213.0), None])), (1, (0, [Some(213.0), None]))];
    graph.feed(&rows);
    let level = |graph: &Graph, asset| graph.said.tables[&(Table::Thresholds, asset, 0)].clone();
    let before = level(&graph, 1);
    let changes = graph.feed_with(0x8000_0000, &rows[..1]);
    for change in &changes.list {
        if let Change::Upserts(upserts) = change {
            assert_eq!(upserts.words.len(), upserts.assets.len() * upserts.stride, "{upserts:?}");
        }
    }
    assert_eq!(level(&graph, 0)[..3], [0, i64::MIN as u64, 0]);
    assert_eq!(level(&graph, 1), before);
    let is_gone = |place: &String| !place.contains("temp_high") || !place.contains(", 0)");
    assert!(graph.said.fleet.keys().all(is_gone), "{:?}", graph.said.fleet);
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    for seed in 0..150 {
        let mut random = Random(seed);
        let mut truth: BTreeMap<(u32, i64), [Option<f64>; 2]> = BTreeMap::new();
        let mut arrivals: Vec<(u64, (u32, Row))> = Vec::new();
        for i in 0..120 {
            let (asset, time) = (random.below(3) as u32, random.below(600) as i64);
            let mut values = [None, None];
            for (slot, value) in values.iter_mut().enumerate() {
                if random.below(3) > 0 {
                    *value =
                        Some(if slot == 0 { 205.0 } else { 8.0 } + random.below(100) as f64 / 10.0);
                }
            }
            if values == [None, None] {
                continue;
            }
            let at = time as u64 * 10 + random.below(3000);
            arrivals.push((at, (asset, (time, values))));
            if random.below(10) == 0 {
                arrivals.push((at + random.below(2000), (asset, (time, values))));
            }
            let _ = i;
        }
        arrivals.sort_by_key(|(at, _)| *at);
        for (_, (asset, (time, values))) in &arrivals {
            let row = truth.entry((*asset, *time)).or_default();
            (0..2).for_each(|slot| row[slot] = values[slot].or(row[slot]));
        }
        let mut ordered = Graph::new(DOCUMENT);
        let mut inputs: Vec<(u32, Row)> =
            truth.into_iter().map(|((a, t), v)| (a, (t, v))).collect();
        inputs.sort_by_key(|(_, (time, _))| *time);
        for input in &inputs {
            ordered.feed(std::slice::from_ref(input));
        }
        let mut shuffled = Graph::new(DOCUMENT);
        let mut rest: Vec<(u32, Row)> = arrivals.into_iter().map(|(_, row)| row).collect();
        while !rest.is_empty() {
            let take = (1 + random.below(9) as usize).min(rest.len());
            let batch: Vec<_> = rest.drain(..take).collect();
            shuffled.feed(&batch);
        }
        let (ordered, shuffled) =
            (ordered.said.without_revisions(), shuffled.said.without_revisions());
        same(&ordered, &shuffled, &format!("seed {seed}"));
    }
}

#[test]
fn what_leaves_the_horizon_stays_in_the_windows() {
    let short = DOCUMENT.replace("\"PT1H\"", "\"PT30S\"");
    let (mut kept, mut forgotten) = (Graph::new(DOCUMENT), Graph::new(&short));
    let mut random = Random(7);
    for time in 0..3000 {
        let values = [
            Some(205.0 + random.below(100) as f64 / 10.0),
            Some(8.0 + random.below(80) as f64 / 10.0),
        ];
        for graph in [&mut kept, &mut forgotten] {
            graph.feed(&[(0, (time, values))]);
            if time % 7 == 0 && time > 20 {
                graph.feed(&[(0, (time - 20, [Some(209.0 + (time % 4) as f64), None]))]);
            }
        }
    }
    same(&kept.said.without_revisions(), &forgotten.said.without_revisions(), "horizons");
}

/// Versions of the document: other limits and delays, rules that go and come, a new metric.
fn versions() -> [String; 3] {
    let second = DOCUMENT
        .replace("\"value\": 212", "\"value\": 211")
        .replace("\"on_delay\": \"PT90S\"", "\"on_delay\": \"PT20S\"")
        .replace("temp / flow", "temp * 2 / flow")
        .replace(
            "\"id\": \"ratio_low\", \"expr\": \"ratio < 12\"",
            "\"id\": \"half_low\", \"expr\": \"half < 12\"",
        );
    let third = DOCUMENT
        .replace("\"flow\": {}}", "\"flow\": {}, \"level\": {}}")
        .replace(", \"half\": {\"expr\": \"ratio / 2\", \"trigger\": [\"flow\"]}", "")
        .replace("\"for\": \"PT1M\"", "\"for\": \"PT30S\"");
    [second, third, DOCUMENT.replace("temp > 212", "temp > 213")]
}

#[test]
fn a_new_version_keeps_the_state_and_looks_at_what_is_held() {
    let mut graph = Graph::new(DOCUMENT);
    for (time, temp) in &SERIES[..4] {
        graph.feed(&[(0, (*time, [Some(*temp), Some(20.0)]))]);
    }
    let level = |graph: &Graph| graph.said.tables[&(Table::Thresholds, 0, 0)][0];
    assert_eq!(level(&graph), 2);
    let higher = DOCUMENT
        .replace("\"value\": 212", "\"value\": 250")
        .replace("\"off_delay\": \"PT30S\"", "\"off_delay\": \"PT0S\"");
    graph.publish(&higher, 2, 181);
    assert_eq!(level(&graph), 1);
    let closed =
        ": 60000000, raised: 150000000, condition_end: Some(181000000), cleared: Some(181000000) }";
    assert_eq!(occurrences(&graph.said), [closed]);
    graph.feed(&[(0, (200, [Some(200.0), Some(20.0)]))]);
    assert_eq!(level(&graph), 0);
    assert!(graph.said.fleet.values().all(|count| *count == 1), "{:?}", graph.said.fleet);
    // A late point before the new version is processed by the old one.
    graph.feed(&[(0, (130, [Some(209.5), None]))]);
    assert_eq!(occurrences(&graph.said).len(), 0, "{:?}", graph.said.rows);
}

#[test]
fn when_a_version_is_published_does_not_matter() {
    for seed in 0..150 {
        let mut random = Random(seed);
        let mut borders: Vec<(usize, i64)> =
            (0..3).map(|i| (i, random.below(650) as i64)).collect();
        if random.below(2) == 0 {
            borders.sort_by_key(|(_, from)| *from);
            borders.iter_mut().enumerate().for_each(|(i, border)| border.0 = i);
        }
        let mut truth: BTreeMap<(u32, i64), [Option<f64>; 2]> = BTreeMap::new();
        let mut arrivals = Vec::new();
        for _ in 0..100 {
            let (asset, time) = (random.below(3) as u32, random.below(600) as i64);
            let mut value =
                |least: f64| (random.below(3) > 0).then(|| least + random.below(100) as f64 / 10.0);
            let values = [value(205.0), value(8.0)];
            arrivals.push((asset, (time, values)));
            let row = truth.entry((asset, time)).or_default();
            (0..2).for_each(|slot| row[slot] = values[slot].or(row[slot]));
        }
        let versions = versions();
        let mut ordered = Graph::new(DOCUMENT);
        for (i, from) in &borders {
            ordered.publish(&versions[*i], *i as u32 + 2, *from);
        }
        let mut rows: Vec<(u32, Row)> = truth.into_iter().map(|((a, t), v)| (a, (t, v))).collect();
        rows.sort_by_key(|(_, (time, _))| *time);
        rows.iter().for_each(|row| drop(ordered.feed(std::slice::from_ref(row))));
        ordered.tick(900);

        let mut shuffled = Graph::new(DOCUMENT);
        let mut moments: Vec<usize> = (0..3).map(|_| random.below(20) as usize).collect();
        moments.sort_unstable();
        let (mut next, mut rest) = (0, arrivals);
        let (mut archive, patience) = (Archive::default(), 1 + random.below(8));
        for moment in 0.. {
            while next < 3 && moments[next] <= moment {
                let (i, from) = borders[next];
                let changes = shuffled.announce(&versions[i], i as u32 + 2, from);
                archive.take(&changes, &shuffled);
                next += 1;
            }
            if rest.is_empty() && next == 3 {
                break;
            }
            let take = (1 + random.below(9) as usize).min(rest.len());
            let batch: Vec<_> = rest.drain(..take).collect();
            let changes = shuffled.feed(&batch);
            archive.take(&changes, &shuffled);
            shuffled.tick(random.below(600) as i64);
            if random.below(patience) == 0 {
                archive.answer(&mut shuffled);
            }
        }
        while !archive.wanted.is_empty() {
            archive.answer(&mut shuffled);
        }
        shuffled.tick(900);
        let (ordered, shuffled) =
            (ordered.said.without_revisions(), shuffled.said.without_revisions());
        same(&ordered, &shuffled, &format!("seed {seed}, versions from {borders:?}"));
    }
}

#[test]
fn what_is_pending_happens_when_time_passes() {
    let mut graph = Graph::new(DOCUMENT);
    graph.feed(&[(0, (0, [Some(213.0), Some(10.0)]))]);
    let level = |graph: &Graph| graph.said.tables[&(Table::Thresholds, 0, 0)][0];
    let dry = |graph: &Graph| graph.said.rows.keys().filter(|row| row.contains("pump.dry")).count();
    graph.tick(59);
    assert_eq!((level(&graph), dry(&graph)), (1, 0));
    graph.tick(60);
    assert_eq!((level(&graph), dry(&graph)), (1, 1));
    graph.tick(90);
    assert_eq!((level(&graph), dry(&graph)), (2, 1));
    // What comes later tells another story.
    graph.feed(&[(0, (30, [Some(200.0), Some(20.0)]))]);
    assert_eq!((level(&graph), dry(&graph)), (0, 0));
    assert_eq!(occurrences(&graph.said), [""; 0]);
}

#[test]
fn a_late_row_is_told_of_by_an_event_that_waited_behind_it() {
    let says = r#""event_type": "pump.dry", "message": "{{metrics.temp|1}}""#;
    let document = DOCUMENT.replace(r#""event_type": "pump.dry""#, says);
    for by_time in [false, true] {
        let mut graph = Graph::new(&document);
        graph.feed(&[(0, (0, [Some(200.0), Some(10.0)]))]);
        if by_time {
            graph.tick(60);
        }
        graph.feed(&[(0, (70, [Some(201.0), None]))]);
        graph.feed(&[(0, (50, [Some(205.0), None]))]);
        let dry = graph.said.rows.keys().filter(|row| row.contains("pump.dry"));
        let dry: Vec<_> = dry.collect();
        assert!(dry.len() == 1 && dry[0].contains("\"205.0\""), "by time {by_time}: {dry:?}");
    }
}

#[test]
fn a_late_point_is_what_the_version_of_its_time_has_its_metric_as() {
    let whole = DOCUMENT.replace(r#""flow": {}"#, r#""flow": {"type": "integer"}"#);
    let mut graph = Graph::new(&whole);
    graph.feed(&[(0, (0, [Some(200.0), None]))]);
    graph.feed(&[(0, (100, [Some(200.0), None]))]);
    graph.publish(DOCUMENT, 2, 200);
    graph.feed(&[(0, (210, [Some(200.0), None]))]);
    graph.feed(&[(0, (20, [None, Some(9.0)]))]);
    let dry = |row: &&String| row.contains("pump.dry") && row.contains("event_time: 80000000");
    assert_eq!(graph.said.rows.keys().filter(dry).count(), 1, "{:?}", graph.said.rows);
}

#[test]
fn a_version_that_waits_longer_makes_windows_provisional_again() {
    let mut graph = Graph::new(DOCUMENT);
    graph.feed(&[(0, (0, [Some(200.0), None])), (0, (61, [Some(200.0), None]))]);
    let status = |graph: &Graph| graph.said.tables[&(Table::Rollups(Window::Minute), 0, 0)][0];
    assert_eq!(status(&graph), 1);
    graph.publish(&DOCUMENT.replace("PT0S", "PT2M"), 2, 62);
    assert_eq!(status(&graph), 0);
    graph.feed(&[(0, (180, [Some(200.0), None]))]);
    assert_eq!(status(&graph), 1);
}

#[test]
fn a_removed_asset_leaves_the_fleet_and_may_begin_anew() {
    let mut graph = Graph::new(DOCUMENT);
    graph.feed(&[(0, (0, [Some(213.0), Some(10.0)])), (1, (0, [Some(213.0), Some(10.0)]))]);
    let mut changes = Changes::default();
    graph.state.remove(0, &graph.names, &mut changes);
    graph.said.fold(&changes);
    assert!(graph.said.fleet.keys().all(|place| place.contains(", 1")), "{:?}", graph.said.fleet);
    graph.tick(500);
    graph.feed(&[(0, (10, [Some(1.0), None]))]);
    assert_eq!(graph.said.tables[&(Table::Latest, 0, 0)][..2], [1f64.to_bits(), 10_000_000]);
}

#[test]
fn the_place_of_a_removed_asset_is_taken_by_the_next_one() {
    let row = (0, [Some(213.0), Some(10.0)]);
    let (mut graph, mut other) = (Graph::new(DOCUMENT), Graph::new(DOCUMENT));
    let remove = |graph: &mut Graph| {
        let mut changes = Changes::default();
        graph.state.save_touched(&[0]);
        graph.state.remove(0, &graph.names, &mut changes);
        graph.said.fold(&changes);
    };
    let saved = |graph: &mut Graph| {
        let mut ids = Vec::new();
        while let Some(id) = graph.state.save_next(&mut Vec::new()) {
            ids.push(id);
        }
        ids
    };
    graph.feed(&[(0, row), (1, row)]);
    // A save that is under way has both of them, one that begins now the other one.
    graph.state.begin_save();
    remove(&mut graph);
    assert_eq!(saved(&mut graph), [0, 1]);
    graph.state.begin_save();
    assert_eq!(saved(&mut graph), [1]);
    graph.publish(&DOCUMENT.replace("\"value\": 212", "\"value\": 211"), 2, 5);
    graph.feed(&[(2, (10, row.1))]);
    graph.state.begin_save();
    assert_eq!(saved(&mut graph), [2, 1]);
    // What is said of the new one is what is said of it in a plant that never had the old one.
    other.feed(&[(1, row)]);
    other.publish(&DOCUMENT.replace("\"value\": 212", "\"value\": 211"), 2, 5);
    other.feed(&[(2, (10, row.1))]);
    for graph in [&mut graph, &mut other] {
        graph.tick(500);
    }
    let of = |graph: &Graph, asset| -> Vec<(Table, i64, Vec<u64>)> {
        let rows = graph.said.tables.iter().filter(|((_, id, _), _)| *id == asset);
        rows.map(|((table, _, start), words)| (*table, *start, words.clone())).collect()
    };
    for asset in [1, 2] {
        assert_eq!(of(&graph, asset), of(&other, asset));
    }
}

#[test]
fn what_assets_take_is_measured_in_parts_and_goes_with_them() {
    let mut graph = Graph::new(DOCUMENT);
    (0..500).for_each(|id| graph.names.insert(id, format!("pump-{id}").into()));
    let measured = |graph: &Graph, most: usize| {
        let (mut held, mut next) = (Held::default(), Some(0));
        while let Some(from) = next {
            next = graph.state.measure(from, most, &mut held);
        }
        held
    };
    let empty = measured(&graph, 1);
    assert_eq!((empty.series, empty.rules, empty.windows), (0, 0, 0));
    let tick = |graph: &mut Graph, times: std::ops::Range<i64>| {
        for time in times {
            let temp = 205.0 + (time % 10) as f64;
            let rows = (0..500).map(|id| (id, (time * 30, [Some(temp), Some(17.0)])));
            graph.feed(&rows.collect::<Vec<_>>());
        }
    };
    tick(&mut graph, 0..2);
    let few = measured(&graph, 7);
    assert_eq!(few, measured(&graph, usize::MAX / 2), "however many at once");
    assert!(few.series > 0 && few.rules > 0 && few.windows > 0 && few.rows > 0, "{few:?}");
    tick(&mut graph, 2..100);
    let many = measured(&graph, 100);
    // An hour of rows is kept, of 8 words at the least.
    assert!(many.series >= 500 * 100 * 64 && many.rules > few.rules, "{few:?} {many:?}");
    let mut changes = Changes::default();
    (0..500).for_each(|id| graph.state.remove(id, &graph.names, &mut changes));
    let gone = measured(&graph, 100);
    assert!(gone.total() * 10 < many.total(), "{many:?} {gone:?}");
    tick(&mut graph, 0..100);
    let again = measured(&graph, 100);
    assert!(again.total() < many.total() / 10 * 11, "places are used again: {many:?} {again:?}");
}

#[test]
fn a_state_that_is_saved_while_rows_come_is_that_of_one_moment() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let short = DOCUMENT.replace("\"PT1H\"", ["\"PT1H\"", "\"PT2M\""][seed as usize % 2]);
        let mut graph = Graph::new(&short);
        let mut now = 0;
        let mut some = || -> Vec<(u32, Row)> {
            let count = 1 + random.below(3);
            let row = |_| {
                now += random.below(30) as i64;
                let time = if random.below(5) == 0 { now - random.below(90) as i64 } else { now };
                let temp = (random.below(4) > 0).then(|| 205.0 + random.below(100) as f64 / 10.0);
                // Nothing flows from time to time: an expression fails.
                let flow = [0.0, 8.0, 17.0, 23.5][random.below(4) as usize];
                (random.below(4) as u32, (time, [temp, Some(flow).filter(|_| now % 3 > 0)]))
            };
            (0..count).map(row).collect()
        };
        let newest = |input: &[(u32, Row)]| input.iter().map(|(_, row)| row.0).max().unwrap_or(0);
        let versions =
            [213, 211].map(|limit| short.replace("\"value\": 212", &format!("\"value\": {limit}")));
        for i in 0..100 {
            let input = some();
            graph.feed(&input);
            graph.tick(newest(&input) - 5);
            if i == 90 && seed % 3 > 0 {
                graph.publish(&versions[0], 2, newest(&input) - 20);
            }
        }
        let said = graph.said.clone();
        let mut head = Vec::new();
        graph.state.save_head(&mut head);
        let eras: Eras = graph.state.eras().iter().map(|(n, era)| (*n, read_back(era))).collect();
        let (mut pieces, mut later) = (Vec::new(), Vec::new());
        graph.state.begin_save();
        let mut places = Changes::default();
        graph.state.announce(&graph.names, &mut places);
        for i in 0..60 {
            // One asset is saved in its turn, others before they change, the last at the end.
            let input = some();
            let ids: Vec<u32> = input.iter().map(|(asset, _)| *asset).collect();
            match i {
                30 => graph.state.save_rest(),
                _ => graph.state.save_touched(&ids),
            }
            graph.feed(&input);
            graph.tick(newest(&input));
            if i == 40 && seed % 3 > 1 {
                graph.state.save_rest();
                graph.publish(&versions[1], 3, newest(&input) - 30);
            }
            later.push(input);
            if i % 20 == 10 {
                let mut bytes = Vec::new();
                pieces.extend(graph.state.save_next(&mut bytes).map(|asset| (asset, bytes)));
            }
        }
        loop {
            let mut bytes = Vec::new();
            let Some(asset) = graph.state.save_next(&mut bytes) else { break };
            pieces.push((asset, bytes));
        }
        let mut ids: Vec<u32> = pieces.iter().map(|(asset, _)| *asset).collect();
        ids.sort();
        assert_eq!(ids, [0, 1, 2, 3], "seed {seed}");

        let mut again = Graph::new(&short);
        again.state = TypeState::read_head(&head, &eras).unwrap();
        // The order of the assets does not matter.
        pieces.iter().for_each(|(_, bytes)| again.state.restore(bytes, &eras).unwrap());
        let mut told = Changes::default();
        again.state.announce(&again.names, &mut told);
        for changes in [&mut told, &mut places] {
            changes.health.sort();
            changes.thresholds.sort();
        }
        assert!(!told.health.is_empty() && !told.thresholds.is_empty(), "seed {seed}");
        assert_eq!((told.health, told.thresholds), (places.health, places.thresholds));
        again.said = said;
        for (i, input) in later.iter().enumerate() {
            again.feed(input);
            again.tick(newest(input));
            if i == 40 && seed % 3 > 1 {
                again.publish(&versions[1], 3, newest(input) - 30);
            }
        }
        same(&again.said, &graph.said, &format!("seed {seed}"));
    }
}

/// An era as it comes out of a checkpoint.
fn read_back(era: &Era) -> Arc<Era> {
    let mut bytes = Vec::new();
    era.save(&mut bytes);
    Era::read(&bytes).unwrap()
}

#[test]
fn a_plan_that_lays_out_its_rows_in_another_way_is_refused() {
    let graph = Graph::new(DOCUMENT);
    let mut bytes = Vec::new();
    graph.state.eras()[&1].save(&mut bytes);
    assert!(Era::read(&bytes).is_ok());
    let name = bytes.windows(6).position(|six| six == b"\"flow\"").unwrap();
    // One metric less than when it was saved.
    bytes[name + 1..name + 5].copy_from_slice(b"temp");
    assert!(Era::read(&bytes).is_err());
}
