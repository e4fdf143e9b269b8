//! The committer on a disk in memory: merging, order, limits, failures.

use super::*;
use crate::base::clock::ManualClock;
use crate::base::fs::{Crash, Fault, Fs, MemFs, Op};
use crate::log::{self, Log, Options};
use crate::model::{
    Batch, DataType, DeadLetter, Document, Epoch, Frame, Kind, NewDocument, Reason, Timestamp,
};
use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use crossbeam_channel::Receiver;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const NOW: i64 = 1_700_000_000_000_000;

fn dir() -> &'static Path {
    Path::new("log")
}

struct Bench {
    fs: MemFs,
    clock: Arc<ManualClock>,
    committer: Committer,
    thread: JoinHandle<Log>,
    frames: Receiver<Frame>,
}

fn no_ticks() -> Limits {
    Limits { ticks: None, ..Limits::default() }
}

/// A committer on this disk, whose dataflow takes `capacity` frames before it has to wait.
fn bench_on(fs: MemFs, limits: Limits, capacity: usize) -> Bench {
    let log = Log::open(Arc::new(fs.clone()), dir(), Options::default()).unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let (sender, frames) = crossbeam_channel::bounded(capacity);
    let shared = Arc::clone(&clock);
    let (committer, thread) = Committer::start(log, assigner(), shared, sender, limits).unwrap();
    Bench { fs, clock, committer, thread, frames }
}

fn bench(limits: Limits) -> Bench {
    bench_on(MemFs::new(), limits, 10_000)
}

/// Ids count up; the key `bad` is refused, the key `same` changes nothing.
fn assigner() -> Assign {
    let mut id = 0;
    Box::new(move |new: NewDocument, _| match &*new.key {
        "bad" => Err("no such type".into()),
        "same" => Ok(None),
        _ => {
            id += 1;
            let NewDocument { kind, key, body } = new;
            Ok(Some(Document { kind, key, id, version: 1, effective_from: Timestamp::MIN, body }))
        }
    })
}

/// One row for each message, with the values `from..`.
fn telemetry(metric: &str, from: u32, messages: u32) -> Submission {
    let schema = Batch::schema([(metric, DataType::Double)]);
    let times = TimestampMicrosecondArray::from(vec![NOW; messages as usize]).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["well"; messages as usize])),
        Arc::new(times),
        Arc::new(UInt32Array::from(vec![0; messages as usize])),
        Arc::new(UInt32Array::from_iter_values(0..messages)),
        Arc::new(Float64Array::from_iter_values((from..from + messages).map(f64::from))),
    ];
    let batch = Batch::try_new(RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    Submission { batches: vec![batch], messages, ..Submission::default() }
}

fn documents(keys: &[&str]) -> Submission {
    let new = |key: &&str| NewDocument { kind: Kind::Assets, key: (*key).into(), body: None };
    Submission { documents: keys.iter().map(new).collect(), ..Submission::default() }
}

fn logged(fs: &MemFs) -> Vec<Frame> {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    log::read(&fs, dir(), Epoch(0)).unwrap().map(|frame| frame.unwrap()).collect()
}

/// Ordinals and values of all rows of a frame.
fn rows(frame: &Frame) -> Vec<(u32, f64)> {
    let mut rows = Vec::new();
    for batch in &frame.batches {
        let (_, values) = batch.metrics().next().unwrap();
        let values = values.as_any().downcast_ref::<Float64Array>().unwrap();
        rows.extend(batch.messages().iter().copied().zip(values.values().iter().copied()));
    }
    rows.sort_by_key(|row| row.0);
    rows
}

fn keys(frames: &[Frame]) -> Vec<&str> {
    frames.iter().flat_map(|frame| &frame.documents).map(|document| &*document.key).collect()
}

fn wait(answer: Answer) -> Result<Committed, CommitError> {
    answer.blocking_recv().unwrap_or(Err(CommitError::Closed))
}

