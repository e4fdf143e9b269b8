//! The log against a model of it: random appends, syncs, reads, crashes, cuts and full disks.

use super::*;
use crate::base::fs::{Crash, Fault, Op};

/// What must be in the log.
struct Model {
    fs: MemFs,
    random: Random,
    log: Option<Log>,
    /// Durable, or written and not lost so far: all of it can be read.
    kept: Vec<Frame>,
    /// How many of them a crash keeps.
    durable: usize,
    /// A frame of which it is not known whether it was written; nothing was appended since.
    doubt: Option<Frame>,
    epoch: u64,
    /// What happened, for whoever reads of a failure.
    story: Vec<String>,
}

/// How often the disk did what the model is there for.
#[derive(Default)]
struct Seen {
    crashes: u64,
    poisoned: u64,
    refused: u64,
    cuts: u64,
    in_doubt: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut model = Self {
            fs: MemFs::new(),
            random: Random(seed),
            log: None,
            kept: Vec::new(),
            durable: 0,
            doubt: None,
            epoch: 1_000,
            story: vec![format!("seed {seed}")],
        };
        model.reopen();
        model
    }

    fn says(&mut self, what: String) {
        self.story.push(what);
    }

    /// A small frame, sometimes a second after the last one so that the horizon moves.
    fn frame(&mut self) -> Frame {
        self.epoch += 1 + self.random.below(900);
        let mut frame = Frame {
            epoch: Epoch(self.epoch),
            tick: Timestamp(self.epoch as i64),
            documents: Vec::new(),
            batches: Vec::new(),
            dead_letters: Vec::new(),
            edits: Vec::new(),
            pages: Vec::new(),
            expiry: None,
        };
        match self.random.below(8) {
            0 => {}
            1 => frame.batches.push(self.random.batch()),
            2 => frame.documents.push(self.random.document()),
            3 => frame.edits.push(self.random.edit()),
            _ => {
                let length = self.random.below(900);
                let letter = self.random.dead_letter();
                let raw = (0..length).map(|_| self.random.next() as u8).collect();
                frame.dead_letters.push(DeadLetter { raw, ..letter });
            }
        }
        frame
    }

    fn options() -> Options {
        Options { segment_bytes: 4096 + 2_500, ..Options::default() }
    }

    fn step(&mut self, seen: &mut Seen) {
        match self.random.below(20) {
            0..=6 => self.append(seen),
            7..=12 => self.sync(seen),
            13..=14 => self.read(),
            15 => self.cut(seen),
            16 => self.fault(),
            17 => self.fill(),
            _ => self.crash(seen),
        }
    }

    fn append(&mut self, seen: &mut Seen) {
        let frame = self.frame();
        let Some(log) = &mut self.log else { return self.reopen() };
        let result = log.append(&frame);
        // The one before was synced first, whatever became of this one.
        self.durable = self.kept.iter().filter(|f| Some(f.epoch) <= log.durable_epoch()).count();
        let poisoned = log.poisoned().is_some();
        self.says(format!("append {}: {result:?}", frame.epoch));
        match result {
            Ok(()) => self.kept.push(frame),
            Err(Error::NoSpace { .. }) => {
                seen.refused += 1;
                assert!(!poisoned, "{:#?}", self.story);
            }
            Err(_) => {
                assert!(poisoned, "{:#?}", self.story);
                // Unless the sync before it was what failed, it may be there in part or whole.
                self.lost_hold(Some(frame), seen);
            }
        }
    }

    fn sync(&mut self, seen: &mut Seen) {
        let Some(log) = &mut self.log else { return self.reopen() };
        let result = log.sync();
        self.says(format!("sync: {result:?}"));
        match result {
            Ok(()) => self.durable = self.kept.len(),
            Err(_) => self.lost_hold(None, seen),
        }
    }

    /// The log is poisoned: of what was not durable, one frame may be there.
    fn lost_hold(&mut self, frame: Option<Frame>, seen: &mut Seen) {
        seen.poisoned += 1;
        self.log = None;
        let unsynced = self.kept.split_off(self.durable);
        assert!(unsynced.len() <= 1, "{:#?}", self.story);
        self.doubt = unsynced.into_iter().next().or(frame);
    }

    fn read(&mut self) {
        let from = self.epoch.saturating_sub(self.random.below(4_000));
        let (found, error) = read_all(&self.fs, from);
        let expected = self.kept.iter().filter(|frame| frame.epoch.0 >= from);
        let mut expected: Vec<Frame> = expected.cloned().collect();
        if let Some(doubt) = self.doubt.as_ref().filter(|doubt| doubt.epoch.0 >= from)
            && found.last().is_some_and(|last| last.epoch == doubt.epoch)
        {
            expected.push(doubt.clone());
        }
        self.says(format!("read from {from}: {} frames, {error:?}", found.len()));
        assert!(found == expected && error.is_none(), "{:#?}", self.story);
    }

    /// Removes the oldest segment, as whoever no longer needs its frames does.
    fn cut(&mut self, seen: &mut Seen) {
        let paths = segments(&self.fs);
        let [oldest, next, ..] = paths.as_slice() else { return };
        let name = next.file_stem().and_then(|name| name.to_str()).unwrap();
        let base: u64 = name.trim_start_matches("frames-").parse().unwrap();
        // The last durable frame stays: the log would seem to have lost its end.
        let last = self.durable.checked_sub(1).map(|last| self.kept[last].epoch);
        if last.is_none_or(|last| last.0 < base) {
            return;
        }
        self.says(format!("cut before {base}"));
        self.fs.heal();
        self.fs.remove(oldest).and_then(|()| self.fs.sync_dir(dir())).unwrap();
        let before = self.kept.len();
        self.kept.retain(|frame| frame.epoch.0 >= base);
        self.durable -= before - self.kept.len();
        seen.cuts += 1;
    }

    /// One fault at a time: what a disk that fails twice in a row leaves is not known.
    fn fault(&mut self) {
        let ops = [Op::Append, Op::Sync, Op::Truncate, Op::SyncDir, Op::Create, Op::Rename];
        let faults = [Fault::Io, Fault::NoSpace, Fault::Short(50), Fault::ShortIo(300)];
        let op = ops[self.random.below(6) as usize];
        let fault = faults[self.random.below(4) as usize];
        let nth = 1 + self.random.below(4);
        self.says(format!("{op:?} {nth} will fail: {fault:?}"));
        self.fs.heal();
        self.fs.inject(op, nth, fault);
    }

    /// Fills the disk, or makes room.
    fn fill(&mut self) {
        let used: usize =
            self.fs.paths().iter().filter_map(|path| self.fs.contents(path)).map(|b| b.len()).sum();
        let room = match self.random.below(3) {
            0 => None,
            _ => Some(used as u64 + self.random.below(3_000)),
        };
        self.says(format!("{used} bytes used, room for {room:?}"));
        self.fs.set_capacity(room);
    }

    fn crash(&mut self, seen: &mut Seen) {
        let crash = match self.random.below(5) {
            0 => Crash::Process,
            1 => Crash::Power,
            2 => Crash::Torn(self.random.next()),
            _ => Crash::Prefix(self.random.below(self.fs.unsynced() as u64 + 1) as usize),
        };
        self.says(format!("{crash:?}"));
        seen.crashes += 1;
        self.log = None;
        self.fs.crash(crash);
        self.forget_unsynced();
        self.reopen();
        seen.in_doubt += u64::from(self.story.last().is_some_and(|last| last.contains("doubt")));
    }

    fn forget_unsynced(&mut self) {
        if self.doubt.is_none() {
            self.doubt = self.kept.split_off(self.durable).into_iter().next();
        }
    }

    /// Opens the log: all that was durable is there, and what is there is what was sent.
    fn reopen(&mut self) {
        self.fs.heal();
        self.forget_unsynced();
        let log = open(&self.fs, Self::options());
        let log = log.unwrap_or_else(|error| panic!("{error}: {:#?}", self.story));
        let found = frames_of(&self.fs);
        let doubt = self.doubt.take();
        if found.len() == self.kept.len() + 1 {
            self.says("the frame in doubt is there".into());
            self.kept.extend(doubt);
        }
        assert!(found == self.kept, "{:#?}", self.story);
        assert_eq!(log.durable_epoch(), found.last().map(|frame| frame.epoch));
        assert!(log.recovery().losses.is_empty());
        self.durable = self.kept.len();
        self.log = Some(log);
    }
}

#[test]
fn the_log_does_what_its_model_does() {
    let mut seen = Seen::default();
    let count = seeds(2_000);
    for seed in 0..count {
        let mut model = Model::new(seed);
        for _ in 0..30 {
            model.step(&mut seen);
        }
        model.crash(&mut seen);
    }
    let Seen { crashes, poisoned, refused, cuts, in_doubt } = seen;
    println!(
        "{count} seeds: {crashes} crashes, {poisoned} times poisoned, {refused} refused, {cuts} cuts, {in_doubt} frames in doubt survived"
    );
    let all = [crashes, poisoned, refused, cuts, in_doubt];
    assert!(all.iter().all(|times| *times > count / 20), "the disk did everything: {all:?}");
}
