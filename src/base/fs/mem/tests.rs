//! The disk in memory loses what it may lose, and nothing else.

use super::*;

fn check(crash: Crash, expected: &[u8]) {
    let fs = MemFs::new();
    let path = Path::new("d/f");
    fs.create_dir_all(Path::new("d")).unwrap();
    let mut file = fs.create(path).unwrap();
    file.append(b"synced").unwrap();
    file.sync().unwrap();
    fs.sync_dir(Path::new("d")).unwrap();
    file.append(b" not").unwrap();
    fs.create(Path::new("d/g")).unwrap();
    fs.crash(crash);
    assert!(file.append(b"x").is_err(), "a handle from before the crash");
    assert_eq!(fs.contents(path).as_deref(), Some(expected));
    assert_eq!(fs.exists(Path::new("d/g")), crash == Crash::Process);
}

#[test]
fn a_crash_loses_what_was_not_synced() {
    check(Crash::Process, b"synced not");
    check(Crash::Power, b"synced");
}

#[test]
fn a_torn_crash_keeps_what_was_synced() {
    for seed in 0..200 {
        let fs = MemFs::new();
        let path = Path::new("f");
        fs.create_dir_all(Path::new("")).unwrap();
        let mut file = fs.create(path).unwrap();
        file.append(&[7; 700]).unwrap();
        file.sync().unwrap();
        fs.sync_dir(Path::new("")).unwrap();
        file.append(&[8; 2000]).unwrap();
        fs.crash(Crash::Torn(seed));
        let after = fs.contents(path).unwrap();
        assert!(after.len() >= 700 && after[..700] == [7; 700], "seed {seed}");
        assert!(after[700..].iter().all(|byte| [0, 8].contains(byte)), "seed {seed}");
    }
}

#[test]
fn faults_come_when_they_are_due() {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("")).unwrap();
    let mut file = fs.create(Path::new("f")).unwrap();
    fs.inject(Op::Append, 2, Fault::Short(1));
    fs.inject(Op::Sync, 1, Fault::Io);
    file.append(b"ab").unwrap();
    assert_eq!(file.append(b"cd").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs.contents(Path::new("f")).unwrap(), b"abc");
    assert!(file.sync().is_err());
    file.sync().unwrap();
    file.append(b"d").unwrap();
    file.sync().unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    fs.set_capacity(Some(5));
    assert!(file.append(b"ef").is_err());
    fs.crash(Crash::Power);
    let lost = fs.contents(Path::new("f")).unwrap();
    assert_eq!(lost, b"\0\0\0d", "the failed sync lost its bytes for good");
}

#[test]
fn a_power_cut_in_the_middle_keeps_a_prefix() {
    let script = || {
        let fs = MemFs::new();
        fs.create_dir_all(Path::new("d")).unwrap();
        let mut file = fs.create(Path::new("d/f")).unwrap();
        file.append(b"one").unwrap();
        file.sync().unwrap();
        fs.sync_dir(Path::new("d")).unwrap();
        file.append(b" two").unwrap();
        fs.create(Path::new("d/g")).unwrap().append(b"g").unwrap();
        file.truncate(1).unwrap();
        fs.rename(Path::new("d/g"), Path::new("d/f")).unwrap();
        fs
    };
    let states: Vec<_> = (0..=script().unsynced())
        .map(|operations| {
            let fs = script();
            fs.crash(Crash::Prefix(operations));
            assert_eq!(fs.unsynced(), 0);
            (fs.contents(Path::new("d/f")).unwrap(), fs.contents(Path::new("d/g")))
        })
        .collect();
    let file = |text: &[u8], other: Option<&[u8]>| (text.to_vec(), other.map(<[u8]>::to_vec));
    assert_eq!(
        states,
        [
            file(b"one", None),
            file(b"one two", None),
            file(b"one two", Some(b"")),
            file(b"one two", Some(b"g")),
            file(b"o", Some(b"g")),
            file(b"g", None),
        ]
    );
}
