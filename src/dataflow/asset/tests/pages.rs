//! Points behind the hot horizon: with the archive's help nothing is too late.

use super::*;
use crate::model::{
    Action, Corrected, Edit, EditRow, PagePoints, PageRequest, Quality, Timestamp, Value,
};

/// What an archive holds: by asset, metric and event time the newest value and quality.
#[derive(Default)]
pub struct Archive {
    points: BTreeMap<(u32, String, i64), (f64, u32)>,
    pub wanted: BTreeMap<u32, PageRequest>,
    /// What became of edits.
    edits: Vec<EditRow>,
}

impl Archive {
    pub fn take(&mut self, changes: &Changes, graph: &Graph) {
        for change in &changes.list {
            match change {
                Change::Telemetry(rows) => {
                    for i in 0..rows.len() {
                        for slot in (0..rows.slots).filter(|slot| rows.fresh(i)[0] >> slot & 1 == 1)
                        {
                            let key = (rows.assets[i], graph.metrics[slot].clone(), rows.times[i]);
                            let value = f64::from_bits(rows.words(i)[slot]);
                            self.points.insert(key, (value, rows.quality(i)[slot]));
                        }
                    }
                }
                Change::Wanted(requests) => {
                    self.wanted
                        .extend(requests.iter().map(|wanted| (wanted.asset, wanted.clone())));
                }
                Change::Deleted(keys) => {
                    for (_, asset, slot, time) in keys {
                        let metric = graph.metrics[*slot as usize].clone();
                        self.points.remove(&(*asset, metric, *time));
                    }
                }
                Change::Edits(rows) => self.edits.extend(rows.iter().cloned()),
                Change::Paged(assets) => self.wanted.retain(|asset, _| !assets.contains(asset)),
                _ => {}
            }
        }
    }

    /// The answer to a request.
    fn page(&self, request: &PageRequest) -> Page {
        let mut points = PagePoints::default();
        for ((asset, metric, time), (value, quality)) in &self.points {
            if *asset != request.asset || !(request.from..=request.to).contains(time) {
                continue;
            }
            let known = points.names.iter().position(|name| **name == **metric);
            points.metrics.push(known.unwrap_or(points.names.len()) as u32);
            if known.is_none() {
                points.names.push(metric.as_str().into());
            }
            points.times.push(*time);
            points.values.push(*value);
            points.quality.push(*quality);
        }
        let content = PageContent::Points(Arc::new(points));
        Page { request: request.clone(), after: Default::default(), content }
    }

    /// Answers one request, if there is any.
    pub fn answer(&mut self, graph: &mut Graph) {
        let Some(page) = self.wanted.values().next().map(|wanted| self.page(wanted)) else {
            return;
        };
        let mut changes = Changes::default();
        graph.state.page(&page, &graph.names, &mut changes);
        graph.said.fold(&changes);
        self.take(&changes, graph);
    }
}

/// The graph as it comes out of a checkpoint.
fn restart(graph: &mut Graph, document: &str) -> Changes {
    let (mut head, mut assets) = (Vec::new(), Vec::new());
    graph.state.save_head(&mut head);
    let eras: Eras = graph.state.eras().iter().map(|(n, era)| (*n, read_back(era))).collect();
    graph.state.begin_save();
    loop {
        let mut bytes = Vec::new();
        if graph.state.save_next(&mut bytes).is_none() {
            break;
        }
        assets.push(bytes);
    }
    let mut again = Graph::new(document);
    again.state = TypeState::read_head(&head, &eras).unwrap();
    assets.iter().for_each(|bytes| again.state.restore(bytes, &eras).unwrap());
    graph.state = again.state;
    let mut told = Changes::default();
    graph.state.announce(&graph.names, &mut told);
    told
}

