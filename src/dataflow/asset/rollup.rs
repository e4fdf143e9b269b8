//! Tumbling windows of one asset: aggregates kept in place, folded anew where the past changed.
//!
//! Every aggregate is the fold of the metric's good and uncertain points in event-time order, so
//! sums do not depend on the order of arrival, not even in the last digit.

use super::era::{Era, Past};
use super::plan::Plan;
use super::row::NEVER;
use super::series::Series;
use crate::base::serial::words;
use crate::model::Window;
use serde::{Deserialize, Serialize};

/// Words of one metric in a window: `count, sum, min, max, first, last`.
pub const STAT_WORDS: usize = 6;

/// The open windows of one asset and one size, ascending by start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Windows {
    open: Vec<OpenWindow>,
}

/// A window that may still change.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct OpenWindow {
    start: i64,
    /// `revision`, then the stats of all numeric metrics: the row of the table.
    #[serde(with = "words")]
    words: Vec<u64>,
    /// The stats of the points that left the series already.
    folded: Option<Vec<u64>>,
    dirty: bool,
}

impl Windows {
    /// The bytes that they take.
    pub fn bytes(&self) -> usize {
        let words = self.open.iter().map(|open| {
            open.words.capacity() + open.folded.as_ref().map_or(0, |folded| folded.capacity())
        });
        let open = self.open.capacity() * size_of::<OpenWindow>();
        size_of::<Self>() + open + words.sum::<usize>() * 8
    }

    /// Adds the fresh points of an appended row.
    pub fn append(&mut self, plan: &Plan, window: Window, row: &[u64]) {
        let time = plan.rows.time(row);
        let open = self.at(plan, time - time.rem_euclid(window.size().0));
        open.dirty |= add_row(plan, open.words[1..].as_chunks_mut().0, row);
    }

    /// Folds the touched metrics anew in all windows that overlap `[from, to]`. These are the
    /// windows at `at` among those of the current version.
    pub fn refold(
        &mut self,
        past: Past<'_>,
        at: usize,
        series: &Series,
        (from, to): (i64, i64),
        touched: &[u64],
    ) {
        let plan = &past.now.plan;
        let (rows, size) = (&plan.rows, plan.windows[at].size().0);
        let mut start = from - from.rem_euclid(size);
        while start <= to {
            let range = (start, start.saturating_add(size));
            let next = past.next_time(series, start);
            let known = self.open.binary_search_by_key(&start, |open| open.start).is_ok();
            if next.is_some_and(|next| next < range.1) || known {
                let first = series.position(rows, start).max(series.first());
                let last = series.position(rows, range.1).max(first);
                let open = self.at(plan, start);
                open.fold((past, at, range), series, first..last, touched);
            }
            let next = past.next_time(series, range.1).map(|time| time - time.rem_euclid(size));
            let behind = self.open.partition_point(|open| open.start < range.1);
            let known = self.open.get(behind).map(|open| open.start);
            let Some(next) = next.into_iter().chain(known).min() else { break };
            start = next;
        }
    }

    /// The start of the first open window that ends after a time.
    pub fn first_after(&self, window: Window, time: i64) -> Option<i64> {
        self.open.iter().map(|open| open.start).find(|start| start + window.size().0 > time)
    }

    /// Settles the windows that end at or before the watermark. The others are provisional, also
    /// those that were settled before a version of the document, or the deletion of the newest
    /// points, set the watermark back. Returns the end of the first window that is not settled, if
    /// any.
    pub fn settle(&mut self, window: Window, watermark: i64) -> Option<i64> {
        let mut next = None;
        for open in &mut self.open {
            let end = open.start + window.size().0;
            let is_settled = end <= watermark;
            if is_settled != (open.words[0] > 0) {
                open.words[0] = u64::from(is_settled);
                open.dirty = true;
            }
            if !is_settled {
                next = Some(next.map_or(end, |next: i64| next.min(end)));
            }
        }
        next
    }

