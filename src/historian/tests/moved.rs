//! Files that move to a store, and whatever may go wrong on the way.

use super::super::remote::Age;
use super::faults::{History, merge, place};
use super::shaky::{Shaky, Trouble};
use super::*;
use crate::base::fs::{Crash, Fault, MemFs, Op};
use crate::model::{Duration, Place};
use object_store::ObjectStore;
use object_store::path::Path as Key;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// All is old.
const OLD: Age = Age { after: Duration(0), tick: Timestamp(i64::MAX), epoch: Epoch(u64::MAX) };

/// An archive with a store, whose files move when the test says so.
fn open(fs: &MemFs, store: &Arc<Shaky>, again: bool) -> Result<Historian, Error> {
    let retry_after = std::time::Duration::from_secs(if again { 0 } else { 3_600 });
    let settings = StoreSettings {
        given: Some(Arc::clone(store) as Arc<dyn ObjectStore>),
        ..StoreSettings::new("s3://plant/cold".parse().unwrap(), None)
    };
    let options =
        Options { retry_after, merge_files: 0, store: Some(settings), ..Options::default() };
    Historian::open_on(Arc::new(fs.clone()), place(), options)
}

/// Merges behind the second segment, and moves what there is then.
fn tidy_up(historian: &Historian) -> Result<(), Error> {
    merge(historian)?;
    if historian.epoch() == Epoch(6) {
        move_all(historian)?;
    }
    Ok(())
}

fn move_all(historian: &Historian) -> Result<(), Error> {
    while historian.shared.move_once(OLD)? {}
    historian.shared.remove_retired();
    let places = historian.places();
    historian.shared.clear(places.store.as_ref().unwrap())
}

/// A process, which ends at its first failure.
fn life(fs: &MemFs, store: &Arc<Shaky>, history: &History) {
    let Ok(historian) = open(fs, store, false) else { return };
    let mut failed = false;
    history.replay(&historian, |historian| {
        failed |= failed || historian.flush().is_err() || tidy_up(historian).is_err();
    });
}

/// What is on the store is what the manifest says, and nothing else; so it is in the directory.
fn check_places(fs: &MemFs, store: &Arc<Shaky>, historian: &Historian, at: &str) {
    let (manifest, _) = historian.shared.named();
    let known = manifest.store.clone().unwrap();
    let of = |wanted: Place| manifest.all().filter(move |file| file.place == wanted);
    let there: BTreeSet<String> =
        of(Place::Store).map(|file| format!("{}/{}", known.id, file.path)).collect();
    assert_eq!(store.paths(), there, "{at}");
    assert_eq!(known.unnamed, Vec::<String>::new(), "{at}");
    let lists = manifest.replaced.iter().chain(&manifest.chronicle);
    let local = of(Place::Local).count() + lists.count() + 1;
    assert_eq!(fs.paths().len(), local, "{at}: {:?}", fs.paths());
}

/// A process after a crash: telemetry is what it was, wherever the files are; and again when all of
/// them have moved.
fn check_after(fs: &MemFs, store: &Arc<Shaky>, history: &History, at: &str) {
    let historian = open(fs, store, true).unwrap_or_else(|error| panic!("{at}: {error}"));
    history.replay(&historian, |_| {});
    let telemetry = historian.snapshot(history.last()).unwrap();
    telemetry.check_files().unwrap_or_else(|error| panic!("{at}: {error}"));
    assert_eq!(contents(&telemetry), history.expected, "{at}");
    historian.flush().unwrap_or_else(|error| panic!("{at}: {error}"));
    move_all(&historian).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert_eq!(contents(&telemetry), history.expected, "{at}: who has begun to read");
    drop(telemetry);
    historian.shared.remove_retired();
    check_places(fs, store, &historian, at);
    drop(historian);
    fs.crash(Crash::Power);
    let historian = open(fs, store, true).unwrap_or_else(|error| panic!("{at}: {error}"));
    let telemetry = historian.snapshot(history.last()).unwrap();
    telemetry.check_files().unwrap();
    assert!(telemetry.files().iter().all(|file| file.place == Place::Store), "{at}");
    assert_eq!(contents(&telemetry), history.expected, "{at}: from the store alone");
}

#[test]
fn the_power_may_go_at_every_operation_of_a_move() {
    let history = History::new(3);
    let (clean, store) = (MemFs::new(), Shaky::new());
    let historian = open(&clean, &store, false).unwrap();
    let mut first = 0;
    history.replay(&historian, |historian| {
        historian.flush().unwrap();
        merge(historian).unwrap();
        if historian.epoch() == Epoch(6) {
            first = clean.operations();
            move_all(historian).unwrap();
        }
    });
    drop(historian);
    assert!(store.paths().iter().any(|path| path.contains("-older-")), "{:?}", store.paths());
    let mut cases = 0;
    for operations in first..=clean.operations() {
        for crash in [Crash::Process, Crash::Power, Crash::Torn(operations)] {
            let (fs, store) = (MemFs::new(), Shaky::new());
            fs.cut_power_after(operations);
            life(&fs, &store, &history);
            fs.crash(crash);
            check_after(&fs, &store, &history, &format!("after {operations}, {crash:?}"));
            cases += 1;
        }
    }
    println!("{cases} cases");
    assert!(cases > 60);
}

