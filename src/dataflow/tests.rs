//! The whole dataflow: frames in, outputs out.

mod checkpoint;
mod support;

use super::*;
use crate::model::{Change, DataType, Epoch, Kind, Outcome, Output, Table, Value};
use std::time::{Duration, Instant};
use support::{Plant, consolidated, points, run};

pub use support::{batch, document, frame};

#[test]
fn any_number_of_workers_says_the_same() {
    for seed in 1..=4_u64 {
        let mut plant = Plant::new(seed);
        let frames: Vec<_> = (0..60).map(|_| plant.frame()).collect();
        let one = run(1, &frames);
        for workers in [2, 3] {
            let more = run(workers, &frames);
            assert_eq!(consolidated(&one), consolidated(&more), "seed {seed}, {workers} workers");
        }
        let expected = plant.expected;
        assert!(expected.len() > 30, "seed {seed} makes too little");
        assert_eq!(points(&one), expected, "seed {seed}");
    }
}

#[test]
fn of_two_points_at_one_time_the_message_that_came_last_counts() {
    let asset_type = r#"{"apiVersion":"assets/v1","kind":"AssetTypeProfile","metadata":{"key":"t"},"metric_definitions":{"x":{}}}"#;
    let device_type = r#"{"apiVersion":"devices/v1","kind":"DeviceTypeProfile","metadata":{"key":"box"},"extraction_rules":[]}"#;
    let mut only = frame(7);
    only.documents = vec![
        document(Kind::AssetTypes, "t", 0, 1, Some(asset_type)),
        document(Kind::DeviceTypes, "box", 0, 1, Some(device_type)),
        document(Kind::Assets, "a", 0, 1, Some(r#"{"key":"a","asset_type":"t"}"#)),
    ];
    for (id, device) in ["d", "e"].into_iter().enumerate() {
        let body = format!(r#"{{"key":"{device}","device_type":"box"}}"#);
        only.documents.push(document(Kind::Devices, device, id as u32, 1, Some(&body)));
        let body = format!(r#"{{"device":"{device}","asset":"a"}}"#);
        let key = format!("{device}->a");
        only.documents.push(document(Kind::Links, &key, id as u32, 1, Some(&body)));
    }
    // Devices of different types have batches of their own, in whatever order.
    let point = |value: f64| [(0, Value::Double(value))];
    only.batches = vec![
        batch(&[("x", DataType::Double)], &[("d", 5, 1, &point(1.0))]),
        batch(&[("x", DataType::Double), ("y", DataType::Bool)], &[("e", 5, 0, &point(2.0))]),
    ];
    for workers in [1, 2] {
        let outputs = run(workers, std::slice::from_ref(&only));
        let latest = outputs.iter().find_map(|output| match output {
            Output::Change(_, Change::Upserts(u)) if u.table == Table::Latest => Some(u.words[0]),
            _ => None,
        });
        assert_eq!(latest.map(f64::from_bits), Some(1.0), "{workers} workers");
    }
}

#[test]
fn no_change_comes_below_a_frontier_that_was_told() {
    for seed in 10..14_u64 {
        let mut plant = Plant::new(seed);
        let frames: Vec<_> = (0..200).map(|_| plant.frame()).collect();
        let outputs = run(2, &frames);
        let mut frontier = Epoch(0);
        for output in &outputs {
            match output {
                Output::Change(epoch, change) => {
                    assert!(*epoch >= frontier, "seed {seed}: {change:?} at {epoch}");
                }
                Output::Frontier(next) => {
                    assert!(*next > frontier, "seed {seed}: {next} after {frontier}");
                    frontier = *next;
                }
            }
        }
        let last = frames.last().unwrap().epoch;
        assert_eq!(frontier, Epoch(last.0 + 1), "seed {seed}");
        assert!(matches!(outputs.last(), Some(Output::Frontier(_))));
    }
}

#[test]
fn an_epoch_without_data_is_complete_at_once() {
    let (frames_tx, frames_rx) = crossbeam_channel::unbounded();
    let (outputs_tx, outputs_rx) = crossbeam_channel::unbounded();
    let engine = Engine::start(2, frames_rx, outputs_tx).unwrap();
    for epoch in [5, 6, 1_000_000] {
        frames_tx.send(frame(epoch)).unwrap();
        let next = || outputs_rx.recv_timeout(Duration::from_secs(20)).unwrap();
        let tick = crate::model::Timestamp(epoch as i64 * 1000);
        assert_eq!(next(), Output::Change(Epoch(epoch), Change::Clock(tick)));
        assert_eq!(next(), Output::Frontier(Epoch(epoch + 1)));
    }
    drop(frames_tx);
    engine.join().unwrap();
    assert!(outputs_rx.recv().is_err(), "the channel closes with the engine");
}

#[test]
fn documents_and_dead_letters_come_out_at_their_epoch() {
    let broken = document(Kind::Assets, "a", 0, 1, Some("{}"));
    let mended = document(Kind::Assets, "a", 0, 2, Some(r#"{"key":"a","asset_type":"t"}"#));
    let letter = crate::model::DeadLetter {
        received_at: crate::model::Timestamp(1),
        source: "http".into(),
        device: None,
        reason: crate::model::Reason::Syntax,
        detail: "no".into(),
        raw: (*b"{").into(),
    };
    let mut first = frame(1);
    first.documents = vec![broken.clone()];
    let mut second = frame(2);
    second.documents = vec![mended.clone()];
    second.dead_letters = vec![letter.clone()];
    let (mut documents, mut errors, mut letters) = (Vec::new(), Vec::new(), Vec::new());
    for output in run(2, &[first, second]) {
        match output {
            Output::Change(epoch, Change::Documents(list)) => {
                documents.extend(list.into_iter().map(|(d, diff)| (epoch.0, d, diff)));
            }
            Output::Change(epoch, Change::Errors(list)) => {
                errors.extend(list.into_iter().map(|(_, diff)| (epoch.0, diff)));
            }
            Output::Change(epoch, Change::DeadLetters(list)) => letters.push((epoch.0, list)),
            Output::Frontier(_) => {}
            Output::Change(_, Change::Clock(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(documents, [(1, broken.clone(), 1), (2, broken, -1), (2, mended, 1)]);
    assert_eq!(errors, [(1, 1), (2, -1)]);
    assert_eq!(letters, [(2, vec![letter])]);
}

#[test]
fn points_without_a_route_are_counted_by_message() {
    let mut only = frame(1);
    let value = crate::model::Value::Double(1.0);
    let both: &[_] = &[(0, value.clone()), (1, value.clone())];
    let rows: &[(&str, i64, u32, _)] =
        &[("x", 1, 0, both), ("y", 2, 0, &[(1, value.clone())]), ("x", 3, 4, both)];
    let double = crate::model::DataType::Double;
    only.batches.push(batch(&[("p", double), ("q", double)], rows));
    let outputs = run(2, &[only]);
    let expected = [(0, 3), (4, 2)];
    let expected = expected
        .map(|(message, unmapped)| Outcome { message, unmapped, ..Outcome::default() })
        .to_vec();
    assert_eq!(outputs[0], Output::Change(Epoch(1), Change::Outcomes(expected)));
}

#[test]
fn a_panic_ends_the_engine_and_tells_why() {
    for workers in [1, 2, 3] {
        let (frames_tx, frames_rx) = crossbeam_channel::bounded(1);
        let (outputs_tx, outputs_rx) = crossbeam_channel::unbounded();
        let engine = Engine::start_with(
            workers,
            frames_rx,
            outputs_tx,
            (Checkpoints::default(), None),
            |worker, epoch| {
                assert!(worker != 0 || epoch.0 < 3, "made up");
            },
        );
        let engine = engine.unwrap();
        // The frames' channel closes by itself: the sender hears of the end.
        let mut epoch = 1;
        while frames_tx.send(frame(epoch)).is_ok() {
            epoch += 1;
        }
        while outputs_rx.recv().is_ok() {}
        assert!(engine.failure().is_some());
        let error = engine.join().unwrap_err();
        let told = "step dataflow worker 0: it panicked: made up";
        assert!(error.to_string().starts_with(told), "{error}");
    }
}

#[test]
fn a_receiver_that_goes_away_ends_the_engine() {
    let (frames_tx, frames_rx) = crossbeam_channel::unbounded();
    let (outputs_tx, outputs_rx) = crossbeam_channel::bounded(1);
    let engine = Engine::start(2, frames_rx, outputs_tx).unwrap();
    frames_tx.send(frame(1)).unwrap();
    outputs_rx.recv().unwrap();
    drop(outputs_rx);
    frames_tx.send(frame(2)).unwrap();
    assert_eq!(engine.join(), Err(Error::OutputsClosed));
}

#[test]
fn wrong_starts_and_wrong_frames_are_refused() {
    let (_, frames) = crossbeam_channel::unbounded();
    let (outputs, _outputs) = crossbeam_channel::unbounded();
    let error = Engine::start(0, frames, outputs).err().unwrap();
    assert_eq!(error, Error::Workers { workers: 0, limit: MAX_WORKERS });

    let (frames_tx, frames_rx) = crossbeam_channel::unbounded();
    let (outputs_tx, _outputs_rx) = crossbeam_channel::unbounded();
    let engine = Engine::start(2, frames_rx, outputs_tx).unwrap();
    frames_tx.send(frame(7)).unwrap();
    frames_tx.send(frame(7)).unwrap();
    let error = engine.join().unwrap_err();
    assert_eq!(error, Error::EpochOrder { epoch: Epoch(7), previous: Epoch(7) });
}

#[test]
fn a_slow_receiver_holds_the_frames_back() {
    let (frames_tx, frames_rx) = crossbeam_channel::bounded(1);
    let (outputs_tx, outputs_rx) = crossbeam_channel::bounded(1);
    let engine = Engine::start(2, frames_rx, outputs_tx).unwrap();
    let mut taken = 0;
    while frames_tx.send_timeout(frame(taken + 1), Duration::from_millis(300)).is_ok() {
        taken += 1;
        assert!(taken < 1000, "frames are taken without end");
    }
    assert!(taken as usize <= MAX_EPOCHS_IN_FLIGHT + 3, "{taken} frames are inside");
    drop(frames_tx);
    let outputs: Vec<_> = outputs_rx.iter().collect();
    assert_eq!(outputs.last(), Some(&Output::Frontier(Epoch(taken + 1))));
    engine.join().unwrap();
}

#[test]
fn an_engine_tells_what_its_assets_take() {
    let (frames_tx, frames_rx) = crossbeam_channel::unbounded();
    let (outputs_tx, outputs_rx) = crossbeam_channel::unbounded();
    let engine = Engine::start(2, frames_rx, outputs_tx).unwrap();
    let (mut plant, meter) = (Plant::new(7), engine.meter());
    let (mut sent, deadline) = (0, Instant::now() + Duration::from_secs(60));
    // Frames have rows of assets sooner or later; each is measured after the next one at the latest.
    while meter.assets().series == 0 {
        let frame = plant.frame();
        let (epoch, bytes) = (frame.epoch, frame.bytes() as u64);
        frames_tx.send(frame).unwrap();
        sent += bytes;
        while outputs_rx.recv().unwrap() != Output::Frontier(Epoch(epoch.0 + 1)) {}
        assert!(Instant::now() < deadline, "nothing is measured");
    }
    while meter.finished_bytes() < sent {
        std::thread::sleep(Duration::from_millis(1));
        assert!(Instant::now() < deadline, "frames are never finished");
    }
    drop(frames_tx);
    engine.join().unwrap();
    assert_eq!(meter.finished_bytes(), sent);
    assert!(meter.assets().total() > meter.assets().series);
}

#[test]
fn an_idle_engine_does_nothing() {
    let (frames_tx, frames_rx) = crossbeam_channel::unbounded();
    let (outputs_tx, outputs_rx) = crossbeam_channel::unbounded();
    let engine = Engine::start(2, frames_rx, outputs_tx).unwrap();
    let mut plant = Plant::new(99);
    let frames: Vec<_> = (0..5).map(|_| plant.frame()).collect();
    let end = Epoch(frames[4].epoch.0 + 1);
    for frame in frames {
        frames_tx.send(frame).unwrap();
    }
    while outputs_rx.recv_timeout(Duration::from_secs(20)).unwrap() != Output::Frontier(end) {}
    let activations = || engine.operators().iter().map(|o| o.activations).sum::<u64>();
    // The last echoes of progress die away, then nothing may run any more.
    let (mut before, deadline) = (activations(), Instant::now() + Duration::from_secs(20));
    loop {
        // Whoever asks what it holds does not wake it.
        engine.meter().assets();
        std::thread::sleep(Duration::from_millis(200));
        let now = activations();
        if now == before {
            break;
        }
        before = now;
        assert!(Instant::now() < deadline, "operators run for ever");
    }
    let operators = engine.operators();
    assert!(operators.iter().any(|o| o.name == "Assess" && o.worker == 1));
    let resolved: u64 = operators.iter().filter(|o| o.name == "Resolve").map(|o| o.records).sum();
    assert!(resolved > 0);
    drop(frames_tx);
    engine.join().unwrap();
}