    /// Hands out the windows that changed since the last call: start and row.
    pub fn take_dirty(&mut self, mut out: impl FnMut(i64, &[u64])) {
        for open in &mut self.open {
            if std::mem::take(&mut open.dirty) {
                out(open.start, &open.words);
            }
        }
    }

    /// Folds a row that leaves the series into the windows that stay open, those that end after
    /// `limit`.
    pub fn absorb(&mut self, plan: &Plan, window: Window, row: &[u64], limit: i64) {
        let time = plan.rows.time(row);
        let start = time - time.rem_euclid(window.size().0);
        if start + window.size().0 <= limit {
            return;
        }
        let Ok(at) = self.open.binary_search_by_key(&start, |open| open.start) else { return };
        let width = plan.numeric.len() * STAT_WORDS;
        let folded = self.open[at].folded.get_or_insert_with(|| vec![0; width]);
        add_row(plan, folded.as_chunks_mut().0, row);
    }

    /// Folds the rows of all past segments into the windows that stay open.
    pub fn absorb_past(&mut self, past: Past<'_>, at: usize, limit: i64) {
        let plan = &past.now.plan;
        let size = plan.windows[at].size().0;
        let width = plan.numeric.len() * STAT_WORDS;
        for open in self.open.iter_mut().filter(|open| open.start + size > limit) {
            let folded = open.folded.get_or_insert_with(|| vec![0; width]);
            let (stats, _) = folded.as_chunks_mut();
            for (stat, slot) in stats.iter_mut().zip(&plan.numeric) {
                add_past(past, at, (open.start, open.start + size), *slot, stat);
            }
        }
    }

    /// Forgets the windows that end at or before a time: no point can reach them any more.
    pub fn forget(&mut self, window: Window, limit: i64) {
        self.open.retain(|open| open.start + window.size().0 > limit);
    }

    /// Lets the rows be folded again from a time on that no window contains: they come back.
    pub fn unfold(&mut self, from: i64) {
        for open in self.open.iter_mut().filter(|open| open.start >= from) {
            open.folded = None;
        }
    }

    /// Moves the windows to another version of the document: metrics keep their aggregates by
    /// name.
    pub fn relayout(&mut self, from: &Era, to: &Era) {
        let width = to.plan.numeric.len() * STAT_WORDS;
        let moved = |stats: &[u64]| {
            let mut moved = vec![0; width];
            for (k, slot) in to.plan.numeric.iter().enumerate() {
                let was = from.slot_of(to, *slot);
                if let Some(was) = from.plan.numeric.iter().position(|s| Some(*s) == was) {
                    let stat = &stats[was * STAT_WORDS..][..STAT_WORDS];
                    moved[k * STAT_WORDS..][..STAT_WORDS].copy_from_slice(stat);
                }
            }
            moved
        };
        for open in &mut self.open {
            let stats = moved(&open.words[1..]);
            open.words.truncate(1);
            open.words.extend(stats);
            open.folded = open.folded.as_deref().map(moved);
        }
    }

    fn at(&mut self, plan: &Plan, start: i64) -> &mut OpenWindow {
        let newest = self.open.last().map_or(NEVER, |open| open.start);
        let found = match newest.cmp(&start) {
            std::cmp::Ordering::Equal => Ok(self.open.len() - 1),
            std::cmp::Ordering::Less => Err(self.open.len()),
            std::cmp::Ordering::Greater => {
                self.open.binary_search_by_key(&start, |open| open.start)
            }
        };
        let at = found.unwrap_or_else(|at| {
            let words = vec![0; 1 + plan.numeric.len() * STAT_WORDS];
            self.open.insert(at, OpenWindow { start, words, folded: None, dirty: false });
            at
        });
        &mut self.open[at]
    }
}