#[test]
fn points_of_any_age_end_in_what_points_in_order_give() {
    const DAY: i64 = 86_400;
    let only = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..30, |seed: u64| seed..seed + 1) {
        let mut random = Random(seed);
        let horizon = ["PT30S", "PT10M", "PT3H"][random.below(3) as usize];
        let (whole, short) =
            (DOCUMENT.replace("PT1H", "P3650D"), DOCUMENT.replace("PT1H", horizon));
        let last = [3_600, DAY, 5 * DAY, 40 * DAY][random.below(4) as usize];
        let mut truth: BTreeMap<(i64, u32), [Option<f64>; 2]> = BTreeMap::new();
        let mut arrivals: Vec<(i64, (u32, Row))> = Vec::new();
        let oldest = [last / 20, last, 2 * last][random.below(3) as usize];
        let mut begin = 0;
        for i in 0..300 {
            let asset = random.below(3) as u32;
            // Now and then some rows stand close together.
            if i % 10 == 0 {
                begin = random.below(last as u64) as i64;
            }
            let spread = if seed % 2 == 0 { last } else { 400 };
            let time = (begin + random.below(spread as u64) as i64) % last;
            let mut value =
                |least: f64| (random.below(3) > 0).then(|| least + random.below(100) as f64 / 10.0);
            let values = [value(205.0), value(8.0)];
            let late = if random.below(4) == 0 { random.below(oldest as u64) as i64 } else { 0 };
            arrivals.push((time + late, (asset, (time, values))));
            if random.below(10) == 0 {
                let again = time + late + random.below(oldest as u64) as i64;
                arrivals.push((again, (asset, (time, values))));
            }
        }
        arrivals.sort_by_key(|(at, _)| *at);
        for (_, (asset, (time, values))) in &arrivals {
            let row = truth.entry((*time, *asset)).or_default();
            (0..2).for_each(|slot| row[slot] = values[slot].or(row[slot]));
        }
        let mut ordered = Graph::new(&whole);
        let versions = versions();
        // A version that holds from a time on that nothing had reached when it was published, or
        // from some time before.
        let publish = (random.below(2) == 0).then(|| random.below(arrivals.len() as u64) as usize);
        let newest = |rest: &[(i64, (u32, Row))]| rest.iter().map(|(_, (_, row))| row.0).max();
        let border = publish.map(|at| newest(&arrivals[..at]).map_or(0, |time| time + 1));
        let since = random.below(2) == 0;
        let border = border.map(|at| if since { random.below(at as u64 + 1) as i64 } else { at });
        let at = random.below(3) as usize;
        let published = |horizon: &str| versions[at].replace("PT1H", horizon);
        if let Some(border) = border {
            ordered.publish(&published("P3650D"), 2, border);
        }
        for ((time, asset), values) in truth {
            ordered.feed(&[(asset, (time, values))]);
        }
        let (mut shuffled, mut archive) = (Graph::new(&short), Archive::default());
        let mut rest: Vec<(u32, Row)> = arrivals.into_iter().map(|(_, row)| row).collect();
        let (mut done, patience) = (0, 1 + random.below(6));
        while !rest.is_empty() {
            if let Some((_, border)) = publish.zip(border).filter(|(at, _)| *at == done) {
                let changes = shuffled.announce(&published(horizon), 2, border);
                archive.take(&changes, &shuffled);
            }
            let most = publish.filter(|at| *at > done).map_or(rest.len(), |at| at - done);
            let take = (1 + random.below(9) as usize).min(rest.len()).min(most);
            let batch: Vec<_> = rest.drain(..take).collect();
            done += take;
            let changes = shuffled.feed(&batch);
            archive.take(&changes, &shuffled);
            if random.below(patience) == 0 {
                archive.answer(&mut shuffled);
            }
            if random.below(40) == 0 {
                archive.wanted.clear();
                let told = restart(&mut shuffled, &short);
                archive.take(&told, &shuffled);
            }
        }
        while !archive.wanted.is_empty() {
            archive.answer(&mut shuffled);
        }
        for graph in [&mut ordered, &mut shuffled] {
            graph.tick(50 * DAY);
        }
        let (ordered, shuffled) =
            (ordered.said.without_revisions(), shuffled.said.without_revisions());
        same(&ordered, &shuffled, &format!("seed {seed}, {horizon}, {last} s, version {border:?}"));
    }
}

#[test]
fn a_page_that_nobody_waits_for_changes_nothing() {
    let mut graph = Graph::new(&DOCUMENT.replace("PT1H", "PT30S"));
    let mut archive = Archive::default();
    for time in 0..100 {
        let changes = graph.feed(&[(0, (time * 10, [Some(208.0), Some(10.0)]))]);
        archive.take(&changes, &graph);
    }
    assert!(archive.wanted.is_empty());
    let changes = graph.feed(&[(0, (65, [Some(240.0), None]))]);
    assert!(matches!(changes.list[..], [Change::Wanted(_)]), "{changes:?}");
    archive.take(&changes, &graph);
    let page = archive.page(&archive.wanted[&0]);
    let mut other = page.clone();
    other.request.to += 1;
    let said = graph.said.clone();
    for (page, changes_something) in [(other, false), (page.clone(), true), (page, false)] {
        let (mut changes, before) = (Changes::default(), graph.said.clone());
        graph.state.page(&page, &graph.names, &mut changes);
        graph.said.fold(&changes);
        assert_eq!(graph.said != before, changes_something, "{page:?}");
    }
    assert_ne!(graph.said, said);
    let tables = graph.said.tables.keys().filter(|(table, ..)| matches!(table, Table::Rollups(_)));
    let revised = |key: &&(Table, u32, i64)| graph.said.tables[key][0] == 2;
    assert_eq!(tables.filter(revised).count(), 2, "the minute and the five minutes");
}

