//! What the processes agree on, whoever is stopped when.

use super::*;
use crate::base::fs::MemFs;
use crate::model::Timestamp;
use std::path::Path;

const fn standing(tried: u64, kept: [u64; KEPT + 1]) -> Standing {
    Standing { tried: Epoch(tried), kept: [Epoch(kept[0]), Epoch(kept[1]), Epoch(kept[2])] }
}

#[test]
fn one_that_all_have_counts() {
    let check = |own: Standing, heard: &[(usize, Standing)], expected: Outcome| {
        let accord = Accord::new(Lines::new(0), [0, 2].into_iter());
        heard.iter().for_each(|(process, standing)| accord.hear(*process, *standing));
        let stopping = AtomicBool::new(expected == Outcome::Open);
        assert_eq!(accord.conclude(own, &stopping), expected, "{own:?} {heard:?}");
    };
    let own = standing(9, [9, 7, 5]);
    let (also, ahead) = (standing(9, [9, 7, 5]), standing(12, [12, 9, 7]));
    check(own, &[(0, also), (2, also)], Outcome::Complete);
    check(own, &[(0, also), (2, ahead)], Outcome::Complete);
    check(own, &[(0, also), (2, standing(9, [7, 5, 0]))], Outcome::Failed);
    check(own, &[(0, also), (2, standing(12, [12, 7, 5]))], Outcome::Failed);
    check(standing(9, [7, 5, 0]), &[(0, also), (2, also)], Outcome::Failed);
    check(own, &[(0, also), (2, standing(7, [7, 5, 0]))], Outcome::Open);
    check(own, &[(0, also)], Outcome::Open);
    let alone = Accord::new(Lines::new(0), std::iter::empty());
    assert_eq!(alone.conclude(own, &AtomicBool::new(false)), Outcome::Complete);
}

#[test]
fn a_standing_is_what_was_said() {
    let said = standing(9, [9, 7, 0]);
    assert_eq!(said.encode().len(), Standing::BYTES);
    assert_eq!(Standing::decode(&said.encode()), Some(said));
    assert_eq!(Standing::decode(&said.encode()[1..]), None);
    assert_eq!(Standing::decode(&[]), None);
    assert!(said.has(Epoch(7)) && !said.has(Epoch(0)));
}

/// One process and its disk.
struct Process {
    fs: MemFs,
    store: Store,
    tried: Epoch,
    /// What became of the one that was tried is not known yet.
    is_open: bool,
    /// What the others have said; each hears of it when it does.
    heard: BTreeMap<usize, Standing>,
    /// Frames up to this epoch were cut.
    cut: Epoch,
}

impl Process {
    fn start(fs: MemFs, cut: Epoch) -> Self {
        let store = Store::open(Arc::new(fs.clone()), Path::new("checkpoints")).unwrap();
        let (tried, heard) = (Epoch(0), BTreeMap::new());
        Self { fs, store, tried, is_open: false, heard, cut }
    }

    fn standing(&self) -> Standing {
        Standing::of(&self.store, self.tried)
    }

    fn kept(&self) -> Vec<Epoch> {
        self.store.kept().iter().map(|taken| taken.epoch).collect()
    }

    fn write(&mut self, epoch: Epoch, fails: bool) {
        (self.tried, self.is_open) = (epoch, true);
        if !fails {
            let draft = self.store.begin(epoch);
            self.store.publish(draft, Timestamp(0), 0).unwrap();
        }
    }

    fn conclude(&mut self) {
        match outcome(&self.standing(), self.heard.values()) {
            Outcome::Open => return,
            Outcome::Complete => {
                self.store.prune();
                if self.kept().len() == KEPT {
                    self.cut = self.cut.max(self.kept()[0]);
                }
            }
            Outcome::Failed => self.store.withdraw(self.tried).unwrap(),
        }
        self.is_open = false;
    }
}

/// All stop, and meet again.
fn meet(processes: &mut Vec<Process>) -> Vec<Epoch> {
    *processes = processes.drain(..).map(|p| Process::start(p.fs, p.cut)).collect();
    let said: Vec<Standing> = processes.iter().map(Process::standing).collect();
    let newest = common(&said[0], said[1..].iter()).first().copied().unwrap_or_default();
    let count = processes.len();
    for (number, process) in processes.iter_mut().enumerate() {
        let others = || (0..count).filter(|other| *other != number);
        let kept = common(&said[number], others().map(|other| &said[other]));
        assert_eq!(kept.first().copied().unwrap_or_default(), newest);
        assert!(newest >= process.cut, "cut behind {}, all have {kept:?}", process.cut);
        process.store.retain(&kept).unwrap();
        process.store.prune();
        process.heard = others().map(|other| (other, Standing::default())).collect();
    }
    let kept = processes[0].kept();
    assert!(processes.iter().all(|process| process.kept() == kept));
    kept
}

#[test]
fn whoever_is_stopped_when_all_have_one_from_which_the_logs_go_on() {
    let (mut complete, mut meetings) = (0, 0);
    for seed in 0..200_u64 {
        let mut state = seed;
        let mut below = |limit: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit
        };
        let count = 2 + below(3) as usize;
        let mut processes: Vec<Process> =
            (0..count).map(|_| Process::start(MemFs::new(), Epoch(0))).collect();
        meet(&mut processes);
        let (mut epoch, mut newest) = (Epoch(0), Epoch(0));
        for _ in 0..200 {
            let number = below(count as u64) as usize;
            match below(40) {
                0 => {
                    let kept = meet(&mut processes);
                    let found = kept.last().copied().unwrap_or_default();
                    assert!(found >= newest, "{found} after {newest}");
                    (newest, meetings) = (found, meetings + 1);
                }
                1..15 if number == 0 && !processes[0].is_open => {
                    epoch = Epoch(epoch.0 + 1);
                    let fails = below(6) == 0;
                    processes[0].write(epoch, fails);
                }
                1..15 if number > 0 => {
                    let marked = processes[0].tried;
                    let process = &mut processes[number];
                    if !process.is_open && process.tried < marked {
                        process.write(marked, below(6) == 0);
                    }
                }
                15..28 => {
                    let other = below(count as u64) as usize;
                    let standing = processes[other].standing();
                    if other != number {
                        processes[number].heard.insert(other, standing);
                    }
                }
                _ if processes[number].is_open => {
                    processes[number].conclude();
                    complete += usize::from(processes[number].cut > Epoch(0));
                }
                _ => {}
            }
        }
    }
    assert!(complete > 100 && meetings > 100, "{complete} {meetings}");
}