impl OpenWindow {
    /// Folds the touched metrics of these rows anew.
    fn fold(
        &mut self,
        (past, at, range): (Past<'_>, usize, (i64, i64)),
        series: &Series,
        rows: std::ops::Range<usize>,
        touched: &[u64],
    ) {
        let plan = &past.now.plan;
        let mut words = match &self.folded {
            Some(folded) => folded.clone(),
            None => vec![0; plan.numeric.len() * STAT_WORDS],
        };
        let (stats, _) = words.as_chunks_mut();
        let is_touched = |slot: usize| touched[slot / 64] >> (slot % 64) & 1 == 1;
        let numeric = || plan.numeric.iter().copied().enumerate();
        for (k, slot) in numeric().filter(|(_, slot)| is_touched(*slot)) {
            add_past(past, at, range, slot, &mut stats[k]);
        }
        if numeric().all(|(_, slot)| is_touched(slot)) {
            for i in rows {
                add_row(plan, stats, series.row(&plan.rows, i));
            }
        } else {
            for (k, slot) in numeric().filter(|(_, slot)| is_touched(*slot)) {
                let rows = rows.clone().map(|i| series.row(&plan.rows, i));
                rows.filter_map(|row| point(plan, row, slot)).for_each(|x| add(&mut stats[k], x));
            }
        }
        for (k, _) in numeric().filter(|(_, slot)| is_touched(*slot)) {
            let words = &mut self.words[1 + k * STAT_WORDS..1 + (k + 1) * STAT_WORDS];
            if *words != stats[k] {
                words.copy_from_slice(&stats[k]);
                if self.words[0] > 0 && !self.dirty {
                    self.words[0] += 1;
                }
                self.dirty = true;
            }
        }
    }
}

/// Adds the row's own points. Returns whether there are any.
fn add_row(plan: &Plan, stats: &mut [[u64; STAT_WORDS]], row: &[u64]) -> bool {
    let doubles = plan.numeric_doubles.as_ref();
    if doubles.is_some_and(|all| plan.rows.is_fresh_and_good(row, all)) {
        let values = plan.rows.values(row);
        if values.len() == stats.len() {
            stats.iter_mut().zip(values).for_each(|(stat, word)| add(stat, f64::from_bits(*word)));
        } else {
            let numeric = plan.numeric.iter().map(|slot| f64::from_bits(values[*slot]));
            stats.iter_mut().zip(numeric).for_each(|(stat, x)| add(stat, x));
        }
        return !plan.numeric.is_empty();
    }
    let mut any = false;
    for (stat, slot) in stats.iter_mut().zip(&plan.numeric) {
        if let Some(x) = point(plan, row, *slot) {
            add(stat, x);
            any = true;
        }
    }
    any
}

/// Adds the points of a metric in past segments that lie in a range of times.
fn add_past(
    past: Past<'_>,
    at: usize,
    (from, to): (i64, i64),
    slot: usize,
    stat: &mut [u64; STAT_WORDS],
) {
    for (segment, slot) in past.with(slot, Some(at)) {
        let (plan, series) = (&segment.era.plan, &segment.series);
        let first = series.position(&plan.rows, from).max(series.first());
        for i in first..series.position(&plan.rows, to) {
            if let Some(x) = point(plan, series.row(&plan.rows, i), slot) {
                add(stat, x);
            }
        }
    }
}

/// The metric's own point in a row, when it is not bad.
fn point(plan: &Plan, row: &[u64], slot: usize) -> Option<f64> {
    if !plan.rows.is_fresh(row, slot) {
        return None;
    }
    plan.layout.slots[slot].data_type.number(plan.rows.usable(row, slot)?)
}

#[inline]
fn add([count, sum, min, max, first, last]: &mut [u64; STAT_WORDS], x: f64) {
    let word = x.to_bits();
    if *count == 0 {
        (*min, *max, *first) = (word, word, word);
    }
    // A number is neither less nor greater than its like, which stays.
    if x < f64::from_bits(*min) {
        *min = word;
    }
    if x > f64::from_bits(*max) {
        *max = word;
    }
    *count += 1;
    *sum = (f64::from_bits(*sum) + x).to_bits();
    *last = word;
}
