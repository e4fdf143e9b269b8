//! A state that is saved while frames come, and an engine that starts from it.

use super::support::{Plant, consolidated};
use super::*;
use crate::model::{Document, Frame};
use serde_json::json;
use std::collections::BTreeMap;

/// Frames of a plant whose asset types have rules over their first metric.
fn frames(seed: u64, count: usize) -> Vec<Frame> {
    let mut plant = Plant::new(seed);
    let mut frames: Vec<Frame> = (0..count).map(|_| plant.frame()).collect();
    for document in frames.iter_mut().flat_map(|frame| &mut frame.documents) {
        if document.kind == Kind::AssetTypes {
            let body = document.body.as_deref().unwrap();
            let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
            let metric = body["metric_definitions"].as_object().unwrap().keys().next().unwrap();
            let limit = if metric == "p" { 4_000 } else { 4 };
            let level = json!({"op": "gt", "value": limit, "on_delay": "PT1S"});
            let levels = json!({"warning": level, "critical": {"op": "gt", "value": 2 * limit}});
            let rule = json!({"id": "low", "when": format!("{metric} < {limit}"), "deduct": 40});
            body["threshold_rules"] = json!([{"id": "high", "metric": metric, "levels": levels}]);
            body["health_algorithm"] = json!({"type": "weighted_deductions", "rules": [rule]});
            document.body = Some(body.to_string().into());
        }
    }
    frames
}

/// All outputs, and the state after one of the frames when one is named.
fn run(
    workers: usize,
    from: Option<Saved>,
    frames: &[Frame],
    mark: Option<usize>,
) -> (Vec<Output>, Vec<u8>) {
    let (frames_tx, frames_rx) = crossbeam_channel::bounded(4);
    let (outputs_tx, outputs_rx) = crossbeam_channel::bounded(16);
    let (pieces_tx, pieces_rx) = crossbeam_channel::unbounded();
    let checkpoints = Checkpoints { from, pieces: Some(pieces_tx) };
    let engine = Engine::start_from(workers, frames_rx, outputs_tx, checkpoints).unwrap();
    let marker = engine.marker();
    let (outputs, pieces) = std::thread::scope(|scope| {
        let pieces = scope.spawn(move || {
            let mut bytes = Vec::new();
            for _ in 0..if mark.is_some() { workers } else { 0 } {
                loop {
                    let piece: Piece = pieces_rx.recv().unwrap();
                    bytes.extend(piece.bytes);
                    if piece.last {
                        break;
                    }
                }
            }
            assert!(pieces_rx.try_recv().is_err());
            bytes
        });
        scope.spawn(move || {
            for (i, frame) in frames.iter().enumerate() {
                if mark == Some(i) {
                    marker.at(frame.epoch);
                }
                frames_tx.send(frame.clone()).unwrap();
            }
        });
        let outputs: Vec<Output> = outputs_rx.iter().collect();
        (outputs, pieces.join().unwrap())
    });
    engine.join().unwrap();
    (outputs, pieces)
}

/// The frame that tells an engine of the documents that are current.
fn first(frames: &[Frame]) -> Frame {
    let mut current: BTreeMap<(Kind, String), Document> = BTreeMap::new();
    for document in frames.iter().flat_map(|frame| &frame.documents) {
        let key = (document.kind, document.key.to_string());
        match document.body {
            Some(_) => drop(current.insert(key, document.clone())),
            None => drop(current.remove(&key)),
        }
    }
    let mut first = frame(frames.last().unwrap().epoch.0);
    first.documents = current.into_values().collect();
    first
}

#[test]
fn a_saved_state_goes_on_with_any_number_of_workers() {
    for (seed, before, after) in [(31, 1, 1), (32, 1, 3), (33, 3, 2), (34, 2, 4), (35, 2, 1)] {
        let frames = frames(seed, 90);
        let cut = 30 + seed as usize % 30;
        let (whole, state) = run(before, None, &frames, Some(cut));
        let epoch = frames[cut].epoch;
        let saved = Saved::read(epoch, &state, Place::alone(after)).unwrap();
        let mut rest = vec![first(&frames[..=cut])];
        rest.extend_from_slice(&frames[cut + 1..]);
        let (found, _) = run(after, Some(saved), &rest, None);
        let (mut whole, mut found) = (consolidated(&whole), consolidated(&found));
        let fleet = found[&epoch.0].keys().filter(|key| key.starts_with("health")).count();
        assert!(fleet > 0, "seed {seed}: no fleet at the start");
        whole.retain(|at, _| *at > epoch.0);
        found.retain(|at, _| *at > epoch.0);
        assert!(whole.len() > 10, "seed {seed}");
        for (at, said) in &whole {
            assert_eq!(Some(said), found.get(at), "seed {seed}, epoch {at} after {epoch}");
        }
        assert_eq!(whole.len(), found.len(), "seed {seed}");
    }
}

#[test]
fn damaged_states_are_refused() {
    let (_, state) = run(2, None, &frames(9, 40), Some(39));
    let read = |bytes: &[u8]| Saved::read(Epoch(1), bytes, Place::alone(2)).map(drop);
    read(&state).unwrap();
    for length in [1, 23, 24, 25, state.len() / 2, state.len() - 1] {
        // A border between records is none that can be told.
        let cut = read(&state[..length]);
        assert!(matches!(cut, Err(Error::Saved { .. })), "{length} of {}", state.len());
    }
    let mut other = state.clone();
    other[0] = 9;
    assert!(matches!(read(&other), Err(Error::Saved { .. })));
    let saved = Saved::read(Epoch(1), &state, Place::alone(2)).unwrap();
    let (outputs, _) = crossbeam_channel::unbounded();
    let checkpoints = Checkpoints { from: Some(saved), pieces: None };
    let started = Engine::start_from(3, crossbeam_channel::never(), outputs, checkpoints);
    assert_eq!(started.err(), Some(Error::Shares { workers: 3, shares: 2 }));
}

#[test]
fn a_state_that_nobody_takes_costs_nothing() {
    let (frames_tx, frames_rx) = crossbeam_channel::unbounded();
    let (outputs_tx, outputs_rx) = crossbeam_channel::unbounded();
    let engine = Engine::start(2, frames_rx, outputs_tx).unwrap();
    let all = frames(5, 20);
    engine.marker().at(all[10].epoch);
    all.iter().for_each(|frame| frames_tx.send(frame.clone()).unwrap());
    drop(frames_tx);
    assert!(outputs_rx.iter().count() > 0);
    engine.join().unwrap();
}
