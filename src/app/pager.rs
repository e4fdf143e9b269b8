//! Brings archived points back for assets to which points came that belong before what is in memory,
//! and gives assets their turn that have to look at their rows again, a few at a time: so that
//! nobody else waits for long.
//!
//! ```text
//!  hub: wanted --> Paging --> thread: reads the archive --> committer --> log --> dataflow
//!       ^                                                                            |
//!       '-------------------------------- paged -------------------------------------'
//! ```
//!
//! What a page brings follows from the log: the log holds which points were asked for, and a replay
//! reads them as they were then.

use crate::base::backoff::Backoff;
use crate::historian::{Ask, Historian};
use crate::ingest::commit::{CommitError, Committer, Submission};
use crate::model::{Epoch, Page, PageContent, PageRequest};
use crate::views::Views;
use anyhow::{Context, anyhow};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{error, warn};

/// Counter: pages that were brought.
pub const PAGES: &str = "millstream_pages_total";
/// Histogram: seconds from reading pages to their being visible.
pub const SECONDS: &str = "millstream_page_seconds";
/// Counter: reads of the archive for pages that failed.
pub const FAILURES: &str = "millstream_page_failures_total";

/// Assets that get their pages at one epoch.
const ASSETS_AT_ONCE: usize = 16;
/// Points of a page that comes with others.
const POINTS_AT_ONCE: usize = 200_000;
/// Rows in memory that are looked at again at one epoch, unless it is one asset's.
const ROWS_AT_ONCE: u32 = 10_000;
/// Points of a page. Points that would need more count in no view.
const POINTS_MAX: usize = 8_000_000;

/// What assets wait for.
#[derive(Default)]
pub struct Paging {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: BTreeMap<u32, Wanted>,
    /// Requests so far.
    count: u64,
    /// The epoch that everybody has last heard of, and the one that somebody waits for.
    closed: Epoch,
    awaited: Option<Epoch>,
    stopping: bool,
    /// Why the last attempt failed; empty when it did not.
    failure: String,
}

/// A request, and the how-manieth it is.
#[derive(Clone)]
struct Wanted {
    number: u64,
    request: PageRequest,
}

/// The thread that brings pages. It ends when this is dropped.
pub struct Pager {
    paging: Arc<Paging>,
    thread: Option<JoinHandle<()>>,
}

/// Whom the thread needs.
pub struct Rooms {
    pub paging: Arc<Paging>,
    pub historian: Arc<Historian>,
    pub views: Views,
    pub committer: Committer,
}

impl Paging {
    /// Assets wait for these; a request takes the place of the asset's one before.
    pub fn want(&self, requests: Vec<PageRequest>) {
        let mut state = self.lock();
        for request in requests {
            state.count += 1;
            let number = state.count;
            state.wanted.insert(request.asset, Wanted { number, request });
        }
        self.changed.notify_all();
    }

    /// Everybody has heard of an epoch, from which on these assets wait no more.
    pub fn closed(&self, epoch: Epoch, settled: &[u32]) {
        let mut state = self.lock();
        settled.iter().for_each(|asset| drop(state.wanted.remove(asset)));
        state.closed = epoch;
        if !settled.is_empty() || state.awaited.is_some_and(|awaited| awaited <= epoch) {
            self.changed.notify_all();
        }
    }

    /// How many requests there were so far.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// Whether anybody waits who is among the first `count` requests.
    pub fn waits(&self, count: u64) -> bool {
        self.lock().wanted.values().any(|wanted| wanted.number <= count)
    }

    /// Nobody will be brought anything any more: those who wait for others fail.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// The last epoch that everybody has heard of, unless an asset waits for rows of before a time.
    pub fn quiet_before(&self, time: i64) -> Option<Epoch> {
        let state = self.lock();
        let asks = |wanted: &Wanted| !wanted.request.is_turn() && wanted.request.from < time;
        (!state.wanted.values().any(asks)).then_some(state.closed)
    }

    /// How many assets wait.
    pub fn waiting(&self) -> usize {
        self.lock().wanted.len()
    }

