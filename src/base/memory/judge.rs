//! How much of the process counts as used.
//!
//! The resident set alone is not it: pages that were freed stay there until the allocator gives them
//! back, which may be never, and a budget that counts them would refuse for ever. What the rooms say
//! alone is not it either: they estimate, and do not know of everything. So both are taken together.
//!
//! While the process *grows*, the allocator had nothing left to reuse, and all of the resident set is
//! in use: what is not the rooms' is **overhead**. When it does not grow, but the rooms hold less than
//! before, the difference are free pages, which the allocator uses first, and which do not count:
//!
//! ```text
//! used = min(resident, components + overhead)
//! ```
//!
//! Overhead that was measured at a passing peak (a large query, a checkpoint) must not count for ever
//! either. When the process has not grown for a minute it fades to a quarter of the components. If it
//! was real, the process grows with the next megabytes, and it is measured anew.
//!
//! Above five quarters of the budget nothing is believed: the process is too large, whatever it holds.

/// Overhead is at least one part in so many of the components.
const LEAST_OVERHEAD: u64 = 4;
/// Growth below one part in so many of the budget is none.
const NOISE: u64 = 256;
/// A peak counts for this long, milliseconds, and up to twice that.
const PEAK_MILLIS: u64 = 60_000;
/// The part of unconfirmed overhead that goes each time this passes.
const FADE_MILLIS: u64 = 5_000;
const FADE_PART: u64 = 8;
/// Percent of the budget under which refusing ends.
const RESUME_PERCENT: u64 = 95;

/// Looks at the figures from time to time.
#[derive(Debug)]
pub(super) struct Judge {
    budget: u64,
    overhead: u64,
    /// The most that was resident in this while, and in the one before.
    peaks: [u64; 2],
    peak_since: u64,
    /// When the overhead was measured or faded last.
    faded_at: u64,
    grown_at: u64,
    refusing: bool,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub used: u64,
    pub refusing: bool,
}

impl Judge {
    pub fn new(budget: u64) -> Self {
        let (overhead, peaks, peak_since, faded_at, grown_at) = (0, [0; 2], 0, 0, 0);
        Self { budget, overhead, peaks, peak_since, faded_at, grown_at, refusing: false }
    }

    /// Takes what the components hold and what is resident, where that is known, at a time in
    /// milliseconds, which never goes back.
    pub fn look(&mut self, components: u64, resident: Option<u64>, now: u64) -> Verdict {
        let least = components / LEAST_OVERHEAD;
        let used = match resident {
            None => components + least,
            Some(resident) => {
                self.measure(components, resident, now);
                let used = resident.min(components + self.overhead.max(least));
                used.max(resident - resident / 5)
            }
        };
        self.refusing = match self.refusing {
            true => used >= self.budget / 100 * RESUME_PERCENT,
            false => used > self.budget,
        };
        Verdict { used, refusing: self.refusing }
    }

