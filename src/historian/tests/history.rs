//! Pages of history against a fold of all that was accepted.

use super::*;
use crate::base::fs::{Fs, MemFs};
use crate::model::PagePoints;
use std::sync::Arc;

const NAMES: [&str; 3] = ["speed", "count", "mode"];

/// A key as ids: asset, event time, slot.
type Key = (u32, i64, u32);
/// What a page has of each metric and event time: number or text, and status code.
type Contents = BTreeMap<(String, i64), (Result<u64, String>, u32)>;

/// What an epoch brings.
#[derive(Default)]
struct Frame {
    epoch: u64,
    /// As they are handed over, one after the other.
    points: Vec<Vec<(u32, i64, u32, f64)>>,
    superseded: Vec<Key>,
    deleted: Vec<Key>,
}

/// All that ever came: a log.
struct Log {
    random: Random,
    frames: Vec<Frame>,
    live: BTreeMap<Key, (f64, u64)>,
}

impl Log {
    fn new(seed: u64) -> Self {
        Self { random: Random(seed), frames: Vec::new(), live: BTreeMap::new() }
    }

    fn last(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.epoch)
    }

    /// Few keys, so that most come again; epochs that follow each other at once, mostly.
    fn frame(&mut self) -> &Frame {
        let random = &mut self.random;
        let epoch = self.frames.last().map_or(0, |frame| frame.epoch) + 1 + random.below(4) / 3 * 5;
        let mut frame = Frame { epoch, ..Frame::default() };
        let mut came = Vec::new();
        for _ in 0..1 + random.below(2) {
            let mut points = BTreeMap::new();
            for _ in 0..random.below(10) {
                let time = START + random.below(3) as i64 * DAY / 2 + random.below(3) as i64;
                let key = (random.below(4) as u32, time, random.below(3) as u32);
                points.insert(key, random.below(1000) as f64);
            }
            came.extend(points.keys().copied());
            let points = points.into_iter().map(|((asset, time, slot), v)| (asset, time, slot, v));
            frame.points.push(points.collect());
        }
        for key in came {
            if self.live.contains_key(&key) {
                frame.superseded.push(key);
            }
        }
        for (asset, time, slot, value) in frame.points.iter().flatten() {
            self.live.insert((*asset, *time, *slot), (*value, epoch));
        }
        for _ in 0..random.below(4) {
            let at = random.below(1 + self.live.len() as u64) as usize;
            if let Some(key) = self.live.keys().nth(at).copied() {
                self.live.remove(&key);
                frame.deleted.push(key);
            }
        }
        self.frames.push(frame);
        &self.frames[self.frames.len() - 1]
    }

    /// What ordinary readers see.
    fn newest(&self) -> Keys {
        let number = |(key, value): (&Key, &(f64, u64))| {
            let (asset, time, slot) = *key;
            let value = if slot == 2 { (0.0, value.1) } else { *value };
            ((format!("p-{}", 9 - asset), NAMES[slot as usize].into(), time), value)
        };
        self.live.iter().map(number).collect()
    }

    /// The points of an ask, found the long way.
    fn fold(&self, ask: &Ask, as_of: u64) -> Contents {
        let mut found = Contents::new();
        for frame in self.frames.iter().filter(|frame| frame.epoch <= as_of) {
            let asked = |asset: u32, time: i64| {
                *ask.asset == format!("p-{}", 9 - asset) && (ask.from..=ask.to).contains(&time)
            };
            for (asset, time, slot, value) in frame.points.iter().flatten().copied() {
                if asked(asset, time) && frame.epoch > ask.after.0 {
                    let number = if slot == 1 { (value as u64) as f64 } else { value };
                    let shown = match slot {
                        2 => Err(format!("run {value}")),
                        _ => Ok(number.to_bits()),
                    };
                    found.insert((NAMES[slot as usize].into(), time), (shown, value as u32));
                }
            }
            for (asset, time, slot) in frame.deleted.iter().copied() {
                if asked(asset, time) {
                    found.remove(&(NAMES[slot as usize].into(), time));
                }
            }
        }
        found
    }
}