#[test]
fn every_operation_of_a_move_may_fail() {
    let history = History::new(4);
    let (clean, store) = (MemFs::new(), Shaky::new());
    // Files are written and merged as ever: only the operations of moves and what comes then.
    let before = Op::ALL.map(|op| {
        let (fs, store) = (MemFs::new(), Shaky::new());
        let historian = open(&fs, &store, false).unwrap();
        let mut before = 0;
        history.replay(&historian, |historian| {
            historian.flush().unwrap();
            merge(historian).unwrap();
            if historian.epoch() == Epoch(6) {
                before = fs.count(op);
            }
        });
        before
    });
    life(&clean, &store, &history);
    let requests = store.requests.load(Ordering::SeqCst);
    let mut cases = 0;
    let mut check = |prepare: &dyn Fn(&MemFs, &Shaky), at: &str| {
        let (fs, store) = (MemFs::new(), Shaky::new());
        prepare(&fs, &store);
        if let Ok(historian) = open(&fs, &store, true) {
            history.replay(&historian, |historian| {
                let flushed = historian.flush().or_else(|_| historian.flush());
                flushed.unwrap_or_else(|error| panic!("{at}: {error}"));
                // The next attempt goes on where this one ended.
                let tidied = tidy_up(historian).or_else(|_| tidy_up(historian));
                tidied.unwrap_or_else(|error| panic!("{at}: {error}"));
            });
            let telemetry = historian.snapshot(history.last()).unwrap();
            telemetry.check_files().unwrap();
            assert_eq!(contents(&telemetry), history.expected, "{at}");
            // A file whose removal failed stays until a restart.
        }
        fs.crash(Crash::Power);
        check_after(&fs, &store, &history, at);
        cases += 1;
    };
    for nth in 1..=requests {
        for trouble in [Trouble::Refused, Trouble::Lost, Trouble::Garbled] {
            check(&|_, store| store.fail(nth, trouble), &format!("request {nth} {trouble:?}"));
        }
    }
    for (op, before) in Op::ALL.into_iter().zip(before) {
        for nth in before + 1..=clean.count(op) {
            check(&|fs, _| fs.inject(op, nth, Fault::Io), &format!("{op:?} {nth}"));
        }
    }
    println!("{cases} cases of {requests} requests");
    assert!(requests > 20);
}

#[test]
fn late_points_of_days_that_moved_are_read_and_merged_beside_them() {
    let history = History::new(5);
    let (fs, store) = (MemFs::new(), Shaky::new());
    life(&fs, &store, &history);
    let historian = open(&fs, &store, true).unwrap();
    history.replay(&historian, |historian| historian.flush().unwrap());
    let telemetry = historian.snapshot(history.last()).unwrap();
    let places: BTreeSet<&str> = telemetry.files().iter().map(|file| file.place.name()).collect();
    assert_eq!(Vec::from_iter(places), ["local", "store"]);
    assert_eq!(contents(&telemetry), history.expected);
    let ask = Ask { asset: "p-9".into(), from: START, to: START + 2 * DAY, after: Epoch(0) };
    let ask = std::slice::from_ref(&ask);
    let page = historian.history(ask, history.last(), 1_000).unwrap().remove(0).unwrap();
    let expected = history.expected.keys().filter(|key| key.0 == "p-9").count();
    assert_eq!(page.len(), expected);
    // Merging leaves alone what has moved.
    while historian.shared.merge_once(2).unwrap() {}
    assert_eq!(contents(&historian.snapshot(history.last()).unwrap()), history.expected);
    // The store is away: whoever needs it is told so, and which one it is.
    store.fail(1, Trouble::Refused);
    let told = historian.history(ask, history.last(), 1_000).unwrap_err().to_string();
    assert!(told.contains("s3://plant/cold/") && told.contains("the line is dead"), "{told}");
    store.fail(1, Trouble::Refused);
    let told = historian.snapshot(history.last()).unwrap().check_files().unwrap_err().to_string();
    assert!(told.contains("s3://plant/cold/") && told.contains("the line is dead"), "{told}");
    assert!(historian.history(ask, history.last(), 1_000).is_ok());
}

