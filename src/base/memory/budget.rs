//! The budget: what is used of it, and what may still come in.

use super::judge::{Judge, Verdict};
use bytesize::ByteSize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What comes in may take so many times its size when everything has been made of it: the first message
/// of a machine makes documents, state, and rows of views for all of its windows. With sixty metrics
/// and windows of four sizes it was fifty times.
const GROWTH: u64 = 64;
/// What is being read may have one part in so many of the budget.
const READING_PART: u64 = 16;
/// So much may come in when nothing else is on its way, however little is left.
const ALONE: u64 = 64 << 10;

/// What a part of the program holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name, the same for ever: a label of metrics.
    pub name: &'static str,
    /// About how many bytes it holds.
    pub bytes: u64,
    /// The most that it may hold, where it has a limit of its own.
    pub limit: Option<u64>,
}

/// How much memory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What counts as used, in bytes.
    pub used: u64,
    /// What may be used, in bytes.
    pub budget: u64,
    /// Whether nothing more is taken in.
    pub refusing: bool,
}

/// The memory that this process may use. Clones share everything.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes: u64,
    begun: Instant,
    used: AtomicU64,
    refusing: AtomicBool,
    /// What is being read, before anybody knows what it is.
    reading: AtomicU64,
    on_its_way: AtomicU64,
    /// What has arrived since the last report, and between the last two: what has become of it may
    /// not be in any figure yet.
    arrived: [AtomicU64; 2],
    reported: Mutex<Reported>,
}

#[derive(Debug)]
struct Reported {
    judge: Judge,
    components: Vec<Component>,
    resident: Option<u64>,
}

/// Memory for something that is being read, until it is dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    bytes: u64,
}

/// Leave to take something in, until it is dropped: then it is done, and counted by whoever has it.
#[derive(Debug)]
#[must_use]
pub struct Admitted {
    budget: Budget,
    bytes: u64,
}

/// Why something cannot be taken in now. Nothing of it was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The budget is used up: it takes somebody to free memory or to give more.
    #[error("memory: {} of {} are used; no telemetry is taken until memory is freed", ByteSize(*.used), ByteSize(*.budget))]
    Full {
        /// What is used.
        used: u64,
        /// What may be used.
        budget: u64,
    },
    /// Others are being read, and take all the memory that there is for that.
    #[error("memory: what is being read takes the {} that it may; try again", ByteSize(*.limit))]
    Reading {
        /// What may be read at the same time, in bytes.
        limit: u64,
    },
    /// It may become more than is left beside what is on its way already.
    #[error("memory: {} at once may be more than what is left, {} of {} are used; try again, or send less at once", ByteSize(*.bytes), ByteSize(*.used), ByteSize(*.budget))]
    NoRoom {
        /// What wants in.
        bytes: u64,
        /// What is used.
        used: u64,
        /// What may be used.
        budget: u64,
    },
}

impl Refused {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Full { .. } => {
                "delete assets that are not needed, or start with a larger --memory; \
                 millstream_memory says where it goes"
            }
            Self::Reading { .. } | Self::NoRoom { .. } => {
                "send it again after a moment, or in smaller parts"
            }
        }
    }
}

impl Budget {
    /// The least budget that makes sense.
    pub const LEAST: u64 = 64 << 20;

    /// A budget of so many bytes, of which nothing is used.
    pub fn new(bytes: u64) -> Self {
        let judge = Judge::new(bytes);
        let reported = Reported { judge, components: Vec::new(), resident: None };
        Self(Arc::new(Shared {
            bytes,
            begun: Instant::now(),
            used: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            reading: AtomicU64::new(0),
            on_its_way: AtomicU64::new(0),
            arrived: Default::default(),
            reported: Mutex::new(reported),
        }))
    }

    /// What may be used, in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// One part in so many of the budget, at the most `most`: the limit of a queue.
    pub fn part(&self, of: u64, most: usize) -> usize {
        usize::try_from(self.0.bytes / of).unwrap_or(usize::MAX).min(most)
    }

    /// How much is used, as it was reported last.
    pub fn usage(&self) -> Usage {
        Usage {
            used: self.0.used.load(Ordering::Relaxed),
            budget: self.0.bytes,
            refusing: self.0.refusing.load(Ordering::Relaxed),
        }
    }

    /// What the components hold and what is resident, as it was reported last.
    pub fn reported(&self) -> (Vec<Component>, Option<u64>) {
        let reported = self.0.reported.lock().unwrap_or_else(PoisonError::into_inner);
        (reported.components.clone(), reported.resident)
    }

    /// Bytes that were admitted and are not done.
    pub fn on_its_way(&self) -> u64 {
        self.0.on_its_way.load(Ordering::Relaxed)
    }

