//! Disks that fail, fill up and lose power under the archive: a replay of the log brings back what
//! is missing, and nothing is there twice.

use super::super::manifest::Manifest;
use super::super::replaced;
use super::*;
use crate::base::fs::{Crash, Fault, Fs, MemFs, Op};
use std::path::PathBuf;
use std::sync::Arc;

/// What the log has: points of each epoch, the keys that they correct, and what telemetry is then.
pub(super) struct History {
    epochs: Vec<(Rows, Vec<(TypeId, u32, u32, i64)>)>,
    pub(super) expected: Keys,
}

impl History {
    /// Epochs over two days, with corrections.
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let (mut epochs, mut expected) = (Vec::new(), Keys::new());
        for epoch in 1..=9 {
            let (mut list, mut superseded) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                let time = START + random.below(2) as i64 * DAY + random.below(3) as i64;
                let (asset, slot) = (random.below(2) as u32, random.below(2) as u32);
                let value = random.below(1_000) as f64;
                if list.iter().any(|(a, t, s, _)| (*a, *t, *s) == (asset, time, slot)) {
                    continue;
                }
                let key =
                    (format!("p-{}", 9 - asset), ["speed", "count"][slot as usize].into(), time);
                if expected.insert(key, (value, epoch)).is_some() {
                    superseded.push((TypeId(0), asset, slot, time));
                }
                list.push((asset, time, slot, value));
            }
            epochs.push((rows(&list), superseded));
        }
        Self { epochs, expected }
    }

    /// Replays the log into an archive, and writes files behind some epochs.
    pub(super) fn replay(&self, historian: &Historian, mut flush: impl FnMut(&Historian)) {
        named(historian);
        for (epoch, of_epoch) in (1..).zip(&self.epochs) {
            feed(historian, epoch, of_epoch);
            if epoch % 3 == 0 {
                flush(historian);
            }
        }
    }

    pub(super) fn last(&self) -> Epoch {
        Epoch(self.epochs.len() as u64)
    }
}

pub(super) fn place() -> &'static Path {
    Path::new("data/archive")
}

/// An archive whose writer tries again at once, or never.
pub(super) fn open(fs: &MemFs, again: bool) -> Result<Historian, Error> {
    let retry_after = std::time::Duration::from_secs(if again { 0 } else { 3_600 });
    // Files are merged where the tests say so.
    let options = Options { retry_after, merge_files: 0, ..Options::default() };
    Historian::open_on(Arc::new(fs.clone()), place(), options)
}

/// A process on this disk, which ends at its first failure.
fn life(fs: &MemFs, history: &History) {
    let Ok(historian) = open(fs, false) else { return };
    let mut failed = false;
    history.replay(&historian, |historian| {
        failed |= failed || historian.flush().is_err() || merge(historian).is_err();
    });
}

/// Merges what there is of each day behind the second of three segments, as the background would.
pub(super) fn merge(historian: &Historian) -> Result<(), Error> {
    if historian.epoch() != Epoch(6) {
        return Ok(());
    }
    // The writer is done with its last segment.
    drop(historian.shared.commit());
    while historian.shared.merge_once(2)? {}
    historian.shared.remove_retired();
    Ok(())
}

/// A process after a crash: with the log, telemetry is what it was; then without the log too.
fn check_after(fs: &MemFs, history: &History, place: &str) {
    let historian = open(fs, true).unwrap_or_else(|error| panic!("{place}: {error}"));
    history.replay(&historian, |historian| {
        let telemetry = historian.snapshot(historian.epoch().max(historian.archived_epoch()));
        telemetry.unwrap().check_files().unwrap_or_else(|error| panic!("{place}: {error}"));
    });
    let telemetry = historian.snapshot(history.last()).unwrap();
    assert_eq!(contents(&telemetry), history.expected, "{place}");
    historian.flush().unwrap_or_else(|error| panic!("{place}: {error}"));
    drop((historian, telemetry));
    fs.crash(Crash::Power);
    let historian = open(fs, true).unwrap_or_else(|error| panic!("{place}: {error}"));
    let telemetry = historian.snapshot(history.last()).unwrap();
    telemetry.check_files().unwrap();
    assert_eq!(contents(&telemetry), history.expected, "{place}: from files alone");
}