#[test]
fn what_has_changed_on_the_store_is_found_and_told() {
    let history = History::new(6);
    let (fs, store) = (MemFs::new(), Shaky::new());
    life(&fs, &store, &history);
    let historian = open(&fs, &store, true).unwrap();
    let telemetry = historian.snapshot(historian.epoch()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for path in store.paths() {
        use object_store::ObjectStoreExt;
        let key = Key::from(path.as_str());
        let whole = runtime.block_on(async { store.store.get(&key).await?.bytes().await }).unwrap();
        let put = |bytes: Vec<u8>| {
            runtime.block_on(store.store.put(&key, bytes.into())).unwrap();
        };
        let mut flipped = whole.to_vec();
        flipped[whole.len() / 3] ^= 1;
        for wrong in [flipped, whole[1..].to_vec(), [&whole[..], &[0]].concat()] {
            put(wrong);
            let told = telemetry.check_files().unwrap_err();
            let is_told = matches!(&told, Error::Damaged { path: told } if told.ends_with(&path));
            assert!(is_told, "{told}");
        }
        put(whole.to_vec());
        telemetry.check_files().unwrap();
    }
}

/// Archives that share a store do not see each other, and one that is opened without its store
/// knows where its files are.
#[test]
fn two_archives_share_a_store() {
    let (first, second) = (History::new(7), History::new(8));
    let (one, two, store) = (MemFs::new(), MemFs::new(), Shaky::new());
    life(&one, &store, &first);
    let before = store.paths();
    life(&two, &store, &second);
    let after = store.paths();
    assert!(before.len() < after.len() && before.is_subset(&after));
    check_contents(&one, &store, &first);
    check_contents(&two, &store, &second);
    let known = |fs: &MemFs| open(fs, &store, true).unwrap().shared.named().0.store.unwrap();
    assert_ne!(known(&one).id, known(&two).id);
    assert_eq!(known(&one).url, "s3://plant/cold");
    let options = Options { merge_files: 0, ..Options::default() };
    let historian = Historian::open_on(Arc::new(one.clone()), place(), options).unwrap();
    let standing = historian.standing();
    assert!(standing[1].url.starts_with("s3://plant/cold/"), "{standing:?}");
}

fn check_contents(fs: &MemFs, store: &Arc<Shaky>, history: &History) {
    let historian = open(fs, store, true).unwrap();
    history.replay(&historian, |_| {});
    assert_eq!(contents(&historian.snapshot(history.last()).unwrap()), history.expected);
}

/// What is removed from the archive goes from the store too, with its last reader.
#[test]
fn what_is_removed_goes_from_the_store_with_its_last_reader() {
    let history = History::new(7);
    let (fs, store) = (MemFs::new(), Shaky::new());
    life(&fs, &store, &history);
    let historian = open(&fs, &store, true).unwrap();
    let reader = historian.snapshot(historian.epoch()).unwrap();
    let before = store.paths();
    let commit = historian.shared.commit();
    let (mut manifest, replaced) = historian.shared.named();
    let gone = manifest.take_out(|file| file.place == Place::Store);
    assert_eq!(gone.len(), before.len());
    historian.shared.write_manifest(&manifest).unwrap();
    let mut state = historian.shared.lock();
    state.name(manifest, replaced);
    state.pins.retire(gone);
    drop((state, commit));
    move_all(&historian).unwrap();
    assert!(before.is_subset(&store.paths()));
    reader.check_files().unwrap();
    drop(reader);
    move_all(&historian).unwrap();
    assert!(before.is_disjoint(&store.paths()));
    check_places(&fs, &store, &historian, "after all readers");
}

/// The background moves what is old, and goes on when the store is back.
#[test]
fn the_background_moves_what_is_old() {
    let history = History::new(9);
    let (fs, store) = (MemFs::new(), Shaky::new());
    store.fail(3, Trouble::Refused);
    let settings = StoreSettings {
        given: Some(Arc::clone(&store) as Arc<dyn ObjectStore>),
        ..StoreSettings::new("s3://plant".parse().unwrap(), Some(Duration(0)))
    };
    let options = Options { store: Some(settings), merge_files: 3, ..Options::default() };
    let historian = Historian::open_on(Arc::new(fs.clone()), place(), options).unwrap();
    history.replay(&historian, |historian| historian.flush().unwrap());
    // The days are over from here on.
    historian.close_epoch(Epoch(10), Timestamp(START + 9 * DAY));
    let mut state = historian.shared.lock();
    while state.manifest.all().any(|file| file.place == Place::Local) {
        state = historian.shared.wait(state);
    }
    drop(state);
    let telemetry = historian.snapshot(Epoch(10)).unwrap();
    assert_eq!(contents(&telemetry), history.expected);
    let days: BTreeSet<&str> =
        telemetry.files().iter().filter_map(|file| file.path.split('/').nth(1)).collect();
    assert_eq!(telemetry.files().len(), days.len(), "a day is one file");
}
