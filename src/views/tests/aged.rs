//! Random differences of which old rows leave memory at any time: memory and files together have
//! what the differences say, a row as often as they say it.

use super::*;
use crate::model::{ArchiveFile, Duration, ErrorRow};
use arrow::array::{AsArray, UInt64Array};
use arrow::datatypes::UInt64Type;
use futures::FutureExt;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Files that are kept in memory.
#[derive(Default)]
struct Shelf {
    files: Mutex<BTreeMap<String, Vec<RecordBatch>>>,
    reads: AtomicUsize,
}

impl Shelf {
    fn of(&self, file: &ArchiveFile) -> Vec<RecordBatch> {
        self.files.lock().unwrap()[&file.path].clone()
    }

    fn write(&self, leaving: &Leaving) -> ArchiveFile {
        let mut batches = Vec::new();
        let taken = leaving.batches(|batch| -> Result<(), arrow::error::ArrowError> {
            batches.push(batch);
            Ok(())
        });
        taken.unwrap();
        let epoch = leaving.epoch().0;
        let path = format!("{}/{}", leaving.view().name(), leaving.name());
        let (min_epoch, max_epoch) = (epoch, epoch);
        self.files.lock().unwrap().insert(path.clone(), batches);
        ArchiveFile { rows: 1, min_epoch, max_epoch, ..ArchiveFile::new(path) }
    }
}