#[test]
fn edits_of_any_age_leave_what_points_in_order_give() {
    const HOUR: i64 = 3_600;
    let (mut waited, mut at_once) = (0, 0);
    for seed in 0..20 {
        let mut random = Random(seed);
        let whole = DOCUMENT.replace("PT1H", "P3650D");
        let mut graph = Graph::new(&DOCUMENT.replace("PT1H", "PT20M"));
        let mut archive = Archive::default();
        let mut left: BTreeMap<(i64, u32, usize), f64> = BTreeMap::new();
        for step in 0..120 {
            let now = step * HOUR / 2;
            let asset = random.below(2) as u32;
            for i in 0..4 {
                let old = random.below(8) == 0;
                let back = if old { random.below(now as u64 + 1) as i64 } else { 0 };
                let time = now - back + i * 60;
                let (slot, value) = (random.below(2) as usize, random.below(100) as f64 / 10.0);
                let mut values = [None, None];
                values[slot] = Some([205.0, 8.0][slot] + value);
                let changes = graph.feed(&[(asset, (time, values))]);
                archive.take(&changes, &graph);
                left.insert((time, asset, slot), [205.0, 8.0][slot] + value);
            }
            if random.below(3) == 0 {
                let from = (now - random.below(now as u64 + 1) as i64) / 60 * 60;
                let to = from + 1 + random.below(4 * HOUR as u64) as i64;
                let (slot, micros) = (random.below(2) as usize, |s: i64| Timestamp(s * 1_000_000));
                let metric: Arc<str> = ["temp", "flow"][slot].into();
                // What is corrected is there.
                let known = left.range((from, asset, slot)..(to, 0, 0));
                let known = known.map(|(key, _)| *key).find(|key| (key.1, key.2) == (asset, slot));
                let action = match known.filter(|_| random.below(2) == 0) {
                    Some(key) => {
                        left.insert(key, 210.5);
                        let (event_time, value) = (micros(key.0), Value::Double(210.5));
                        let quality = Quality::GOOD;
                        let point = Corrected { metric, event_time, value, quality, device: 0 };
                        Action::Correct { points: vec![point] }
                    }
                    None => {
                        left.retain(|(time, of, at), _| {
                            !((*of, *at) == (asset, slot) && (from..to).contains(time))
                        });
                        Action::Delete { metrics: vec![metric], from: micros(from), to: micros(to) }
                    }
                };
                let edit = Edit {
                    id: format!("{seed}-{step}").into(),
                    received_at: micros(now),
                    asset,
                    asset_type: TypeId(3),
                    key: "pump".into(),
                    reason: "a test".into(),
                    user: None,
                    action,
                };
                let mut changes = Changes::default();
                let outcome = graph.state.edit(&edit, &graph.names, &mut changes);
                graph.said.fold(&changes);
                archive.take(&changes, &graph);
                match outcome {
                    Some(outcome) => at_once += i32::from(outcome.is_ok()),
                    None => waited += 1,
                }
            }
            if random.below(3) == 0 {
                archive.answer(&mut graph);
            }
            if random.below(30) == 0 {
                archive.wanted.clear();
                let told = restart(&mut graph, &whole);
                archive.take(&told, &graph);
            }
        }
        while !archive.wanted.is_empty() {
            archive.answer(&mut graph);
        }
        assert!(archive.edits.iter().all(|row| row.refused.is_none()), "{:?}", archive.edits);
        let mut ordered = Graph::new(&whole);
        for ((time, asset, slot), value) in left {
            let mut values = [None, None];
            values[slot] = Some(value);
            ordered.feed(&[(asset, (time, values))]);
        }
        for graph in [&mut ordered, &mut graph] {
            graph.tick(100 * HOUR);
        }
        let (ordered, graph) = (ordered.said.without_revisions(), graph.said.without_revisions());
        same(&ordered, &graph, &format!("seed {seed}"));
    }
    assert!(waited > 100 && at_once > 10, "{waited} {at_once}");
}

#[test]
fn rows_behind_an_edit_that_waits_are_not_touched_by_it() {
    let mut graph = Graph::new(&DOCUMENT.replace("PT1H", "PT30S"));
    let mut archive = Archive::default();
    let row = |time: i64| [(0, (time, [Some(208.0), Some(10.0)]))];
    for time in 0..100 {
        let changes = graph.feed(&row(time * 10));
        archive.take(&changes, &graph);
    }
    let micros = |second: i64| Timestamp(second * 1_000_000);
    let metrics: Vec<Arc<str>> = vec!["temp".into(), "flow".into()];
    let edit = Edit {
        id: "edit".into(),
        received_at: micros(1_000),
        asset: 0,
        asset_type: TypeId(3),
        key: "pump-0".into(),
        reason: "a test".into(),
        user: None,
        action: Action::Delete { metrics, from: micros(65), to: micros(5_000) },
    };
    let mut changes = Changes::default();
    assert!(graph.state.edit(&edit, &graph.names, &mut changes).is_none());
    archive.take(&changes, &graph);
    // Sent again, and more.
    for time in [990, 1_000, 1_010] {
        let changes = graph.feed(&row(time));
        archive.take(&changes, &graph);
    }
    archive.answer(&mut graph);
    assert!(archive.wanted.is_empty());
    let mut ordered = Graph::new(&DOCUMENT.replace("PT1H", "P3650D"));
    for time in [0, 10, 20, 30, 40, 50, 60, 990, 1_000, 1_010] {
        ordered.feed(&row(time));
    }
    for graph in [&mut ordered, &mut graph] {
        graph.tick(2_000);
    }
    let (ordered, graph) = (ordered.said.without_revisions(), graph.said.without_revisions());
    same(&ordered, &graph, "rows behind an edit");
}
