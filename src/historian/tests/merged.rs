//! Files that become one, and those who read them meanwhile.

use super::*;
use crate::base::fs::{Fs, MemFs};
use std::sync::Arc;

/// An archive of ten files of one day, in which every key was corrected again and again.
fn archive(fs: &MemFs) -> (Historian, Keys) {
    let options = Options { merge_files: 0, ..Options::default() };
    let historian = Historian::open_on(Arc::new(fs.clone()), Path::new("a"), options).unwrap();
    named(&historian);
    let mut expected = Keys::new();
    for epoch in 1..=10 {
        let (mut points, mut superseded) = (Vec::new(), Vec::new());
        for asset in 0..5 {
            let time = START + (epoch as i64 / 3) * 1_000;
            let key = (format!("p-{}", 9 - asset), "speed".to_string(), time);
            if expected.insert(key, (epoch as f64, epoch)).is_some() {
                superseded.push((TypeId(0), asset, 0, time));
            }
            points.push((asset, time, 0, epoch as f64));
        }
        feed(&historian, epoch, &(rows(&points), superseded));
        historian.flush().unwrap();
    }
    (historian, expected)
}

#[test]
fn ten_files_become_one_and_the_list_of_replaced_points_goes() {
    let fs = MemFs::new();
    let (historian, expected) = archive(&fs);
    let before = historian.snapshot(Epoch(10)).unwrap();
    assert_eq!(before.files().len(), 10);
    assert!(before.replaced().unwrap().is_some());
    assert!(historian.shared.merge_once(8).unwrap());
    assert!(!historian.shared.merge_once(8).unwrap());

    let after = historian.snapshot(Epoch(10)).unwrap();
    assert_eq!((after.files().len(), after.older().len()), (1, 1));
    assert!(after.replaced().unwrap().is_none());
    assert_eq!((after.files()[0].rows, after.older()[0].rows), (20, 30));
    assert_eq!(contents(&after), expected);
    after.check_files().unwrap();

    // Who has begun to read goes on, whatever is tidied up meanwhile.
    historian.shared.remove_retired();
    assert_eq!(contents(&before), expected);
    before.check_files().unwrap();
    let gone: Vec<_> = before.files().iter().map(|file| Path::new("a").join(&file.path)).collect();
    drop(before);
    assert!(gone.iter().all(|path| fs.exists(path)));
    historian.shared.remove_retired();
    assert!(!gone.iter().any(|path| fs.exists(path)));

    // Nothing but what the manifest names is left, also for the next who opens the archive.
    let paths = fs.paths().len();
    assert_eq!(paths, 3, "{:?}", fs.paths());
    drop((historian, after));
    let again =
        Historian::open_on(Arc::new(fs.clone()), Path::new("a"), Options::default()).unwrap();
    assert_eq!(contents(&again.snapshot(Epoch(10)).unwrap()), expected);
    assert_eq!(fs.paths().len(), paths);
}

#[test]
fn what_is_damaged_does_not_become_whole() {
    let fs = MemFs::new();
    let (historian, _) = archive(&fs);
    let telemetry = historian.snapshot(Epoch(10)).unwrap();
    let path = Path::new("a").join(&telemetry.files()[4].path);
    let mut bytes = fs.contents(&path).unwrap();
    bytes[40] ^= 4;
    fs.set_contents(&path, &bytes);
    let refused = historian.shared.merge_once(8).unwrap_err();
    assert!(matches!(&refused, Error::Damaged { path: told } if *told == path), "{refused}");
    assert_eq!(historian.snapshot(Epoch(10)).unwrap().files().len(), 10);

    // It is left alone, and the others become one without it.
    assert!(historian.shared.leave(&refused));
    assert!(historian.shared.merge_once(8).unwrap());
    assert!(!historian.shared.merge_once(2).unwrap());
    let after = historian.snapshot(Epoch(10)).unwrap();
    assert_eq!(after.files().len(), 2);
    assert!(after.files().contains(&telemetry.files()[4]));
    let other = Error::Damaged { path: Path::new("a").join("telemetry/other.parquet") };
    assert!(!historian.shared.leave(&other));
}

/// The background merges what can be merged, whatever file cannot be read.
#[test]
fn a_damaged_file_holds_up_no_other_group() {
    let fs = MemFs::new();
    let (historian, expected) = archive(&fs);
    let telemetry = historian.snapshot(Epoch(10)).unwrap();
    let path = Path::new("a").join(&telemetry.files()[0].path);
    let whole = fs.contents(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[40] ^= 4;
    fs.set_contents(&path, &bytes);
    drop((historian, telemetry));
    let open = || {
        let options = Options { merge_files: 2, ..Options::default() };
        Historian::open_on(Arc::new(fs.clone()), Path::new("a"), options).unwrap()
    };
    let left = |historian: &Historian, files: usize| {
        // A merge is seen by whoever waits for a change.
        let mut state = historian.shared.lock();
        while state.manifest.files.len() > files {
            state = historian.shared.wait(state);
        }
        state.manifest.files.iter().any(|file| Path::new("a").join(&file.path) == path)
    };
    let historian = open();
    assert!(left(&historian, 2), "the nine others became one");
    drop(historian);
    // A restart tries again.
    fs.set_contents(&path, &whole);
    let historian = open();
    assert!(!left(&historian, 1), "{:?}", fs.paths());
    assert_eq!(contents(&historian.snapshot(Epoch(10)).unwrap()), expected);
}

/// Rows of several row groups, with texts, and more words than one row group has.
#[test]
fn large_files_are_merged_group_by_group() {
    let fs = MemFs::new();
    let options = Options { merge_files: 0, ..Options::default() };
    let historian = Historian::open_on(Arc::new(fs.clone()), Path::new("a"), options).unwrap();
    named(&historian);
    let mut expected = Keys::new();
    for epoch in 1..=3_u64 {
        let point = |i: i64| {
            let time = START + (i * 3 + epoch as i64) * 1_000;
            ((i % 5) as u32, time, (i % 3) as u32, (i % 977) as f64)
        };
        let points: Vec<(u32, i64, u32, f64)> = (0..110_000).map(point).collect();
        for (asset, time, slot, value) in &points {
            let key =
                (format!("p-{}", 9 - asset), ["speed", "count", "mode"][*slot as usize].into());
            let value = if *slot == 2 { 0.0 } else { *value };
            expected.insert((key.0, key.1, *time), (value, epoch));
        }
        feed(&historian, epoch, &(rows(&points), Vec::new()));
        historian.flush().unwrap();
    }
    let ask = Ask { asset: "p-7".into(), from: START, to: START + 900_000_000, after: Epoch(1) };
    let texts = |historian: &Historian| {
        let found = historian.history(std::slice::from_ref(&ask), Epoch(2), 1_000_000).unwrap();
        let points = found[0].as_ref().unwrap();
        let mut texts: Vec<(i64, Option<String>)> = (0..points.len())
            .map(|i| (points.times[i], points.texts[i].as_deref().map(String::from)))
            .collect();
        texts.sort();
        texts
    };
    let before = texts(&historian);
    assert!(historian.shared.merge_once(3).unwrap());
    let telemetry = historian.snapshot(Epoch(3)).unwrap();
    assert_eq!((telemetry.files().len(), telemetry.files()[0].rows), (1, 330_000));
    assert!(contents(&telemetry) == expected);
    assert_eq!(texts(&historian), before);
}
