//! The oracle of deletions is the fold over the points that are left.

use super::*;
use crate::model::{Corrected, Quality, Timestamp, Value};

/// The points that are left: by asset, second and slot.
type Left = BTreeMap<(u32, i64, usize), f64>;

const METRICS: [&str; 2] = ["temp", "flow"];

/// A graph that has been fed these points only, in event-time order.
fn fold(left: &Left, document: &str) -> Graph {
    let mut rows: BTreeMap<(i64, u32), [Option<f64>; 2]> = BTreeMap::new();
    for ((asset, time, slot), value) in left {
        rows.entry((*time, *asset)).or_default()[*slot] = Some(*value);
    }
    let mut graph = Graph::new(document);
    for ((time, asset), values) in rows {
        graph.feed(&[(asset, (time, values))]);
    }
    graph
}

fn random_rows(random: &mut Random, around: i64) -> Vec<(u32, Row)> {
    let mut rows = Vec::new();
    for _ in 0..random.below(9) {
        let (asset, time) = (random.below(3) as u32, around + random.below(120) as i64 - 60);
        let mut values = [None, None];
        for (slot, value) in values.iter_mut().enumerate() {
            if random.below(3) > 0 {
                let base = if slot == 0 { 205.0 } else { 8.0 };
                *value = Some(base + random.below(100) as f64 / 10.0);
            }
        }
        rows.push((asset, (time.max(0), values)));
    }
    rows
}

/// Deletes something; the points that are left say how much that must be.
fn delete_some(random: &mut Random, graph: &mut Graph, left: &mut Left, newest: i64) {
    let asset = random.below(4) as u32;
    let from = random.below(newest as u64 + 1) as i64;
    let to = match random.below(4) {
        0 => from + 1,
        1 => i64::MAX / 1_000_000,
        _ => from + random.below(200) as i64,
    };
    let from = if random.below(8) == 0 { 0 } else { from };
    let wanted: &[usize] = [&[0][..], &[1], &[0, 1], &[1, 0]][random.below(4) as usize];
    let names: Vec<&str> = wanted.iter().map(|slot| METRICS[*slot]).collect();
    let found = graph.delete(asset, &names, (from, to)).unwrap();
    let mut expected = Vec::new();
    for slot in wanted {
        let before = left.len();
        left.retain(|(a, time, s), _| (*a, *s) != (asset, *slot) || !(from..to).contains(time));
        expected.push((before - left.len()) as u64);
    }
    assert_eq!(found, expected, "asset {asset} {names:?} [{from}, {to})");
}

fn check(graph: &Graph, left: &Left, document: &str, what: &str) {
    let folded = fold(left, document).said.without_revisions();
    same(&graph.said.clone().without_revisions(), &folded, what);
    // Both ways: nothing may be left over either.
    same(&folded, &graph.said.clone().without_revisions(), what);
}

#[test]
fn what_is_left_is_as_if_the_others_had_never_come() {
    for seed in 0..50 {
        let mut random = Random(seed);
        let (mut graph, mut left, mut newest) = (Graph::new(DOCUMENT), Left::new(), 0);
        for step in 0..30 {
            let rows = random_rows(&mut random, step * 20);
            for (asset, (time, values)) in &rows {
                for (slot, value) in values.iter().enumerate() {
                    if let Some(value) = value {
                        left.insert((*asset, *time, slot), *value);
                        newest = newest.max(*time);
                    }
                }
            }
            graph.feed(&rows);
            for _ in 0..random.below(3) {
                delete_some(&mut random, &mut graph, &mut left, newest);
            }
            if step % 6 == 5 {
                check(&graph, &left, DOCUMENT, &format!("seed {seed}, step {step}"));
            }
        }
        for asset in 0..3 {
            graph.delete(asset, &METRICS, (0, 10_000)).unwrap();
        }
        check(&graph, &Left::new(), DOCUMENT, &format!("seed {seed}, all deleted"));
        assert!(graph.said.fleet.is_empty(), "seed {seed}: {:?}", graph.said.fleet);
    }
}

#[test]
fn a_deletion_is_read_back_from_a_checkpoint() {
    let mut graph = Graph::new(DOCUMENT);
    for (time, temp) in SERIES {
        graph.feed(&[(0, (time, [Some(temp), None]))]);
    }
    graph.delete(0, &["temp"], (120, 10_000)).unwrap();
    let mut bytes = Vec::new();
    graph.state.begin_save();
    graph.state.save_next(&mut bytes);
    let mut head = Vec::new();
    graph.state.save_head(&mut head);
    let eras = graph.state.eras();
    let mut restored = TypeState::read_head(&head, &eras).unwrap();
    restored.restore(&bytes, &eras).unwrap();
    graph.state = restored;
    graph.feed(&[(0, (121, [Some(209.0), None]))]);
    let left =
        [(0, 0, 0), (0, 60, 0), (0, 121, 0)].into_iter().zip([208.0, 212.4, 209.0]).collect();
    check(&graph, &left, DOCUMENT, "restored");
}

#[test]
fn deletions_behind_a_horizon_leave_what_was_forgotten() {
    let short = DOCUMENT.replace("\"PT1H\"", "\"PT2M\"");
    for seed in 0..60 {
        let mut random = Random(seed);
        let (mut graph, mut left) = (Graph::new(&short), Left::new());
        for step in 0..60 {
            let time = step * 17;
            let values = [
                Some(205.0 + random.below(100) as f64 / 10.0),
                (random.below(3) > 0).then(|| 8.0 + random.below(80) as f64 / 10.0),
            ];
            graph.feed(&[(0, (time, values))]);
            for (slot, value) in values.iter().enumerate() {
                left.extend(value.map(|value| ((0, time, slot), value)));
            }
            if random.below(4) > 0 {
                continue;
            }
            let from = time - random.below(120) as i64;
            let wanted = random.below(2) as usize;
            let to = from + 1 + random.below(200) as i64;
            if graph.delete(0, &[METRICS[wanted]], (from, to)).is_ok() {
                left.retain(|(_, time, slot), _| *slot != wanted || !(from..to).contains(time));
            }
            check(&graph, &left, DOCUMENT, &format!("seed {seed}, step {step}"));
        }
    }
}

#[test]
fn a_correction_is_a_point_of_a_key_that_is_there() {
    let mut graph = Graph::new(DOCUMENT);
    let mut left = Left::new();
    for (time, temp) in SERIES {
        graph.feed(&[(0, (time, [Some(temp), None]))]);
        left.insert((0, time, 0), temp);
    }
    let point = |time: i64, value: Value| Corrected {
        metric: "temp".into(),
        event_time: Timestamp(time * 1_000_000),
        value,
        quality: Quality::GOOD,
        device: 0,
    };
    let mut correct = |points: &[Corrected]| {
        let mut changes = Changes::default();
        let done = graph.state.correct(0, points, &graph.names, &mut changes);
        graph.said.fold(&changes);
        done
    };
    let (right, absent) = (point(120, Value::Double(209.0)), point(121, Value::Double(1.0)));
    let refused = EditRefusal::NoPoint("temp".into(), 121_000_000);
    assert_eq!(correct(&[right.clone(), absent]), Err(refused));
    assert!(correct(&[point(120, Value::Bool(true))]).is_err());
    assert_eq!(correct(&[right, point(180, Value::Double(212.0))]), Ok(vec![1, 1]));
    left.extend([((0, 120, 0), 209.0), ((0, 180, 0), 212.0)]);
    check(&graph, &left, DOCUMENT, "corrected");
}
