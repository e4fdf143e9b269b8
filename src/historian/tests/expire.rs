//! Days that expire: in one step, whatever fails, and nothing else.

use super::faults::{History, open, place};
use super::*;
use crate::base::fs::{Crash, Fault, MemFs, Op};
use crate::model::Expiry;

const NOTE: &[u8] = b"what verification has to know";

fn first_day() -> Expiry {
    Expiry { before: Timestamp(START + DAY), received: Epoch(9) }
}

/// An archive of two days, all of it in files.
fn archive(fs: &MemFs, history: &History) -> Historian {
    let historian = open(fs, true).unwrap();
    history.replay(&historian, |historian| historian.flush().unwrap());
    historian
}

fn left(history: &History) -> Keys {
    let stays = |key: &(String, String, i64)| key.2 >= START + DAY;
    history.expected.iter().filter(|(key, _)| stays(key)).map(|(k, v)| (k.clone(), *v)).collect()
}

fn expire(historian: &Historian) -> Result<Vec<Day>, Error> {
    historian.announce(first_day().before)?;
    historian.expire(first_day(), Epoch(9), 31, NOTE)
}

#[test]
fn only_whole_days_go_that_were_received_long_ago() {
    let (fs, history) = (MemFs::new(), History::new(3));
    let historian = archive(&fs, &history);
    let days = historian.days();
    assert_eq!(days.len(), 2, "{days:?}");
    let young = Expiry { received: Epoch(days[0].newest.0 - 1), ..first_day() };
    assert_eq!(historian.expire(young, Epoch(9), 31, NOTE).unwrap(), []);
    let early = Expiry { before: Timestamp(START + DAY - 1), ..first_day() };
    assert_eq!(historian.expire(early, Epoch(9), 31, NOTE).unwrap(), []);
    // A point in memory keeps its day.
    historian.accept(Epoch(10), rows(&[(0, START + 7, 0, 1.0)])).unwrap();
    historian.close_epoch(Epoch(10), Timestamp(0));
    assert_eq!(expire(&historian).unwrap(), []);
    drop(historian);

    let historian = open(&fs, true).unwrap();
    named(&historian);
    let before = historian.snapshot(history.last()).unwrap();
    assert_eq!(expire(&historian).unwrap(), days[..1]);
    let after = historian.snapshot(history.last()).unwrap();
    assert_eq!(contents(&after), left(&history));
    assert_eq!(after.carried().unwrap().as_deref(), Some(NOTE));
    let expired = after.expired().unwrap();
    assert_eq!((expired.days, expired.points), (1, days[0].points));
    assert!(!historian.reaches(START, Epoch(8)) && historian.reaches(START, Epoch(9)));
    // Who has begun to read goes on.
    historian.remove_retired();
    assert_eq!(contents(&before), history.expected);
    let gone = before.files().iter().filter(|file| file.min_event_time < START + DAY);
    let gone: Vec<_> = gone.map(|file| place().join(&file.path)).collect();
    drop(before);
    historian.remove_retired();
    assert!(!gone.is_empty() && !gone.iter().any(|path| fs.contents(path).is_some()));
    if let Some(list) = after.replaced().unwrap() {
        let times = list.column(2).as_primitive::<TimestampMicrosecondType>().values();
        assert!(times.iter().all(|time| *time >= START + DAY), "nothing is left to hide");
    }
}

/// Whatever has happened, the day is there as a whole or gone, and goes now.
fn check_after(fs: &MemFs, history: &History, place: &str) {
    let historian = open(fs, true).unwrap_or_else(|error| panic!("{place}: {error}"));
    named(&historian);
    let telemetry = historian.snapshot(history.last()).unwrap();
    telemetry.check_files().unwrap_or_else(|error| panic!("{place}: {error}"));
    let found = contents(&telemetry);
    match telemetry.expired() {
        None => assert_eq!(found, history.expected, "{place}"),
        Some(_) => {
            assert_eq!(found, left(history), "{place}");
            assert_eq!(telemetry.carried().unwrap().as_deref(), Some(NOTE), "{place}");
            assert_eq!(historian.announced(), Some(first_day().before), "{place}");
        }
    }
    drop(telemetry);
    expire(&historian).unwrap_or_else(|error| panic!("{place}: {error}"));
    historian.remove_retired();
    drop(historian);
    fs.crash(Crash::Power);
    let historian = open(fs, true).unwrap_or_else(|error| panic!("{place}: {error}"));
    let telemetry = historian.snapshot(history.last()).unwrap();
    assert_eq!(contents(&telemetry), left(history), "{place}: again");
    let named = telemetry.files().len() + telemetry.older().len();
    let lists = usize::from(!telemetry.replaced.is_empty());
    assert_eq!(fs.paths().len(), named + lists + 2, "{place}: {:?}", fs.paths());
}

#[test]
fn the_power_may_go_at_every_operation_of_it() {
    let history = History::new(3);
    let clean = MemFs::new();
    let historian = archive(&clean, &history);
    let before = clean.operations();
    expire(&historian).unwrap();
    historian.remove_retired();
    let operations = clean.operations() - before;
    assert!(operations > 8);
    for operation in 0..=operations {
        let mut way = 0;
        loop {
            let fs = MemFs::new();
            let historian = archive(&fs, &history);
            fs.cut_power_after(operation);
            let _ = expire(&historian);
            historian.remove_retired();
            drop(historian);
            let fixed = [Crash::Process, Crash::Power, Crash::Torn(operation)];
            let crashes = fixed.into_iter().chain((1..=fs.unsynced()).map(Crash::Prefix));
            let crashes: Vec<Crash> = crashes.collect();
            // What is synced by then is up to the threads.
            let Some(crash) = crashes.get(way).copied() else { break };
            fs.crash(crash);
            let place = format!("power for {operation} operations, {crash:?}");
            check_after(&fs, &history, &place);
            way += 1;
            if way == crashes.len() {
                break;
            }
        }
    }
}

#[test]
fn every_operation_of_it_may_fail() {
    let history = History::new(4);
    for op in Op::ALL {
        for nth in 1.. {
            let fs = MemFs::new();
            let historian = archive(&fs, &history);
            let before = fs.count(op);
            fs.inject(op, nth, Fault::Io);
            let failed = expire(&historian).is_err();
            historian.remove_retired();
            let is_over = fs.count(op) < before + nth;
            fs.heal();
            let telemetry = historian.snapshot(history.last()).unwrap();
            let expected = if failed { &history.expected } else { &left(&history) };
            assert_eq!(contents(&telemetry), *expected, "{op:?} {nth}");
            drop((telemetry, historian));
            fs.crash(Crash::Power);
            if is_over {
                break;
            }
            check_after(&fs, &history, &format!("{op:?} {nth}"));
        }
    }
}
