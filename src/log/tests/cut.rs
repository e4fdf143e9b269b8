//! A log whose beginning was cut: what stays is whole, also after a crash in the middle of it.

use super::*;
use crate::base::fs::{Crash, Fault, Op};

/// Whether all frames from the one after `epoch` on are there, and how many before it.
fn check(fs: &MemFs, frames: &[Frame], epoch: u64, place: &str) -> usize {
    let found = frames_of(fs);
    let first = frames.len() - found.len();
    assert_eq!(found, frames[first..], "{place}");
    let needed = frames.iter().position(|frame| frame.epoch.0 > epoch).unwrap_or(frames.len());
    assert!(first <= needed, "{place}: frame {first} is the first, {needed} is needed");
    needed - first
}

#[test]
fn a_cut_log_has_all_that_is_needed_and_goes_on() {
    let frames = Random(5).frames(60);
    let fs = written(&frames[..40], small_segments());
    let all = segments(&fs).len();
    assert!(all > 4, "{all}");
    let mut log = open(&fs, small_segments()).unwrap();
    assert_eq!((log.begin(), log.cut(Epoch(1)).unwrap()), (Epoch(0), 0));
    let mut gone = 0;
    for (i, frame) in frames[..40].iter().enumerate() {
        gone += log.cut(frame.epoch).unwrap();
        assert_eq!(segments(&fs).len(), all - gone);
        let early = check(&fs, &frames[..40], frame.epoch.0, &format!("frame {i}"));
        assert!(early < 20, "{early} frames too many after frame {i}");
    }
    assert!(gone > 3, "{gone}");
    let sizes = segments(&fs).into_iter().map(|path| fs.contents(&path).unwrap().len());
    assert_eq!(log.bytes(), sizes.sum::<usize>() as u64);
    for frame in &frames[40..] {
        log.append(frame).unwrap();
        log.sync().unwrap();
    }
    // What nobody has yet is needed, whatever is asked for.
    log.cut(Epoch(u64::MAX)).unwrap();
    assert_eq!(frames_of(&fs).last(), frames.last());
    let begin = log.begin();
    drop(log);
    let log = open(&fs, small_segments()).unwrap();
    assert_eq!((log.begin(), log.last_epoch()), (begin, frames.last().map(|frame| frame.epoch)));
}

#[test]
fn a_crash_while_cutting_loses_nothing_that_is_needed() {
    let frames = Random(6).frames(40);
    let epoch = frames[30].epoch;
    for op in [Op::Create, Op::Append, Op::Sync, Op::SyncDir, Op::Rename, Op::Remove, Op::Open] {
        for nth in 1..8 {
            for crash in [Crash::Process, Crash::Power, Crash::Torn(nth), Crash::Torn(nth + 90)] {
                let place = format!("{op:?} {nth} {crash:?}");
                let fs = written(&frames, small_segments());
                let mut log = open(&fs, small_segments()).unwrap();
                fs.inject(op, nth, Fault::Io);
                let cut = log.cut(epoch);
                fs.heal();
                assert!(log.poisoned().is_none(), "{place}");
                if cut.is_err() {
                    check(&fs, &frames, epoch.0, &place);
                }
                fs.crash(crash);
                let mut log =
                    open(&fs, small_segments()).unwrap_or_else(|e| panic!("{place}: {e}"));
                check(&fs, &frames, epoch.0, &place);
                log.cut(epoch).unwrap();
                let early = check(&fs, &frames, epoch.0, &place);
                assert!(early < 20, "{place}: {early} frames too many");
            }
        }
    }
}

#[test]
fn segments_that_went_in_any_order_are_no_gap_and_one_that_is_needed_is() {
    let frames = Random(7).frames(40);
    let whole = written(&frames, small_segments());
    let count = segments(&whole).len();
    let mut log = open(&whole, small_segments()).unwrap();
    let before = segments(&whole);
    let kept: Vec<Vec<u8>> = before.iter().map(|path| whole.contents(path).unwrap()).collect();
    let gone = log.cut(frames[30].epoch).unwrap();
    drop(log);
    assert!((3..count).contains(&gone), "{gone} of {count}");
    // The crash came after some removals had reached the disk, in whatever order.
    for stays in 0..1 << gone {
        for i in (0..gone).filter(|i| stays >> i & 1 == 1) {
            whole.set_contents(&before[i], &kept[i]);
        }
        open(&whole, small_segments()).unwrap();
        assert_eq!(segments(&whole), before[gone..], "{stays:b}");
    }
    whole.remove(&before[gone]).unwrap();
    assert!(matches!(recovery_of(&whole, small_segments()), Err(Error::Gap { .. })));
    let salvage = Options { strict: false, ..small_segments() };
    assert_eq!(recovery_of(&whole, salvage).unwrap().losses.len(), 1);
    recovery_of(&whole, small_segments()).unwrap();
}

#[test]
fn a_damaged_begin_is_told() {
    let frames = Random(8).frames(30);
    let fs = written(&frames, small_segments());
    open(&fs, small_segments()).unwrap().cut(frames[20].epoch).unwrap();
    let path = dir().join("begin");
    let whole = fs.contents(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs.set_contents(&path, &bytes);
        let error = recovery_of(&fs, small_segments()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "byte {at}: {error}");
    }
}