#[test]
fn the_power_may_go_at_every_operation() {
    let history = History::new(3);
    let clean = MemFs::new();
    life(&clean, &history);
    assert!(clean.paths().iter().any(|path| path.to_string_lossy().contains("replaced-")));
    let mut cases = 0;
    for operations in 0..=clean.operations() {
        let mut left = 0;
        loop {
            let fs = MemFs::new();
            // The second life begins with an archive.
            life(&fs, &history);
            let fs = if operations % 2 == 0 { MemFs::new() } else { fs };
            fs.cut_power_after(operations);
            life(&fs, &history);
            let fixed = [Crash::Process, Crash::Power, Crash::Torn(operations)];
            let crashes = fixed.into_iter().chain((1..=fs.unsynced()).map(Crash::Prefix));
            let crashes: Vec<Crash> = crashes.collect();
            fs.crash(crashes[left]);
            let place = format!("power for {operations} operations, {:?}", crashes[left]);
            check_after(&fs, &history, &place);
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
fn every_operation_may_fail_and_the_writer_goes_on() {
    let history = History::new(4);
    let clean = MemFs::new();
    life(&clean, &history);
    let mut cases = 0;
    for op in Op::ALL {
        for nth in 1..=clean.count(op) {
            for fault in [Fault::Io, Fault::NoSpace, Fault::Short(60)] {
                let fs = MemFs::new();
                fs.inject(op, nth, fault);
                let place = format!("{op:?} {nth} {fault:?}");
                if let Ok(historian) = open(&fs, true) {
                    history.replay(&historian, |historian| {
                        // The writer has tried again by itself when the second call returns.
                        let flushed = historian.flush().or_else(|_| historian.flush());
                        flushed.unwrap_or_else(|error| panic!("{place}: {error}"));
                        // Merging may wait.
                        let _ = merge(historian);
                    });
                    let telemetry = historian.snapshot(history.last()).unwrap();
                    telemetry.check_files().unwrap();
                    assert_eq!(contents(&telemetry), history.expected, "{place}");
                }
                fs.crash(Crash::Power);
                check_after(&fs, &history, &place);
                cases += 1;
            }
        }
    }
    println!("{cases} cases");
}

#[test]
fn a_full_disk_leaves_nothing_unfinished_behind() {
    let history = History::new(5);
    let fs = MemFs::new();
    let historian = open(&fs, false).unwrap();
    fs.set_capacity(Some(700));
    history.replay(&historian, |_| {});
    let error = historian.flush().unwrap_err().to_string();
    assert!(error.contains("no storage space"), "{error}");
    let unfinished = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "tmp");
    assert!(!fs.paths().iter().any(unfinished), "{:?}", fs.paths());
    let telemetry = historian.snapshot(history.last()).unwrap();
    assert_eq!(contents(&telemetry), history.expected, "readers notice nothing");
    drop(historian);
    fs.set_capacity(None);
    check_after(&fs, &history, "with space again");
}

#[test]
fn every_byte_of_the_archive_is_guarded() {
    let history = History::new(6);
    let clean = MemFs::new();
    life(&clean, &history);
    let shared: Arc<dyn Fs> = Arc::new(clean.clone());
    let manifest = Manifest::open(&shared, place()).unwrap();
    let path = place().join("manifest.json");
    let bytes = clean.contents(&path).unwrap();
    let mut cases = 0;
    let mut damaged = |bytes: &[u8], what: String| {
        clean.set_contents(&path, bytes);
        match Manifest::open(&shared, place()) {
            // White space around the contents says nothing.
            Ok(found) => assert_eq!(found, manifest, "{what}"),
            Err(Error::Manifest { .. }) => {}
            Err(error) => panic!("{what}: {error}"),
        }
        cases += 1;
    };
    for at in 0..bytes.len() {
        for (name, filler) in [("the end", None), ("zeros", Some(0)), ("rubbish", Some(0xa5))] {
            let mut cut = bytes[..at].to_vec();
            if let Some(filler) = filler {
                cut.resize(bytes.len(), filler);
            }
            damaged(&cut, format!("cut at {at}, then {name}"));
        }
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            damaged(&flipped, format!("bit {bit} of byte {at}"));
        }
    }
    clean.set_contents(&path, &bytes);

    let list = manifest.replaced.clone().unwrap();
    let path = place().join(&list.path);
    let bytes = clean.contents(&path).unwrap();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        clean.set_contents(&path, &flipped);
        let read = replaced::read(&clean, &path, list.sum());
        assert!(matches!(read, Err(Error::Damaged { .. })), "byte {at}: {read:?}");
        cases += 1;
    }
    clean.set_contents(&path, &bytes);

    let historian = open(&clean, true).unwrap();
    let telemetry = historian.snapshot(history.last()).unwrap();
    assert!(!telemetry.older.is_empty());
    for file in telemetry.files().iter().chain(telemetry.older.iter()) {
        let path = place().join(&file.path);
        let bytes = clean.contents(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            clean.set_contents(&path, &flipped);
            let checked = telemetry.check_files();
            let told = matches!(&checked, Err(Error::Damaged { path: told }) if *told == path);
            assert!(told, "byte {at} of {}: {checked:?}", file.path);
            cases += 1;
        }
        clean.set_contents(&path, &bytes);
    }
    println!("{cases} cases");
}
