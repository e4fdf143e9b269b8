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

/// Frames far enough apart for the horizon to move.
fn spread(seed: u64, count: usize) -> Vec<Frame> {
    let mut frames = Random(seed).frames(count);
    for (i, frame) in frames.iter_mut().enumerate() {
        frame.epoch = Epoch(1_000 + 450 * i as u64);
    }
    frames
}

/// Two lives of a process, the second one with a log to recover.
fn lives(fs: &MemFs, frames: &[Frame]) -> Vec<Frame> {
    let (first, second) = frames.split_at(frames.len() / 2);
    let mut durable = work(fs, first, small_segments());
    durable.extend(work(fs, second, small_segments()));
    durable
}

/// What may be left of a disk whose process or power went now.
fn crashes(fs: &MemFs) -> Vec<Crash> {
    let fixed = [Crash::Process, Crash::Power, Crash::Torn(1), Crash::Torn(2)];
    fixed.into_iter().chain((1..=fs.unsynced()).map(Crash::Prefix)).collect()
}

#[test]
fn every_operation_may_fail_and_every_crash_may_follow() {
    let frames = spread(21, 16);
    let clean = MemFs::new();
    assert_eq!(lives(&clean, &frames).len(), frames.len());
    let mut cases = 0;
    for op in Op::ALL {
        let faults: &[Fault] = match op {
            Op::Append => &[Fault::Io, Fault::NoSpace, Fault::Short(100), Fault::ShortIo(1_000)],
            _ => &[Fault::Io, Fault::NoSpace],
        };
        for nth in 1..=clean.count(op) {
            for &fault in faults {
                let mut left = 0;
                loop {
                    let fs = MemFs::new();
                    fs.inject(op, nth, fault);
                    let durable = lives(&fs, &frames);
                    let crashes = crashes(&fs);
                    fs.crash(crashes[left]);
                    let place = format!("{op:?} {nth} {fault:?} {:?}", crashes[left]);
                    check_after(&fs, &frames, &durable, small_segments(), &place);
                    cases += 1;
                    left += 1;
                    if left == crashes.len() {
                        break;
                    }
                }
            }
        }
    }
    println!("{cases} cases");
}

#[test]
fn the_power_may_go_at_every_operation() {
    let frames = spread(22, 16);
    let clean = MemFs::new();
    lives(&clean, &frames);
    let mut cases = 0;
    for operations in 0..=clean.operations() {
        let mut left = 0;
        loop {
            let fs = MemFs::new();
            fs.cut_power_after(operations);
            let durable = lives(&fs, &frames);
            let crashes = crashes(&fs);
            fs.crash(crashes[left]);
            let place = format!("power for {operations} operations, {:?}", crashes[left]);
            check_after(&fs, &frames, &durable, small_segments(), &place);
            cases += 1;
            left += 1;
            if left == crashes.len() {
                break;
            }
        }
    }
    println!("{cases} cases");
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
    let count = seeds(2_000);
    for seed in 0..count {
        let mut random = Random(seed);
        let synced = random.below(12) as usize;
        let frames = random.frames(synced + 1);
        let fs = written(&frames[..synced], small_segments());
        let mut log = open(&fs, small_segments()).unwrap();
        log.append(&frames[synced]).unwrap();
        fs.crash(match seed % 2 {
            0 => Crash::Torn(random.next()),
            _ => Crash::Prefix(random.below(fs.unsynced() as u64 + 1) as usize),
        });
        if recovery_of(&fs, small_segments()).unwrap().torn_bytes > 0 {
            torn += 1;
        }
        whole += u64::from(frames_of(&fs).len() == frames.len());
        check_after(&fs, &frames, &frames[..synced], small_segments(), &format!("seed {seed}"));
    }
    assert!(
        torn > count / 20 && whole > count / 40,
        "the disk did both: {torn} torn, {whole} whole"
    );
}