fn contents_of(points: &PagePoints) -> Contents {
    let mut found = Contents::new();
    assert!(points.texts.is_empty() || points.texts.len() == points.len());
    for i in 0..points.len() {
        let key = (points.names[points.metrics[i] as usize].to_string(), points.times[i]);
        let shown = match points.texts.get(i).cloned().flatten() {
            Some(text) => Err(text.to_string()),
            None => Ok(points.values[i].to_bits()),
        };
        let before = found.insert(key.clone(), (shown, points.quality[i]));
        assert!(before.is_none(), "twice: {key:?}");
    }
    found
}

fn take(historian: &Historian, frame: &Frame) {
    let epoch = Epoch(frame.epoch);
    for points in &frame.points {
        historian.accept(epoch, rows(points)).unwrap();
    }
    let named = |keys: &[Key]| -> Vec<(TypeId, u32, u32, i64)> {
        keys.iter().map(|(asset, time, slot)| (TypeId(0), *asset, *slot, *time)).collect()
    };
    historian.superseded(epoch, &named(&frame.superseded)).unwrap();
    historian.deleted(epoch, &named(&frame.deleted)).unwrap();
    historian.close_epoch(epoch, Timestamp(frame.epoch as i64 * 1_000_000));
}

/// Asks at random, for the past up to an epoch.
fn check(historian: &Historian, log: &Log, random: &mut Random, last: u64, place: &str) {
    let as_of = random.below(last + 1);
    let mut asks = Vec::new();
    for _ in 0..random.below(5) {
        let from = START + random.below(5) as i64 * DAY / 4;
        asks.push(Ask {
            asset: format!("p-{}", 10 - random.below(6)).into(),
            from,
            to: from + random.below(3) as i64 * DAY / 2 + random.below(3) as i64,
            after: Epoch(random.below(3) * random.below(as_of + 1) / 2),
        });
    }
    let most = random.below(12) as usize;
    let found = historian.history(&asks, Epoch(as_of), most).unwrap();
    let all = historian.history(&asks, Epoch(as_of), usize::MAX).unwrap();
    assert_eq!((found.len(), all.len()), (asks.len(), asks.len()));
    for ((ask, found), all) in asks.iter().zip(found).zip(all) {
        let place = format!("{place}, as of {as_of}: {ask:?}");
        let expected = log.fold(ask, as_of);
        assert_eq!(contents_of(&all.unwrap()), expected, "{place}");
        match found {
            Some(points) => assert_eq!(contents_of(&points), expected, "{place}"),
            None => assert!(expected.len() > most, "{place}"),
        }
        if expected.len() > most {
            assert!(
                historian.history(std::slice::from_ref(ask), Epoch(as_of), most).unwrap()[0]
                    .is_none()
            );
        }
    }
}

