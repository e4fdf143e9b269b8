//! What goes in comes out.

use super::*;
use crate::base::fs::RealFs;

#[test]
fn random_frames_come_back_as_they_were() {
    for seed in 0..60 {
        let frames = Random(seed).frames(12);
        let fs = written(&frames, small_segments());
        assert_eq!(frames_of(&fs), frames, "seed {seed}");
        let log = open(&fs, small_segments()).unwrap();
        assert_eq!(log.last_epoch(), Some(frames[11].epoch), "seed {seed}");
        assert_eq!(log.last_tick(), Some(frames[11].tick), "seed {seed}");
        assert_eq!(log.recovery().frames, 12, "seed {seed}");
        let bytes: usize = segments(&fs).iter().map(|path| fs.contents(path).unwrap().len()).sum();
        assert_eq!(log.bytes(), bytes as u64, "seed {seed}");
    }
}

#[test]
fn frames_that_are_packed_come_out_as_they_were() {
    for seed in 0..60 {
        for frame in Random(seed).frames(12) {
            let content = pack(&frame).unwrap();
            assert_eq!(unpack(frame.epoch, frame.tick, &content).unwrap(), frame, "seed {seed}");
            if let Some(cut) = content.len().checked_sub(1) {
                let cut = unpack(frame.epoch, frame.tick, &content[..cut]);
                assert_ne!(cut.ok(), Some(frame), "seed {seed}");
            }
        }
    }
}

#[test]
fn deletions_and_empty_bodies_differ() {
    let frame = |body: Option<&str>| Frame {
        documents: vec![Document { body: body.map(Arc::from), ..Random(1).document() }],
        ..Random(1).frame(5)
    };
    for body in [None, Some(""), Some("{}")] {
        assert_eq!(frames_of(&written(&[frame(body)], Options::default())), [frame(body)]);
    }
}

#[test]
fn reading_starts_and_ends_where_it_is_told() {
    let frames = Random(7).frames(40);
    let fs = written(&frames, small_segments());
    assert!(segments(&fs).len() > 3, "the log has several segments");
    for from in 1_000..1_100 {
        let expected: Vec<_> =
            frames.iter().filter(|frame| frame.epoch.0 >= from).cloned().collect();
        let (found, error) = read_all(&fs, from);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(found, expected, "from {from}");
    }
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let until = frames[20].epoch;
    let found = read(&shared, dir(), Epoch(0)).unwrap().up_to(until);
    assert_eq!(found.map(|frame| frame.unwrap()).collect::<Vec<_>>(), frames[..=20]);
}

#[test]
fn a_reader_follows_the_writer() {
    let frames = Random(8).frames(40);
    let fs = MemFs::new();
    let mut log = open(&fs, small_segments()).unwrap();
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut reader = read(&shared, dir(), Epoch(0)).unwrap();
    let mut found = Vec::new();
    for (i, frame) in frames.iter().enumerate() {
        log.append(frame).unwrap();
        if i % 3 == 0 {
            found.extend(reader.by_ref().map(|frame| frame.unwrap()));
            assert_eq!(found, frames[..=i]);
        }
    }
}

#[test]
fn epochs_must_increase() {
    let fs = written(&Random(1).frames(1), Options::default());
    let mut log = open(&fs, Options::default()).unwrap();
    let last = log.last_epoch().unwrap();
    assert!(matches!(log.append(&Random(2).frame(last.0)), Err(Error::Order { .. })));
    assert_eq!(log.next_epoch(Epoch(5)), Epoch(last.0 + 1));
    assert_eq!(log.next_epoch(Epoch(9_999)), Epoch(9_999));
    log.append(&Random(2).frame(last.0 + 1)).unwrap();
    assert_eq!(log.durable_epoch(), Some(last));
    log.sync().unwrap();
    assert_eq!(log.durable_epoch(), Some(Epoch(last.0 + 1)));
}

#[test]
fn frames_that_are_too_large_are_refused_and_leave_no_trace() {
    let options = Options { frame_bytes: 2_000, ..Options::default() };
    let fs = MemFs::new();
    let mut log = open(&fs, options).unwrap();
    let mut frame = Random(3).frame(1);
    frame.dead_letters = vec![DeadLetter { raw: vec![7; 3_000].into(), ..Random(3).dead_letter() }];
    assert!(matches!(log.append(&frame), Err(Error::TooLarge { limit: 2_000, .. })));
    let empty = Frame {
        documents: vec![],
        batches: vec![],
        dead_letters: vec![],
        edits: vec![],
        pages: vec![],
        expiry: None,
        ..frame
    };
    log.append(&empty).unwrap();
    log.sync().unwrap();
    assert_eq!(frames_of(&fs), [empty]);
}

#[test]
fn a_real_directory_works_the_same() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("a/log");
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let frames = Random(9).frames(30);
    for part in frames.chunks(10) {
        let mut log = Log::open(Arc::clone(&fs), &path, small_segments()).unwrap();
        for frame in part {
            log.append(frame).unwrap();
            log.sync().unwrap();
        }
    }
    let found = read(&fs, &path, Epoch(0)).unwrap().map(|frame| frame.unwrap());
    assert_eq!(found.collect::<Vec<_>>(), frames);
}