    /// Reports what all components hold, when that was asked again, and what is resident, where it
    /// is known. Says how much is used now, and whether refusing has begun or ended with it.
    pub fn report(
        &self,
        components: Option<Vec<Component>>,
        resident: Option<u64>,
    ) -> (Usage, bool) {
        let shared = &*self.0;
        let mut reported = shared.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(components) = components {
            reported.components = components;
        }
        reported.resident = resident;
        let held = reported.components.iter().map(|component| component.bytes).sum();
        let now = u64::try_from(shared.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Verdict { used, refusing } = reported.judge.look(held, resident, now);
        shared.used.store(used, Ordering::Relaxed);
        let [new, old] = &shared.arrived;
        old.store(new.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        let was = shared.refusing.swap(refusing, Ordering::Relaxed);
        (Usage { used, budget: shared.bytes, refusing }, was != refusing)
    }

    /// Whether anything would be taken in now, before it is looked at.
    pub fn check(&self) -> Result<(), Refused> {
        let Usage { used, budget, refusing } = self.usage();
        if refusing { Err(Refused::Full { used, budget }) } else { Ok(()) }
    }

    /// What is being read, and may be at the same time, in bytes.
    pub fn reading(&self) -> (u64, u64) {
        (self.0.reading.load(Ordering::Relaxed), self.0.bytes / READING_PART)
    }

    /// Asks to read something. Nothing is held for it before [`Held::grow`].
    pub fn read(&self) -> Result<Held, Refused> {
        self.check()?;
        Ok(Held { budget: self.clone(), bytes: 0 })
    }

    /// Asks to take in so many bytes. Does not wait.
    ///
    /// What is on its way together, or has arrived since the figures were taken, may be a 64th of
    /// what is left. 64 KiB are let in when nothing else is on its way, so that with little left
    /// everything still goes on, one after the other.
    pub fn admit(&self, bytes: u64) -> Result<Admitted, Refused> {
        self.admit_or(bytes, bytes <= ALONE)
    }

    /// [`Budget::admit`] for what cannot be made smaller: any size is let in when nothing else is on
    /// its way.
    pub fn admit_alone(&self, bytes: u64) -> Result<Admitted, Refused> {
        self.admit_or(bytes, true)
    }

    fn admit_or(&self, bytes: u64, alone: bool) -> Result<Admitted, Refused> {
        self.check()?;
        let Usage { used, budget, .. } = self.usage();
        let arrived = self.0.arrived.iter().map(|bytes| bytes.load(Ordering::Relaxed));
        let room = (budget.saturating_sub(used) / GROWTH).saturating_sub(arrived.sum());
        let fits = |on_its_way: u64| {
            let sum = on_its_way.saturating_add(bytes);
            (sum <= room || (on_its_way == 0 && alone)).then_some(sum)
        };
        let admitted = self.0.on_its_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        match admitted {
            Ok(_) => Ok(Admitted { budget: self.clone(), bytes }),
            Err(_) => Err(Refused::NoRoom { bytes, used, budget }),
        }
    }
}

impl Held {
    /// Asks for memory for so many bytes more. Does not wait.
    ///
    /// All that is being read together may be a 16th of the budget. One alone may be larger, so that
    /// whatever the doors let through can be read, one after the other.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Refused> {
        let (_, limit) = self.budget.reading();
        let fits = |reading: u64| {
            let sum = reading.saturating_add(bytes);
            (sum <= limit || reading == self.bytes).then_some(sum)
        };
        let reading = &self.budget.0.reading;
        match reading.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(Refused::Reading { limit }),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.reading.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let shared = &*self.budget.0;
        shared.arrived[0].fetch_add(self.bytes, Ordering::Relaxed);
        shared.on_its_way.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(bytes: u64) -> Option<Vec<Component>> {
        Some(vec![Component { name: "all", bytes, limit: None }])
    }

    #[test]
    fn what_is_on_its_way_fits_into_what_is_left() {
        let budget = Budget::new(320 << 20);
        let report = || budget.report(held(128 << 20), None);
        let (usage, changed) = report();
        assert_eq!((usage.used, usage.refusing, changed), (160 << 20, false, false));
        let first = budget.admit(2 << 20).unwrap();
        let second = budget.admit(1 << 19).unwrap();
        let refused = budget.admit(1).unwrap_err();
        assert!(matches!(refused, Refused::NoRoom { bytes: 1, .. }), "{refused}");
        drop(first);
        assert_eq!(budget.on_its_way(), 1 << 19);
        // It counts until the figures have it for certain.
        for _ in 0..2 {
            assert!(budget.admit(1).is_err());
            report();
        }
        drop((budget.admit(2 << 20).unwrap(), second));
        assert_eq!(budget.on_its_way(), 0);
    }

    #[test]
    fn what_is_being_read_has_a_limit_and_one_alone_has_none() {
        let budget = Budget::new(160 << 20);
        let (mut first, mut second) = (budget.read().unwrap(), budget.read().unwrap());
        first.grow(4 << 20).unwrap();
        second.grow(6 << 20).unwrap();
        assert_eq!(first.grow(1), Err(Refused::Reading { limit: 10 << 20 }));
        drop(second);
        first.grow(60 << 20).unwrap();
        let mut third = budget.read().unwrap();
        assert!(third.grow(1).is_err());
        drop(first);
        third.grow(1).unwrap();
        drop(third);
        assert_eq!(budget.reading(), (0, 10 << 20));
        budget.report(held(160 << 20), None);
        assert!(matches!(budget.read().unwrap_err(), Refused::Full { .. }));
    }

    #[test]
    fn with_little_left_one_comes_after_the_other() {
        let budget = Budget::new(100 << 20);
        budget.report(held(79 << 20), None);
        assert!(matches!(budget.admit(ALONE + 1), Err(Refused::NoRoom { .. })));
        let alone = budget.admit(ALONE).unwrap();
        assert!(matches!(budget.admit(1), Err(Refused::NoRoom { .. })));
        drop(alone);
        drop(budget.admit(1).unwrap());
    }

    #[test]
    fn a_refusal_says_how_much_is_used_and_what_to_do() {
        let budget = Budget::new(100 << 20);
        let (usage, changed) = budget.report(held(96 << 20), None);
        assert!(usage.refusing && changed);
        let refused = budget.admit(1).unwrap_err();
        let said = "memory: 120.0 MiB of 100.0 MiB are used; \
                    no telemetry is taken until memory is freed";
        assert_eq!(refused.to_string(), said);
        assert!(refused.hint().contains("--memory"));
        assert!(!budget.report(None, None).1, "no news");
        let (usage, changed) = budget.report(held(10 << 20), None);
        assert!(!usage.refusing && changed && budget.check().is_ok());
    }
}