fn check_history(seed: u64) {
    println!("seed {seed}");
    let mut random = Random(seed * 1_000);
    let (mut log, fs) = (Log::new(seed), MemFs::new());
    // In memory only, in many small files, in both.
    let cut = match seed % 3 {
        0 => Options::default().cut_points,
        cut => cut as usize * 30,
    };
    let options = Options { cut_points: cut, merge_files: seed as usize % 5, ..Options::default() };
    let open = || Historian::open_on(Arc::new(fs.clone()), Path::new("a"), options.clone());
    let mut historian = open().unwrap();
    named(&historian);
    for _ in 0..40 {
        let epoch = log.frame().epoch;
        take(&historian, &log.frames[log.frames.len() - 1]);
        let place = format!("seed {seed}, epoch {epoch}");
        if !seed.is_multiple_of(3) && random.below(12) == 0 {
            historian.flush().unwrap();
        }
        if random.below(15) == 0 {
            drop(historian);
            historian = open().unwrap();
            let archived = historian.archived_epoch();
            check(&historian, &log, &mut random, archived.0, &format!("{place}, just opened"));
            let later = historian.history(&[], archived.next(), 1);
            assert!(matches!(later, Err(Error::NotClosed { .. })), "{later:?}");
            named(&historian);
            for frame in &log.frames {
                take(&historian, frame);
            }
        }
        let telemetry = historian.snapshot(Epoch(epoch)).unwrap();
        assert_eq!(contents(&telemetry), log.newest(), "{place}");
        check(&historian, &log, &mut random, epoch, &place);
    }
    historian.flush().unwrap();
    drop(historian);
    let historian = open().unwrap();
    assert_eq!(contents(&historian.snapshot(Epoch(log.last())).unwrap()), log.newest());
    for _ in 0..20 {
        check(&historian, &log, &mut random, log.last(), &format!("seed {seed}, files"));
    }
}

#[test]
fn the_past_is_what_a_fold_of_all_that_came_gives() {
    for seed in 1..=20 {
        check_history(seed);
    }
}

/// 200 rows of 5 assets on a day, in files of some pages.
#[test]
fn a_page_is_found_in_large_files() {
    let fs = MemFs::new();
    let historian =
        Historian::open_on(Arc::new(fs.clone()), Path::new("a"), Options::default()).unwrap();
    named(&historian);
    let points: Vec<(u32, i64, u32, f64)> = (0..60_000)
        .map(|i| ((i % 5) as u32, START + i / 5 * 1_000, (i % 3) as u32, (i % 977) as f64))
        .collect();
    let mut log = Log::new(0);
    log.frames.push(Frame { epoch: 3, points: vec![points], ..Frame::default() });
    take(&historian, &log.frames[0]);
    historian.flush().unwrap();
    let mut random = Random(7);
    for _ in 0..10 {
        let from = START + random.below(12_000_000) as i64;
        let asset = format!("p-{}", 9 - random.below(5)).into();
        let ask = Ask { asset, from, to: from + random.below(900_000) as i64, after: Epoch(0) };
        let found = historian.history(std::slice::from_ref(&ask), Epoch(3), 100_000).unwrap();
        assert_eq!(contents_of(found[0].as_ref().unwrap()), log.fold(&ask, 3), "{ask:?}");
    }
}

#[test]
fn a_damaged_file_is_no_history() {
    let fs = MemFs::new();
    let historian =
        Historian::open_on(Arc::new(fs.clone()), Path::new("a"), Options::default()).unwrap();
    named(&historian);
    historian.accept(Epoch(1), rows(&[(0, START, 0, 1.0)])).unwrap();
    historian.close_epoch(Epoch(1), Timestamp(0));
    historian.flush().unwrap();
    let asks = [Ask { asset: "p-9".into(), from: i64::MIN, to: i64::MAX, after: Epoch(0) }];
    let telemetry = historian.snapshot(Epoch(1)).unwrap();
    let path = Path::new("a").join(&telemetry.files()[0].path);
    let bytes = fs.contents(&path).unwrap();
    fs.set_contents(&path, &bytes[..bytes.len() - 1]);
    assert!(matches!(historian.history(&asks, Epoch(1), 9), Err(Error::File { .. })));
    let mut zeros = bytes.clone();
    zeros.fill(0);
    fs.set_contents(&path, &zeros);
    assert!(matches!(historian.history(&asks, Epoch(1), 9), Err(Error::Read { .. })));
    fs.remove(&path).unwrap();
    assert!(matches!(historian.history(&asks, Epoch(1), 9), Err(Error::Io { .. })));
    fs.set_contents(&path, &bytes);
    assert_eq!(historian.history(&asks, Epoch(1), 9).unwrap()[0].as_ref().unwrap().len(), 1);
}