    /// Returns when nobody waits any more. Fails when pages cannot be brought.
    pub fn settle(&self) -> anyhow::Result<()> {
        let mut state = self.lock();
        while !state.wanted.is_empty() {
            if state.stopping {
                return Err(anyhow!("the engine is stopping"));
            }
            if !state.failure.is_empty() {
                let reason = state.failure.clone();
                return Err(anyhow!(reason).context("late points wait for archived ones"));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some of the requests, when there are any; `None` when it is time to stop.
    fn next(&self) -> Option<Vec<Wanted>> {
        let mut state = self.lock();
        while !state.stopping && state.wanted.is_empty() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (!state.stopping).then(|| state.some())
    }

    /// Waits until an epoch is closed; false when it is time to stop.
    fn until(&self, epoch: Epoch) -> bool {
        let mut state = self.lock();
        state.awaited = Some(epoch);
        while !state.stopping && state.closed < epoch {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.awaited = None;
        !state.stopping
    }

    /// Waits for some time; false when it is time to stop.
    fn sleep(&self, pause: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), pause, |state| !state.stopping);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }
}

impl State {
    /// The requests whose pages come next, by asset: some that need the archive and some that do
    /// not, so that neither wait for all of the others.
    fn some(&self) -> Vec<Wanted> {
        let of =
            |turns| self.wanted.values().filter(move |wanted| wanted.request.is_turn() == turns);
        let pages = of(false).take(ASSETS_AT_ONCE);
        let mut rows = 0_u32;
        let turns = of(true).take_while(|wanted| {
            let is_first = rows == 0;
            rows = rows.saturating_add(wanted.request.rows.max(1));
            is_first || rows <= ROWS_AT_ONCE
        });
        pages.chain(turns).cloned().collect()
    }
}

impl Pager {
    /// Starts the thread.
    pub fn start(rooms: Rooms) -> std::io::Result<Self> {
        let paging = Arc::clone(&rooms.paging);
        let thread = std::thread::Builder::new().name("pager".into());
        let thread = thread.spawn(move || rooms.run())?;
        Ok(Self { paging, thread: Some(thread) })
    }
}

impl Drop for Pager {
    /// Brings no more pages, and waits for those that are on their way.
    fn drop(&mut self) {
        self.paging.stop();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that brings archived points back panicked");
        }
    }
}

impl Rooms {
    fn run(self) {
        let mut backoff = Backoff::new("pages");
        while let Some(wanted) = self.paging.next() {
            let begin = Instant::now();
            match self.bring(wanted) {
                Ok(count) => {
                    backoff.reset();
                    self.paging.lock().failure.clear();
                    metrics::counter!(PAGES).increment(count as u64);
                    metrics::histogram!(SECONDS).record(begin.elapsed());
                }
                Err(failure) => {
                    let over = failure.downcast_ref::<CommitError>();
                    if matches!(over, Some(CommitError::Closed | CommitError::Poisoned(_))) {
                        return;
                    }
                    let failure = format!("{failure:#}");
                    warn!(failure, "archived points not brought back; trying again");
                    metrics::counter!(FAILURES).increment(1);
                    self.paging.lock().failure = failure;
                    self.paging.changed.notify_all();
                    if !self.paging.sleep(backoff.wait()) {
                        return;
                    }
                }
            }
        }
    }