impl OldFiles for Shelf {
    fn read(
        &self,
        files: &[ArchiveFile],
        wanted: &Wanted,
    ) -> Result<Vec<(usize, RecordBatch)>, String> {
        assert!(!wanted.of.is_empty() && wanted.time == "event_time");
        self.reads.fetch_add(1, Ordering::Relaxed);
        let read =
            |(at, file): (usize, &ArchiveFile)| self.of(file).into_iter().map(move |b| (at, b));
        Ok(files.iter().enumerate().flat_map(read).collect())
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

type Bag = BTreeMap<String, i64>;

fn add(bag: &mut Bag, line: &str, diff: i64) {
    let count = bag.entry(line.into()).or_default();
    *count += diff;
    assert!(*count >= 0, "{line} was taken back before it came");
    if *count == 0 {
        bag.remove(line);
    }
}

/// Memory and files together; what does not count is looked up in both ways in which readers do.
fn whole(in_memory: &[RecordBatch], archived: Option<&dyn InFiles>, shelf: &Shelf) -> Bag {
    let mut bag = Bag::new();
    lines(in_memory).iter().for_each(|line| add(&mut bag, line, 1));
    let Some(archived) = archived else { return bag };
    let but = archived.but().unwrap();
    for file in archived.files() {
        for batch in shelf.of(file) {
            for (i, line) in lines(std::slice::from_ref(&batch)).iter().enumerate() {
                let is_listed = but.iter().any(|list| {
                    let (columns, before) = list.columns().split_at(list.num_columns() - 1);
                    let before: &UInt64Array = before[0].as_primitive::<UInt64Type>();
                    (0..list.num_rows()).any(|at| {
                        let same = columns.iter().enumerate().all(|(column, values)| {
                            values.slice(at, 1).to_data()
                                == batch.column(column).slice(i, 1).to_data()
                        });
                        same && file.min_epoch < before.value(at)
                    })
                });
                let counts = archived.has(&batch, i, Epoch(file.min_epoch));
                assert_eq!(counts, !is_listed, "{line}");
                if counts {
                    add(&mut bag, line, 1);
                }
            }
        }
    }
    bag
}

fn row(random: &mut Random, now: i64) -> ErrorRow {
    ErrorRow {
        asset: format!("a{}", random.below(3)).into(),
        source: "s".into(),
        event_time: (now - random.below(12) as i64).max(0),
        message: format!("m{}", random.below(2)).into(),
    }
}

/// The row as the view shows it.
fn line(row: &ErrorRow) -> String {
    let views = Views::new(Limits::default());
    views.apply(Epoch(1), vec![Change::Errors(vec![(row.clone(), 1)])]);
    show(&views, "errors", &Filter::default()).remove(0)
}

fn run(seed: u64) -> (usize, usize) {
    let (mut random, shelf) = (Random(seed * 7_919), Arc::new(Shelf::default()));
    let open = || {
        let views = Views::with_clock(Limits::default(), Arc::new(ManualClock::at(0)));
        views.read_from(Arc::clone(&shelf) as _);
        views
    };
    let stay = InMemory {
        windows: 2,
        age: Duration(random.below(6) as i64),
        most: [2, 5, 1_000][random.below(3) as usize],
        rows: 0,
    };
    let (mut views, mut bag, mut said) = (open(), Bag::new(), BTreeMap::<ErrorRow, i64>::new());
    let (mut on_its_way, mut now): (Option<(Leaving, ArchiveFile)>, i64) = (None, 0);
    let mut hears: Option<(Subscription, Bag)> = None;
    let mut lines_of: BTreeMap<ErrorRow, String> = BTreeMap::new();
    for epoch in 1..120 {
        now += random.below(3) as i64;
        let mut changes = vec![Change::Clock(Timestamp(now))];
        if random.below(30) == 0 {
            let gone: Arc<str> = format!("a{}", random.below(3)).into();
            said.retain(|row, _| row.asset != gone);
            changes.push(Change::Removed(vec![(0, gone)]));
            // What is in files goes untold.
            hears = None;
        }
        let mut rows = Vec::new();
        for _ in 0..random.below(4) {
            let known: Vec<ErrorRow> = said.keys().cloned().collect();
            let (row, diff) = match random.below(3) {
                0 if !known.is_empty() => {
                    (known[random.below(known.len() as u64) as usize].clone(), -1)
                }
                _ => (row(&mut random, now), 1),
            };
            let count = said.entry(row.clone()).or_default();
            *count += diff;
            if *count == 0 {
                said.remove(&row);
            }
            rows.push((row, diff));
        }
        changes.extend(rows.chunks(2).map(|rows| Change::Errors(rows.to_vec())));
        views.apply(Epoch(epoch), changes);
        bag.clear();
        for (row, count) in &said {
            add(&mut bag, lines_of.entry(row.clone()).or_insert_with(|| line(row)), *count);
        }
        // The file may be long on its way.
        if random.below(2) == 0
            && let Some((leaving, file)) = on_its_way.take()
        {
            match leaving.is_empty() {
                true => views.stay(&leaving),
                false => assert!(views.leave(&leaving, file)),
            }
        }
        if on_its_way.is_none()
            && let Some(old) = views.old(stay)
        {
            let leaving = old.leaving(&*shelf).unwrap();
            let file = shelf.write(&leaving);
            on_its_way = Some((leaving, file));
        }
        let snapshot = views.whole_snapshot(&["errors"], &Filter::default()).unwrap();
        let found =
            whole(&snapshot.views[0].batches, snapshot.views[0].archived.as_deref(), &shelf);
        assert_eq!(found, bag, "seed {seed}, epoch {epoch}");

        if let Some((subscription, fold)) = &mut hears {
            while let Some(Some(message)) = subscription.next().now_or_never() {
                let Message::Batch(delta) = message else { continue };
                for told in lines(std::slice::from_ref(&delta.rows)) {
                    let (line, diff) = told.rsplit_once('|').unwrap();
                    add(fold, line, diff.parse().unwrap());
                }
            }
            assert_eq!(*fold, bag, "seed {seed}, epoch {epoch}");
        }
        if random.below(10) == 0 {
            let mut new = views.subscribe("errors", Filter::default(), Envelope::Diff).unwrap();
            let archived = new.archived.take();
            let fold = whole(&new.snapshot, archived.as_deref(), &shelf);
            hears = Some((new, fold));
        }
        if random.below(15) == 0 {
            let mut bytes = Vec::new();
            views.image().unwrap().write(&mut bytes).unwrap();
            let restored = Image::read(&bytes, Limits::default()).unwrap();
            let named = restored.files();
            let is_named = |path: &String| named.iter().any(|file| file.path == *path);
            shelf.files.lock().unwrap().retain(|path, _| is_named(path));
            views = open();
            views.restore(restored);
            (on_its_way, hears) = (None, None);
        }
    }
    let files = shelf.files.lock().unwrap().len();
    (files, shelf.reads.load(Ordering::Relaxed))
}

#[test]
fn memory_and_files_together_are_what_the_differences_say() {
    let (mut files, mut reads) = (0, 0);
    for seed in 1..=40 {
        let (more, read) = run(seed);
        (files, reads) = (files + more, reads + read);
    }
    assert!(files > 40 && reads > 40, "{files} files, {reads} times read");
}

#[test]
fn what_goes_on_stays_in_memory() {
    let shelf = Shelf::default();
    let views = pump();
    let stay = InMemory { windows: 60, age: Duration(0), most: 1, rows: 0 };
    let stay_of = |level: &str, cleared: Option<i64>| crate::model::Occurrence {
        asset: "p-1".into(),
        rule: "low".into(),
        level: level.into(),
        since: 5,
        raised: 5,
        condition_end: cleared,
        cleared,
    };
    let unreadable = ErrorRow {
        asset: "".into(),
        source: "links/x".into(),
        event_time: 0,
        message: "no".into(),
    };
    let of_rule = ErrorRow { asset: "p-1".into(), ..unreadable.clone() };
    let changes = vec![
        Change::Clock(Timestamp(1_000_000)),
        Change::Occurrences(vec![(stay_of("warning", None), 1), (stay_of("critical", Some(9)), 1)]),
        Change::Errors(vec![(unreadable, 1), (of_rule, 1)]),
    ];
    views.apply(Epoch(2), changes);
    while let Some(old) = views.old(stay) {
        let leaving = old.leaving(&shelf).unwrap();
        match leaving.is_empty() {
            true => views.stay(&leaving),
            false => assert!(views.leave(&leaving, shelf.write(&leaving))),
        }
    }
    let kept = show(&views, "threshold_occurrences", &Filter::default());
    assert_eq!(kept.len(), 1);
    assert!(kept[0].contains("warning"), "{kept:?}");
    let kept = show(&views, "errors", &Filter::default());
    assert_eq!(kept.len(), 1);
    assert!(kept[0].starts_with("|links/x"), "{kept:?}");
    assert_eq!(shelf.files.lock().unwrap().len(), 2);
}
