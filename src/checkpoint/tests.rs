//! Checkpoints on a disk that breaks.

use super::*;
use crate::base::fs::{Crash, Fault, Fs, MemFs, Op};
use crate::model::{Epoch, Timestamp};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIR: &str = "data/checkpoints";

fn open(fs: &MemFs) -> Store {
    Store::open(Arc::new(fs.clone()), Path::new(DIR)).unwrap()
}

fn contents(epoch: u64, name: &str) -> Vec<u8> {
    (0..40 + epoch).map(|i| (i * epoch) as u8 ^ name.len() as u8).collect()
}

fn take(store: &mut Store, epoch: u64) -> Result<(), Error> {
    let mut draft = store.begin(Epoch(epoch));
    for name in ["assets", "views"] {
        let mut part = draft.part(name)?;
        let bytes = contents(epoch, name);
        part.write_all(&bytes[..7]).unwrap();
        part.write_all(&bytes[7..]).unwrap();
        draft.add(part)?;
    }
    store.publish(draft, Timestamp(5), 7)?;
    store.prune();
    Ok(())
}

fn epochs(store: &Store) -> Vec<u64> {
    store.kept().iter().map(|taken| taken.epoch.0).collect()
}

/// The newest checkpoint that can be read whole.
fn newest(store: &Store) -> Option<u64> {
    let whole = |epoch: &u64| {
        ["assets", "views"].iter().all(|name| match store.read(Epoch(*epoch), name) {
            Ok(bytes) => {
                assert_eq!(bytes, contents(*epoch, name), "epoch {epoch}, {name}");
                true
            }
            Err(_) => false,
        })
    };
    epochs(store).into_iter().rev().find(whole)
}

#[test]
fn two_are_kept_and_read_back() {
    let fs = MemFs::new();
    let mut store = open(&fs);
    assert_eq!(newest(&store), None);
    for epoch in 1..=4 {
        take(&mut store, epoch).unwrap();
        assert_eq!(newest(&store), Some(epoch));
    }
    assert_eq!(epochs(&store), [3, 4]);
    assert_eq!(fs.paths().len(), 6, "{:?}", fs.paths());
    let again = open(&fs);
    assert_eq!((epochs(&again), newest(&again)), (vec![3, 4], Some(4)));
    assert_eq!(again.kept()[1].bytes(), 88);
    assert!(matches!(again.read(Epoch(4), "other"), Err(Error::Missing { .. })));
}

#[test]
fn a_large_part_is_written_in_pieces() {
    let fs = MemFs::new();
    let mut store = open(&fs);
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i >> 7) as u8).collect();
    let mut draft = store.begin(Epoch(9));
    let mut part = draft.part("assets").unwrap();
    for piece in bytes.chunks(700_000) {
        part.write_all(piece).unwrap();
    }
    part.write_all(&bytes[..2_000_000]).unwrap();
    draft.add(part).unwrap();
    store.publish(draft, Timestamp(0), 0).unwrap();
    let read = store.read(Epoch(9), "assets").unwrap();
    assert!(read[..5_000_000] == bytes[..] && read[5_000_000..] == bytes[..2_000_000]);
}

#[test]
fn every_flipped_bit_is_found_and_the_one_before_is_used() {
    let fs = MemFs::new();
    let mut store = open(&fs);
    take(&mut store, 1).unwrap();
    take(&mut store, 2).unwrap();
    let mut tried = 0;
    let newer: Vec<PathBuf> =
        fs.paths().into_iter().filter(|path| path.to_str().unwrap().contains("2.")).collect();
    assert_eq!(newer.len(), 3);
    for path in newer {
        let whole = fs.contents(&path).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let disk = copy(&fs);
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                disk.set_contents(&path, &bytes);
                assert_eq!(newest(&open(&disk)), Some(1), "{} byte {at} bit {bit}", path.display());
                tried += 1;
            }
        }
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            let disk = copy(&fs);
            disk.set_contents(&path, &whole[..length]);
            assert_eq!(newest(&open(&disk)), Some(1), "{} cut to {length}", path.display());
        }
        let disk = copy(&fs);
        disk.remove(&path).unwrap();
        assert_eq!(newest(&open(&disk)), Some(1), "{} gone", path.display());
    }
    assert!(tried > 1_500, "{tried}");
}