    /// Reads the pages of some requests and has them take effect.
    fn bring(&self, wanted: Vec<Wanted>) -> anyhow::Result<usize> {
        let as_of = self.historian.epoch();
        let after = |request: &PageRequest| self.views.begun_after(&request.key);
        let pages = wanted.iter().map(|Wanted { request, .. }| Page {
            request: request.clone(),
            after: after(request),
            content: PageContent::Unread,
        });
        let mut pages: Vec<Page> = pages.collect();
        fill(&mut pages, &self.historian, as_of)?;
        let submission = Submission { pages, ..Submission::default() };
        let committed = self.committer.submit_blocking(submission)?;
        if !self.paging.until(committed.epoch) {
            return Ok(0);
        }
        // What was brought must not be asked for again and again.
        let mut state = self.paging.lock();
        state.wanted.retain(|asset, now| {
            let stuck = wanted.iter().any(|asked| asked.number == now.number);
            if stuck {
                let PageRequest { from, to, .. } = now.request;
                error!(asset, from, to, "archived points that were brought back had no effect");
            }
            !stuck
        });
        drop(state);
        self.paging.changed.notify_all();
        Ok(wanted.len())
    }
}

/// Gives pages that were not read their points, as these were after an epoch: for the pages of a
/// frame in the log, that of the frame before it.
pub fn fill(pages: &mut [Page], historian: &Historian, as_of: Epoch) -> anyhow::Result<()> {
    let mut unread: Vec<&mut Page> = Vec::new();
    for page in pages.iter_mut().filter(|page| page.content == PageContent::Unread) {
        match page.request.is_turn() {
            true => page.content = PageContent::Points(Arc::default()),
            false => unread.push(page),
        }
    }
    if unread.is_empty() {
        return Ok(());
    }
    for page in &unread {
        if !historian.reaches(page.request.from, as_of) {
            anyhow::bail!(
                "the log asks for telemetry that has been removed because it was old: start from a \
                 checkpoint that was taken after that"
            );
        }
    }
    let ask = |page: &Page| {
        let PageRequest { key, from, to, .. } = &page.request;
        Ask { asset: Arc::clone(key), from: *from, to: *to, after: page.after }
    };
    let asks: Vec<Ask> = unread.iter().map(|page| ask(page)).collect();
    let what = "read archived points that late ones need";
    let few = historian.history(&asks, as_of, POINTS_AT_ONCE).context(what)?;
    for ((page, ask), few) in unread.iter_mut().zip(&asks).zip(few) {
        let points = match few {
            Some(points) => Some(points),
            None => {
                let all = historian.history(std::slice::from_ref(ask), as_of, POINTS_MAX);
                all.context(what)?.pop().flatten()
            }
        };
        page.content = points.map_or(PageContent::TooMany, |all| PageContent::Points(all.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TypeId;

    /// Requests of assets, by id: so many rows are looked at again, with archived ones or without.
    fn state(requests: impl IntoIterator<Item = (u32, u32, bool)>) -> State {
        let mut state = State::default();
        for (asset, rows, is_turn) in requests {
            let (from, to) = if is_turn { PageRequest::TURN } else { (0, 1) };
            let (asset_type, key) = (TypeId(0), format!("asset-{asset}").into());
            let request = PageRequest { asset, asset_type, key, from, to, rows };
            state.wanted.insert(asset, Wanted { number: 0, request });
        }
        state
    }

    fn assets(state: &State) -> Vec<u32> {
        state.some().iter().map(|wanted| wanted.request.asset).collect()
    }

    #[test]
    fn assets_that_look_at_their_rows_again_have_their_turn_a_few_at_a_time() {
        let third = ROWS_AT_ONCE / 3;
        let mut all = state((0..100).map(|asset| (asset, third, true)));
        let mut frames = 0;
        while !all.wanted.is_empty() {
            let some = assets(&all);
            let rows: u32 = some.iter().map(|asset| all.wanted[asset].request.rows).sum();
            assert!(!some.is_empty() && rows <= ROWS_AT_ONCE, "{some:?}");
            some.iter().for_each(|asset| drop(all.wanted.remove(asset)));
            frames += 1;
        }
        assert_eq!(frames, 34);
        // One that has more rows than that has them alone, and none is without cost.
        assert_eq!(assets(&state([(1, ROWS_AT_ONCE * 9, true), (2, 1, true)])), [1]);
        let nothing = state((0..2 * ROWS_AT_ONCE).map(|asset| (asset, 0, true)));
        assert_eq!(assets(&nothing).len(), ROWS_AT_ONCE as usize);
    }

    #[test]
    fn late_points_do_not_wait_for_all_turns_nor_turns_for_all_late_points() {
        let turns = (0..500).map(|asset| (asset, 1_000, true));
        let pages = (500..600).map(|asset| (asset, 1_000, false));
        let some = assets(&state(turns.chain(pages)));
        assert_eq!(some.iter().filter(|asset| **asset >= 500).count(), ASSETS_AT_ONCE);
        assert_eq!(some.iter().filter(|asset| **asset < 500).count(), 10);
    }
}
