//! Disks that fail and crash: what was synced is there afterwards, and nothing that was not sent.

use super::*;
use crate::base::fs::{Crash, Fault, Op};

/// Appends and syncs until the log is poisoned; gives the frames whose sync succeeded.
fn work(fs: &MemFs, frames: &[Frame], options: Options) -> Vec<Frame> {
    let mut durable = Vec::new();
    let Ok(mut log) = open(fs, options) else { return durable };
    for frame in frames {
        if log.append(frame).and_then(|()| log.sync()).is_ok() {
            durable.push(frame.clone());
        }
        if log.poisoned().is_some() {
            assert!(matches!(log.append(frame), Err(Error::Poisoned { .. })));
            assert!(matches!(log.sync(), Err(Error::Poisoned { .. })));
            break;
        }
    }
    durable
}

/// After a crash: all of `durable` in order, perhaps one more that was sent, nothing else.
fn check_after(fs: &MemFs, sent: &[Frame], durable: &[Frame], options: Options, place: &str) {
    let recovered = recovery_of(fs, options);
    let recovered = recovered.unwrap_or_else(|error| panic!("{place}: {error}"));
    let found = frames_of(fs);
    assert_eq!(recovered.frames, found.len() as u64, "{place}");
    let unanswered: Vec<_> = found.iter().filter(|frame| !durable.contains(frame)).collect();
    assert!(
        unanswered.len() <= 1 && unanswered.iter().all(|frame| sent.contains(frame)),
        "{place}"
    );
    let kept: Vec<_> = found.iter().filter(|frame| durable.contains(frame)).cloned().collect();
    assert_eq!(kept, durable, "{place}: an acknowledged frame is missing");
    // Recovery is final: opening again changes nothing.
    fs.crash(Crash::Power);
    assert_eq!(recovery_of(fs, options).unwrap().torn_bytes, 0, "{place}");
    assert_eq!(frames_of(fs), found, "{place}");
}

#[test]
fn every_operation_may_fail_and_every_crash_may_follow() {
    let ops = [Op::Create, Op::Append, Op::Sync, Op::SyncDir, Op::Truncate];
    let faults = [Fault::Io, Fault::NoSpace, Fault::Short(100), Fault::ShortIo(1_000)];
    let crashes = [Crash::Process, Crash::Power, Crash::Torn(1), Crash::Torn(2)];
    let frames = Random(21).frames(16);
    for op in ops {
        for nth in 1..=20 {
            for fault in faults {
                for crash in crashes {
                    let fs = MemFs::new();
                    fs.inject(op, nth, fault);
                    let durable = work(&fs, &frames, small_segments());
                    fs.crash(crash);
                    let place = format!("{op:?} {nth} {fault:?} {crash:?}");
                    check_after(&fs, &frames, &durable, small_segments(), &place);
                }
            }
        }
    }
}

#[test]
fn two_faults_in_a_row_lose_nothing_either() {
    for seed in 0..600 {
        let mut random = Random(seed);
        let ops = [Op::Append, Op::Sync, Op::Truncate, Op::SyncDir, Op::Create, Op::Remove];
        let frames = random.frames(14);
        let fs = MemFs::new();
        let mut durable = Vec::new();
        for part in frames.chunks(7) {
            for _ in 0..2 {
                let op = ops[random.below(6) as usize];
                let fault = [Fault::NoSpace, Fault::ShortIo(30), Fault::Short(4_000)];
                fs.inject(op, 1 + random.below(12), fault[random.below(3) as usize]);
            }
            durable.extend(work(&fs, part, small_segments()));
            fs.crash(match random.below(3) {
                0 => Crash::Power,
                _ => Crash::Torn(random.next()),
            });
            let unanswered = frames_of(&fs);
            assert!(durable.iter().all(|frame| unanswered.contains(frame)), "seed {seed}");
            // What survived without an answer is in the log for good.
            recovery_of(&fs, small_segments())
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            durable = frames_of(&fs);
        }
    }
}

#[test]
fn a_failed_sync_poisons_and_is_never_retried() {
    let frames = Random(22).frames(3);
    let fs = MemFs::new();
    let mut log = open(&fs, Options::default()).unwrap();
    log.append(&frames[0]).unwrap();
    log.sync().unwrap();
    log.append(&frames[1]).unwrap();
    fs.inject(Op::Sync, 1, Fault::Io);
    assert!(matches!(log.sync(), Err(Error::Io { doing: "sync", .. })));
    let tried = fs.count(Op::Sync);
    assert!(matches!(log.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(log.append(&frames[2]), Err(Error::Poisoned { .. })));
    assert_eq!(fs.count(Op::Sync), tried);
    assert_eq!(log.durable_epoch(), Some(frames[0].epoch));
    // A restart on the same running system does not believe the page cache.
    fs.crash(Crash::Process);
    assert_eq!(recovery_of(&fs, Options::default()).unwrap().frames, 1);
    fs.crash(Crash::Power);
    assert_eq!(frames_of(&fs), frames[..1]);
}

#[test]
fn a_full_disk_refuses_until_there_is_space() {
    let frames = Random(23).frames(30);
    let fs = MemFs::new();
    fs.set_capacity(Some(22_000));
    let mut log = open(&fs, small_segments()).unwrap();
    let mut kept = Vec::new();
    let mut refused = 0;
    for frame in &frames {
        match log.append(frame).and_then(|()| log.sync()) {
            Ok(()) => kept.push(frame.clone()),
            Err(Error::NoSpace { .. }) => {
                refused += 1;
                if refused % 4 == 0 {
                    fs.set_capacity(Some(22_000 + 6_000 * refused));
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 3 && kept.len() > 10, "{refused} refused, {} kept", kept.len());
    assert_eq!(frames_of(&fs), kept);
    fs.crash(Crash::Power);
    assert_eq!(recovery_of(&fs, small_segments()).unwrap().torn_bytes, 0);
    assert_eq!(frames_of(&fs), kept);
}

#[test]
fn a_write_that_the_power_cut_is_whole_or_gone() {
    let (mut torn, mut whole) = (0, 0);
    for seed in 0..800 {
        let mut random = Random(seed);
        let synced = random.below(12) as usize;
        let frames = random.frames(synced + 1);
        let fs = written(&frames[..synced], small_segments());
        let mut log = open(&fs, small_segments()).unwrap();
        log.append(&frames[synced]).unwrap();
        fs.crash(Crash::Torn(random.next()));
        if recovery_of(&fs, small_segments()).unwrap().torn_bytes > 0 {
            torn += 1;
        }
        whole += usize::from(frames_of(&fs).len() == frames.len());
        check_after(&fs, &frames, &frames[..synced], small_segments(), &format!("seed {seed}"));
    }
    assert!(torn > 100 && whole > 20, "the disk did both: {torn} torn, {whole} whole");
}