/// Another disk with the same files.
fn copy(fs: &MemFs) -> MemFs {
    let other = MemFs::new();
    for path in fs.paths() {
        other.set_contents(&path, &fs.contents(&path).unwrap());
    }
    other
}

#[test]
fn a_discarded_one_leaves_nothing() {
    let fs = MemFs::new();
    let mut store = open(&fs);
    take(&mut store, 1).unwrap();
    take(&mut store, 2).unwrap();
    store.discard(Epoch(2)).unwrap();
    assert_eq!(newest(&store), Some(1));
    take(&mut store, 3).unwrap();
    assert_eq!(epochs(&open(&fs)), [1, 3]);
    assert_eq!(fs.paths().len(), 6);
}

#[test]
fn what_not_all_processes_have_goes() {
    let fs = MemFs::new();
    let mut store = open(&fs);
    take(&mut store, 1).unwrap();
    take(&mut store, 2).unwrap();
    let draft = store.begin(Epoch(3));
    store.publish(draft, Timestamp(5), 7).unwrap();
    assert_eq!(epochs(&open(&fs)), [1, 2, 3]);
    store.withdraw(Epoch(3)).unwrap();
    assert_eq!(epochs(&open(&fs)), [1, 2]);
    store.retain(&[Epoch(1), Epoch(7)]).unwrap();
    assert_eq!(epochs(&open(&fs)), [1]);
    assert_eq!(fs.paths().len(), 3);
}

#[test]
fn one_of_another_version_is_neither_used_nor_removed() {
    let fs = MemFs::new();
    let mut store = open(&fs);
    take(&mut store, 1).unwrap();
    let path = Path::new(DIR).join(format!("{:020}.manifest", 1));
    let text = String::from_utf8(fs.contents(&path).unwrap()).unwrap();
    let line = text.lines().next().unwrap();
    let known = format!("\"format_version\":{}", super::FORMAT_VERSION);
    let line = line.replace(&known, "\"format_version\":999,\"new\":1") + "\n";
    let crc = crc32c::crc32c(line.as_bytes());
    fs.set_contents(&path, format!("{line}{crc:08x}\n").as_bytes());
    let mut store = open(&fs);
    assert_eq!(newest(&store), None);
    for epoch in 2..6 {
        take(&mut store, epoch).unwrap();
    }
    assert!(fs.contents(&path).is_some());
    assert_eq!(fs.paths().len(), 9);
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_whole_one() {
    let operations = [Op::Create, Op::Append, Op::Sync, Op::SyncDir, Op::Rename, Op::Remove];
    let mut failed = 0;
    for op in operations {
        for nth in 1..40 {
            for crash in [Crash::Process, Crash::Power, Crash::Torn(nth * 31)] {
                let fs = MemFs::new();
                let mut store = open(&fs);
                take(&mut store, 1).unwrap();
                take(&mut store, 2).unwrap();
                fs.inject(op, nth, Fault::Io);
                let result = take(&mut store, 3);
                failed += u32::from(result.is_err());
                fs.crash(crash);
                let mut store = open(&fs);
                let found = newest(&store).unwrap_or_default();
                let least = if result.is_ok() { 3 } else { 2 };
                assert!(found >= least, "{op:?} {nth} {crash:?}: {found} after {result:?}");
                take(&mut store, 4).unwrap();
                assert_eq!(newest(&open(&fs)), Some(4));
                let left = fs.paths();
                assert!(left.len() <= 6, "{op:?} {nth} {crash:?}: {left:?}");
            }
        }
    }
    assert!(failed > 20, "{failed}");
}

#[test]
fn a_full_disk_keeps_what_was_there() {
    let fs = MemFs::new();
    let mut store = open(&fs);
    take(&mut store, 1).unwrap();
    let used = fs.paths().iter().map(|path| fs.contents(path).unwrap().len() as u64).sum::<u64>();
    for room in 0..300 {
        fs.set_capacity(Some(used + room));
        let taken = take(&mut store, 2);
        fs.set_capacity(None);
        if taken.is_ok() {
            assert!(room > 80, "{room}");
            return;
        }
        assert_eq!(newest(&open(&fs)), Some(1), "room for {room} bytes");
    }
    panic!("it never fits");
}