#[test]
fn what_waits_is_merged_into_one_frame() {
    let bench = bench_on(MemFs::new(), no_ticks(), 0);
    // The dataflow takes nothing yet, so the first frame holds the committer up.
    let first = bench.committer.enqueue(telemetry("p", 0, 2)).unwrap();
    while bench.committer.durable_epoch() == Epoch(0) {
        std::thread::yield_now();
    }
    let mut answers = vec![(0, first)];
    for i in 1..=20 {
        let metric = if i % 5 == 0 { "q" } else { "p" };
        let mut submission = telemetry(metric, 10 * i, 1 + i % 3);
        let raw: Arc<[u8]> = [i as u8].into();
        let (received_at, source) = (Timestamp(NOW), "http".into());
        let (device, reason, detail) = (None, Reason::Value, "".into());
        submission.dead_letters =
            vec![DeadLetter { received_at, source, device, reason, detail, raw }];
        answers.push((10 * i, bench.committer.enqueue(submission).unwrap()));
    }
    let frames: Vec<_> = (0..2).map(|_| bench.frames.recv().unwrap()).collect();
    assert_eq!(frames[1].batches.len(), 2, "one batch a schema");
    assert_eq!(frames[1].dead_letters.len(), 20);
    for (from, answer) in answers {
        let committed = wait(answer).unwrap();
        let frame = frames.iter().find(|frame| frame.epoch == committed.epoch).unwrap();
        let (ordinal, value) = rows(frame)[committed.first_message as usize];
        assert_eq!((ordinal, value), (committed.first_message, f64::from(from)));
    }
    let ordinals: Vec<_> = rows(&frames[1]).into_iter().map(|row| row.0).collect();
    assert_eq!(ordinals, (0..ordinals.len() as u32).collect::<Vec<_>>(), "no ordinal twice");
    assert_eq!(logged(&bench.fs), frames);
    assert_eq!(bench.committer.queued_bytes(), 0);
}

#[test]
fn a_frame_has_a_size_and_the_rest_comes_next() {
    let limits = Limits { frame_bytes: 3_000, ..no_ticks() };
    let bench = bench_on(MemFs::new(), limits, 0);
    let answers: Vec<_> =
        (0..30).map(|i| bench.committer.enqueue(telemetry("p", i, 1)).unwrap()).collect();
    bench.committer.close();
    let frames: Vec<_> = bench.frames.iter().collect();
    assert!(frames.len() > 5, "{} frames", frames.len());
    let values: Vec<_> = frames.iter().flat_map(rows).map(|row| row.1).collect();
    assert_eq!(values, (0..30).map(f64::from).collect::<Vec<_>>(), "in the order of the calls");
    answers.into_iter().for_each(|answer| assert!(wait(answer).is_ok()));
}

#[test]
fn two_submitters_get_answers_of_their_own() {
    let bench = bench(no_ticks());
    let threads: Vec<_> = (0..2u32)
        .map(|who| {
            let committer = bench.committer.clone();
            std::thread::spawn(move || {
                let submit = |i| {
                    let from = who * 100_000 + i * 10;
                    (from, committer.submit_blocking(telemetry("p", from, 3)).unwrap())
                };
                (0..300u32).map(submit).collect::<Vec<_>>()
            })
        })
        .collect();
    let answers: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    bench.fs.crash(Crash::Power);
    let frames = logged(&bench.fs);
    assert!(frames.is_sorted_by(|a, b| a.epoch < b.epoch));
    assert_eq!(frames[0].epoch, Epoch(NOW as u64 / 1000));
    assert_eq!(frames.iter().map(|frame| rows(frame).len()).sum::<usize>(), 600 * 3);
    for (from, committed) in answers {
        let frame = frames.iter().find(|frame| frame.epoch == committed.epoch).unwrap();
        let expected = (committed.first_message, f64::from(from));
        assert!(rows(frame).contains(&expected), "{expected:?} in {}", frame.epoch);
    }
}