    fn measure(&mut self, components: u64, resident: u64, now: u64) {
        if now >= self.peak_since + PEAK_MILLIS {
            self.peaks = [0, self.peaks[0]];
            self.peak_since = now;
        }
        let beyond = resident.saturating_sub(components);
        if resident > self.peaks[0].max(self.peaks[1]) + self.budget / NOISE {
            self.overhead = beyond;
            (self.grown_at, self.faded_at) = (now, now);
        } else {
            self.overhead = self.overhead.min(beyond);
        }
        self.peaks[0] = self.peaks[0].max(resident);
        if now >= self.grown_at + PEAK_MILLIS && now >= self.faded_at + FADE_MILLIS {
            self.overhead -= self.overhead / FADE_PART;
            self.faded_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: u64 = 1_000;

    /// Looks `times` times, a second apart, and gives the last verdict.
    fn look(judge: &mut Judge, now: &mut u64, times: u64, figures: (u64, u64)) -> Verdict {
        let mut verdict = Verdict { used: 0, refusing: false };
        for _ in 0..times {
            *now += 1_000;
            verdict = judge.look(figures.0, Some(figures.1), *now);
        }
        verdict
    }

    #[test]
    fn a_process_that_grows_is_all_in_use() {
        let (mut judge, mut now) = (Judge::new(BUDGET), 0);
        for resident in [100, 500, 900, 1_000] {
            let verdict = look(&mut judge, &mut now, 1, (resident / 2, resident));
            assert_eq!(verdict, Verdict { used: resident, refusing: false });
        }
        let over = look(&mut judge, &mut now, 1, (500, 1_010));
        assert_eq!(over, Verdict { used: 1_010, refusing: true });
    }

    #[test]
    fn refusing_ends_below_its_begin() {
        let mut judge = Judge::new(BUDGET);
        let mut check = |components, refusing| {
            assert_eq!(judge.look(components, None, 0).refusing, refusing, "{components}");
        };
        // Without a size of the process a quarter is added.
        check(800, false);
        check(801, true);
        check(790, true);
        check(761, true);
        check(755, false);
        check(790, false);
        check(801, true);
    }

    #[test]
    fn pages_that_are_free_and_not_given_back_do_not_count() {
        let (mut judge, mut now) = (Judge::new(BUDGET), 0);
        assert!(look(&mut judge, &mut now, 1, (700, 1_050)).refusing);
        // A fifth of what was held is gone, and the process is as large as before.
        let shrunk = look(&mut judge, &mut now, 1, (560, 1_050));
        assert_eq!(shrunk, Verdict { used: 910, refusing: false });
        // The free pages are used again: the same limit as before.
        assert!(!look(&mut judge, &mut now, 1, (640, 1_050)).refusing);
        assert!(look(&mut judge, &mut now, 1, (651, 1_050)).refusing);
    }

    #[test]
    fn free_pages_of_no_use_are_noticed_when_the_process_grows() {
        let (mut judge, mut now) = (Judge::new(BUDGET), 0);
        look(&mut judge, &mut now, 1, (700, 1_050));
        assert!(!look(&mut judge, &mut now, 1, (560, 1_050)).refusing);
        let grown = look(&mut judge, &mut now, 1, (570, 1_060));
        assert_eq!(grown, Verdict { used: 1_060, refusing: true });
    }

    #[test]
    fn a_passing_peak_is_forgotten_and_a_lasting_one_is_not() {
        let (mut judge, mut now) = (Judge::new(BUDGET), 0);
        look(&mut judge, &mut now, 1, (500, 700));
        // A query took 400 that no room knows of, and its pages are not given back.
        assert!(look(&mut judge, &mut now, 1, (500, 1_100)).refusing);
        assert!(look(&mut judge, &mut now, 50, (500, 1_100)).refusing, "within a minute");
        assert!(!look(&mut judge, &mut now, 90, (500, 1_100)).refusing, "after two minutes");
        // If they are in use after all, the process grows at once.
        assert!(look(&mut judge, &mut now, 1, (505, 1_110)).refusing);
    }

    #[test]
    fn a_peak_that_comes_back_again_and_again_is_no_growth() {
        let (mut judge, mut now) = (Judge::new(BUDGET), 0);
        look(&mut judge, &mut now, 1, (800, 1_020));
        look(&mut judge, &mut now, 1, (500, 1_000));
        let mut last = true;
        for _ in 0..20 {
            look(&mut judge, &mut now, 5, (500, 950));
            last = look(&mut judge, &mut now, 1, (500, 1_020)).refusing;
        }
        assert!(!last);
    }

    #[test]
    fn far_above_the_budget_nothing_is_believed() {
        let (mut judge, mut now) = (Judge::new(BUDGET), 0);
        look(&mut judge, &mut now, 1, (900, 1_400));
        assert!(look(&mut judge, &mut now, 300, (100, 1_400)).refusing);
        assert!(!look(&mut judge, &mut now, 1, (100, 1_100)).refusing);
    }
}