#[test]
fn an_answer_is_never_lost_to_a_crash() {
    for seed in 0..30 {
        let bench = bench(no_ticks());
        let kinds = [Op::Append, Op::Sync];
        // The third append is the horizon, whose failure is none of the log.
        let nth = 4 + seed / 2;
        bench.fs.inject(kinds[seed as usize % 2], nth, Fault::ShortIo(50));
        let mut answered = Vec::new();
        let mut poisoned = 0;
        for i in 0..40 {
            match bench.committer.submit_blocking(telemetry("p", i, 1)) {
                Ok(committed) => answered.push((committed.epoch, f64::from(i))),
                Err(CommitError::Poisoned(_)) => poisoned += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        assert!(poisoned > 0 && matches!(bench.committer.state(), State::Poisoned(_)));
        assert_eq!(answered.len(), bench.frames.len(), "seed {seed}: only durable frames go on");
        bench.fs.crash(Crash::Torn(seed));
        Log::open(Arc::new(bench.fs.clone()), dir(), Options::default()).unwrap();
        let frames = logged(&bench.fs);
        let found: Vec<_> = frames.iter().map(|frame| (frame.epoch, rows(frame)[0].1)).collect();
        assert!(found.starts_with(&answered), "seed {seed}");
        assert!(found.len() <= answered.len() + 1, "seed {seed}");
    }
}

#[test]
fn the_power_may_go_at_any_moment() {
    for seed in 0..40 {
        let bench = bench(no_ticks());
        let threads: Vec<_> = (0..2u32)
            .map(|who| {
                let committer = bench.committer.clone();
                std::thread::spawn(move || {
                    let values = (0..).map(|i| who * 1_000_000 + i);
                    let answers = values.map(|from| {
                        let committed = committer.submit_blocking(telemetry("p", from, 1)).ok()?;
                        Some((committed, f64::from(from)))
                    });
                    answers.map_while(|answer| answer).collect::<Vec<_>>()
                })
            })
            .collect();
        for _ in 0..1 + seed % 7 {
            bench.frames.recv().unwrap();
        }
        bench.fs.crash(Crash::Torn(seed));
        let answers: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        Log::open(Arc::new(bench.fs.clone()), dir(), Options::default()).unwrap();
        let frames = logged(&bench.fs);
        for (committed, value) in answers {
            let frame = frames.iter().find(|frame| frame.epoch == committed.epoch);
            let rows = rows(frame.unwrap_or_else(|| panic!("seed {seed}: {committed:?} is lost")));
            assert!(rows.contains(&(committed.first_message, value)), "seed {seed}");
        }
    }
}

#[test]
fn a_full_queue_says_so_and_a_waiting_call_waits() {
    let limits = Limits { queue_bytes: 10_000, queue_submissions: 10, ..no_ticks() };
    let bench = bench_on(MemFs::new(), limits, 0);
    let mut answers = Vec::new();
    let error = loop {
        match bench.committer.enqueue(telemetry("p", 0, 1)) {
            Ok(answer) => answers.push(answer),
            Err(error) => break error,
        }
    };
    assert_eq!(error, CommitError::Full);
    assert!((2..=10).contains(&answers.len()), "{}", answers.len());
    let committer = bench.committer.clone();
    let waiting =
        std::thread::spawn(move || committer.enqueue_blocking(telemetry("p", 7, 1)).unwrap());
    let frames = bench.frames;
    let drain = std::thread::spawn(move || frames.iter().count());
    assert!(wait(waiting.join().unwrap()).is_ok());
    answers.into_iter().for_each(|answer| assert!(wait(answer).is_ok()));
    bench.committer.close();
    bench.thread.join().unwrap();
    assert!(drain.join().unwrap() >= 2);
}

#[test]
fn what_no_frame_can_hold_is_refused_at_once() {
    let bench = bench(no_ticks());
    let mut wrong = telemetry("p", 0, 3);
    wrong.messages = 2;
    let error = bench.committer.submit_blocking(wrong).unwrap_err();
    assert_eq!(error, CommitError::Ordinal { ordinal: 2, messages: 2 });
    let body: Arc<str> = "x".repeat(65 << 20).into();
    let large = NewDocument { kind: Kind::Assets, key: "a".into(), body: Some(body) };
    let large = Submission { documents: vec![large], ..Submission::default() };
    let error = bench.committer.submit_blocking(large).unwrap_err();
    assert!(matches!(error, CommitError::TooLarge { .. }), "{error}");
}

#[test]
fn refused_documents_fail_only_their_submission() {
    let bench = bench_on(MemFs::new(), no_ticks(), 0);
    let held_up = bench.committer.enqueue(telemetry("p", 0, 1)).unwrap();
    let mut mixed = documents(&["a", "bad", "b"]);
    mixed.batches = telemetry("p", 100, 2).batches;
    mixed.messages = 2;
    let refused = bench.committer.enqueue(mixed).unwrap();
    let good = bench.committer.enqueue(telemetry("p", 5, 1)).unwrap();
    let unchanged = bench.committer.enqueue(documents(&["same"])).unwrap();
    bench.committer.close();
    let frames: Vec<_> = bench.frames.iter().collect();
    assert!(wait(held_up).is_ok() && wait(good).is_ok() && wait(unchanged).is_ok());
    let CommitError::Refused(refusals) = wait(refused).unwrap_err() else { panic!() };
    assert_eq!((refusals.len(), refusals[0].index, &*refusals[0].key), (1, 1, "bad"));
    assert_eq!(keys(&frames), ["a", "b"]);
    assert!(frames.iter().flat_map(rows).all(|row| row.1 < 100.0), "its telemetry is not there");
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let bench = bench(no_ticks());
    let first = bench.committer.submit_blocking(documents(&["a"])).unwrap();
    let second = bench.committer.submit_blocking(documents(&["same"])).unwrap();
    assert_eq!(first, second);
    assert_eq!(logged(&bench.fs).len(), 1);
}

#[test]
fn a_full_disk_refuses_until_there_is_space() {
    let bench = bench(no_ticks());
    bench.committer.submit_blocking(telemetry("p", 0, 1)).unwrap();
    bench.fs.set_capacity(Some(0));
    for submission in [telemetry("p", 1, 1), documents(&["a"])] {
        let error = bench.committer.submit_blocking(submission).unwrap_err();
        assert_eq!((error, bench.committer.state()), (CommitError::NoSpace, State::NoSpace));
    }
    bench.fs.set_capacity(None);
    bench.committer.submit_blocking(documents(&["b"])).unwrap();
    assert_eq!(bench.committer.state(), State::Running);
    bench.fs.crash(Crash::Power);
    let frames = logged(&bench.fs);
    assert_eq!(frames.len(), 2);
    assert_eq!(keys(&frames), ["a", "b"], "what the catalog has taken is in the log");
}

#[test]
fn ticks_come_when_nothing_else_does_and_never_go_back() {
    let every = Duration::from_millis(5);
    let bench = bench(Limits { ticks: Some(every), ..Limits::default() });
    let frame = bench.frames.recv().unwrap();
    assert_eq!((frame.tick, frame.epoch), (Timestamp(NOW), Epoch(NOW as u64 / 1000)));
    bench.clock.set(NOW - 60_000_000);
    let next = bench.frames.iter().nth(2).unwrap();
    assert_eq!(next.tick, Timestamp(NOW));
    bench.clock.set(NOW + 5_000_000);
    let later = bench.frames.iter().find(|frame| frame.tick > next.tick).unwrap();
    assert_eq!(later.tick, Timestamp(NOW + 5_000_000));
    assert!(later.epoch > next.epoch && later.batches.is_empty());
    // Time goes on from there after a restart.
    bench.committer.close();
    bench.thread.join().unwrap();
    let bench = bench_on(bench.fs, no_ticks(), 10);
    let recorded = Submission { tick: Some(Timestamp(NOW)), ..telemetry("p", 0, 1) };
    bench.committer.submit_blocking(recorded).unwrap();
    assert_eq!(bench.frames.recv().unwrap().tick, later.tick);
}

#[test]
fn a_recording_brings_its_own_time() {
    let bench = bench(no_ticks());
    bench.committer.submit_blocking(documents(&["a"])).unwrap();
    for tick in [1_000, 3_000, 2_000] {
        let recorded = Submission { tick: Some(Timestamp(tick)), ..Submission::default() };
        bench.committer.submit_blocking(recorded).unwrap();
    }
    let ticks: Vec<_> = logged(&bench.fs).iter().map(|frame| frame.tick.0).collect();
    assert_eq!(ticks, [0, 1_000, 3_000, 3_000]);
}

#[test]
fn closing_commits_what_is_queued() {
    let bench = bench(Limits::default());
    let answers: Vec<_> =
        (0..50).map(|i| bench.committer.enqueue(telemetry("p", i, 1)).unwrap()).collect();
    let other = bench.committer.clone();
    bench.committer.close();
    let log = bench.thread.join().unwrap();
    let answers: Vec<_> = answers.into_iter().map(|answer| wait(answer).unwrap()).collect();
    assert_eq!(log.durable_epoch(), answers.iter().map(|answer| answer.epoch).max());
    assert_eq!(other.submit_blocking(telemetry("p", 0, 1)), Err(CommitError::Closed));
    assert_eq!(futures::executor::block_on(other.stopped()), State::Closed);
}

#[test]
fn without_a_dataflow_nothing_is_taken() {
    let bench = bench(no_ticks());
    drop(bench.frames);
    // It is durable, so the answer is right: a restart brings it to the dataflow.
    bench.committer.submit_blocking(telemetry("p", 0, 1)).unwrap();
    bench.thread.join().unwrap();
    assert_eq!(bench.committer.state(), State::Closed);
    assert_eq!(
        futures::executor::block_on(bench.committer.submit(telemetry("p", 0, 1))),
        Err(CommitError::Closed)
    );
}

#[test]
fn a_marked_frame_is_told_of_before_the_dataflow_has_it() {
    let fs = MemFs::new();
    let log = Log::open(Arc::new(fs.clone()), dir(), Options::default()).unwrap();
    let (sender, frames) = crossbeam_channel::bounded(0);
    let (told, marks) = crossbeam_channel::unbounded();
    let marked = Box::new(move |epoch, tick| told.send((epoch, tick)).unwrap());
    let clock = Arc::new(ManualClock::at(NOW));
    let (committer, thread) =
        Committer::start_marking(log, (assigner(), marked), clock, sender, no_ticks()).unwrap();
    committer.enqueue_blocking(telemetry("p", 0, 2)).unwrap();
    let first = frames.recv().unwrap();
    assert!(marks.is_empty());
    committer.mark();
    let marked = marks.recv().unwrap();
    let second = frames.recv().unwrap();
    assert_eq!(((second.epoch, second.tick), second.batches.len()), (marked, 0));
    assert!(second.epoch > first.epoch);
    // One frame for each mark, and content goes along.
    committer.enqueue_blocking(telemetry("p", 2, 1)).unwrap();
    let third = frames.recv().unwrap();
    assert!(marks.is_empty() && third.epoch > second.epoch);
    committer.clone().close();
    let log = thread.join().unwrap();
    assert_eq!(log.last_epoch(), Some(third.epoch));
    assert_eq!(logged(&fs).len(), 3);
}
