//! The assets of one type: takes the rows of an epoch, keeps everything exact, says what changed.

use super::changes::{Changes, Names};
use super::checkpoint::Saving;
use super::era::Era;
use super::evaluate::{Failure, Span, SpanRows, evaluate};
use super::plan::Plan;
use super::rebuild::Ears;
use super::row::{NEVER, RowLayout};
use super::series::{Placed, Series};
use super::single::{Asset, slots};
use super::state_log::Steps;
use super::tables::{Arrivals, Said, Tables};
use crate::model::{Epoch, ErrorRow, Quality, Rows, mask_words};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

/// Everything that is known of the assets of one type.
pub struct TypeState {
    /// The eras in force, ascending; the last is the current one.
    pub(super) eras: Vec<Arc<Era>>,
    /// The current era.
    pub(super) era: Arc<Era>,
    /// Index into `assets` and `series` by dense asset id.
    pub(super) index: Vec<u32>,
    pub(super) assets: Vec<Asset>,
    pub(super) series: Vec<Series>,
    pub(super) spans: Vec<Span>,
    /// Rows that are put into the series when everything has looked at them.
    staged: Vec<u64>,
    spare: Vec<Span>,
    pub(super) steps: Steps,
    /// Assets of which it is settled for this epoch from which time on their rows are here.
    pub(super) opened: Vec<u32>,
    /// Assets that have new points waiting for rows that are not here.
    pub(super) asking: Vec<u32>,
    /// Places in `assets` and `series` whose asset was removed.
    pub(super) vacant: Vec<u32>,
    /// Assets with new points before the current era, and the first of their times.
    pub(super) behind: BTreeMap<usize, i64>,
    /// The newest tick, microseconds.
    pub(super) clock: i64,
    /// The epoch of the rows that are applied.
    pub epoch: Epoch,
    /// When something happens to an asset's rules by itself.
    pub(super) alarms: BinaryHeap<Reverse<(i64, u32)>>,
    /// The save that is under way, if one is.
    pub(super) saving: Option<Saving>,
}

impl TypeState {
    /// No assets yet. The first version of a document holds for all time.
    pub fn new(plan: Plan) -> Self {
        let era = Arc::new(Era::new(NEVER, plan, None));
        Self::of(vec![Arc::clone(&era)], era, NEVER)
    }

    /// No assets yet, in the last of these eras, at this time of the clock.
    pub(super) fn of(eras: Vec<Arc<Era>>, era: Arc<Era>, clock: i64) -> Self {
        Self {
            eras,
            era,
            index: Vec::new(),
            assets: Vec::new(),
            series: Vec::new(),
            spans: Vec::new(),
            staged: Vec::new(),
            spare: Vec::new(),
            steps: Steps::default(),
            opened: Vec::new(),
            asking: Vec::new(),
            vacant: Vec::new(),
            behind: BTreeMap::new(),
            clock,
            epoch: Epoch(0),
            alarms: BinaryHeap::new(),
            saving: None,
        }
    }

    /// The bytes that the assets share.
    pub(super) fn shared_bytes(&self) -> usize {
        let spans = self.spans.iter().chain(&self.spare);
        let touched: usize = spans.map(|span| span.touched.capacity() * 8).sum();
        let spans = (self.spans.capacity() + self.spare.capacity()) * size_of::<Span>();
        let indexes = self.index.capacity() + self.opened.capacity() + self.vacant.capacity();
        let alarms = self.alarms.capacity() * size_of::<(i64, u32)>();
        spans + touched + self.staged.capacity() * 8 + indexes * 4 + alarms
    }

    /// Takes all rows of one epoch, in the order of their arrival, and says what changed.
    pub fn apply(&mut self, rows: Rows, names: &Names, out: &mut Changes) {
        self.place(rows, names, out);
        self.ask(names, out);
        self.reassess(names, out);
    }

    /// Lets time pass: what had to hold for a while happens though no row comes. `tick` is the
    /// source's clock in microseconds; one before the newest changes nothing.
    pub fn tick(&mut self, tick: i64, names: &Names, out: &mut Changes) {
        self.clock = self.clock.max(tick);
        let passed = self.passed();
        let era = Arc::clone(&self.era);
        let (mut tables, mut said) = (Tables::new(&era.plan, 0), Said::default());
        while let Some(Reverse((at, index))) = self.alarms.peek().copied()
            && at <= passed
        {
            self.alarms.pop();
            let asset = &mut self.assets[index as usize];
            if asset.alarm != at {
                continue;
            }
            asset.alarm = i64::MAX;
            if asset.deadline != at {
                self.wake(index as usize);
                continue;
            }
            self.save_early(index as usize);
            let asset = &mut self.assets[index as usize];
            asset.log.advance(&era.plan, &era.states, passed, &mut self.steps);
            let about = (&self.steps, names.get(asset.id));
            asset.tell_events(&era.plan, &self.series[index as usize], about, &mut said);
            Asset::tell_closed(&era.plan, about, &mut said);
            asset.tell_levels(&era, about.1, &mut said, out);
            asset.hand_out_levels(&era.plan, &mut tables);
            self.set_alarm(index as usize);
        }
        tables.finish(out);
        said.finish(out);
    }

    /// The time up to which nothing is expected to come any more.
    pub(super) fn passed(&self) -> i64 {
        self.clock.saturating_sub(self.era.plan.out_of_order)
    }

    /// Looks what an asset's rules wait for, and when something happens to them by itself.
    pub(super) fn set_alarm(&mut self, index: usize) {
        let asset = &mut self.assets[index];
        let state = asset.log.last(&self.era.states);
        let resting = state.and_then(|state| self.era.states.resting(&self.era.plan, state));
        asset.resting = match self.era.states.is_empty() {
            true => Some((NEVER, 0)),
            false => asset.log.last_time(&self.era.states).zip(resting),
        };
        let next = state.and_then(|state| self.era.states.deadline(&self.era.plan, state));
        asset.deadline = next.unwrap_or(i64::MAX);
        self.wake(index);
    }

    /// Sets the alarm clock for an asset's deadline, unless it rings before. A deadline that every
    /// row moves on does not fill the clock.
    fn wake(&mut self, index: usize) {
        let asset = &mut self.assets[index];
        if asset.deadline < asset.alarm {
            asset.alarm = asset.deadline;
            self.alarms.push(Reverse((asset.alarm, index as u32)));
        }
    }

    /// Puts the points into the series and marks what must be looked at again.
    fn place(&mut self, rows: Rows, names: &Names, out: &mut Changes) {
        let era = Arc::clone(&self.era);
        let layout = &era.plan.rows;
        debug_assert_eq!(rows.slots, era.plan.measured());
        let all = era.plan.measured_mask();
        let mut arrivals = Arrivals::new(rows);
        let mut mask = vec![0; all.len()];
        for i in 0..arrivals.rows.len() {
            let rows = &arrivals.rows;
            let (id, time) = (rows.assets[i], rows.times[i]);
            let asset = self.open(id);
            self.assets[asset].terms.note(time, self.epoch);
            let series = &self.series[asset];
            if rows.fresh(i) == all
                && self.assets[asset].span.is_none()
                && time >= self.assets[asset].limit.max(era.from)
                && series.newest().is_none_or(|newest| newest < time)
            {
                let at = series.len();
                self.mark_new(asset, (at, at + 1), true);
                self.stage(layout, time, (rows.words(i), rows.quality(i)));
                arrivals.keep();
                continue;
            }
            self.unstage(asset);
            mask.copy_from_slice(rows.fresh(i));
            if mask.iter().any(|word| *word != 0) {
                self.place_row((&era.plan, names), asset, i, &mut mask, &mut arrivals);
            }
        }
        arrivals.finish(out);
        for asset in self.opened.drain(..) {
            self.assets[asset as usize].opened = false;
        }
    }

    /// Lays down the row of the newest span, which has points of all measured metrics.
    fn stage(&mut self, layout: &RowLayout, time: i64, (words, quality): (&[u64], &[u32])) {
        let at = self.staged.len();
        self.staged.resize(at + layout.stride, 0);
        let row = &mut self.staged[at..];
        layout.set_time(row, time);
        layout.set_points(row, words, quality);
        if let Some(span) = self.spans.last_mut() {
            span.staged = Some(at / layout.stride);
            span.is_plain = quality.iter().fold(0, |any, quality| any | quality) == 0;
        }
    }

    /// Puts the row of an asset that was laid down behind its newest one.
    pub(super) fn unstage(&mut self, asset: usize) {
        let Some(span) = self.assets[asset].span else { return };
        let span = &mut self.spans[span as usize];
        span.is_plain = false;
        if let Some(at) = span.staged.take() {
            span.touched.clone_from(&self.era.plan.measured_touched);
            let layout = &self.era.plan.rows;
            let row = &self.staged[at * layout.stride..(at + 1) * layout.stride];
            self.series[asset].push(layout, row);
        }
    }

    /// Puts in the points of one row, which has those of the mask.
    fn place_row(
        &mut self,
        (plan, names): (&Plan, &Names),
        asset: usize,
        i: usize,
        mask: &mut [u64],
        arrivals: &mut Arrivals,
    ) {
        let rows = &arrivals.rows;
        let (id, time) = (rows.assets[i], rows.times[i]);
        if time < self.assets[asset].limit {
            return self.park((asset, names), i, mask, arrivals);
        }
        if time < self.era.from {
            self.place_behind(asset, i, mask, arrivals);
            return;
        }
        let series = &mut self.series[asset];
        let (at, made) = series.row_at(&plan.rows, time);
        let (mut duplicates, mut end) = (0, at + 1);
        let appended = made && end == series.len();
        if appended {
            // Nothing is there to compare with, and nobody holds the values yet.
            let row = series.row_mut(&plan.rows, at);
            let (words, quality) = (rows.words(i), rows.quality(i));
            slots(mask, |slot| plan.rows.set_point(row, slot, words[slot], Quality(quality[slot])));
        } else {
            for slot in 0..rows.slots {
                let bit = 1 << (slot % 64);
                if mask[slot / 64] & bit == 0 {
                    continue;
                }
                let (word, quality) = (rows.words(i)[slot], Quality(rows.quality(i)[slot]));
                let (placed, reach) = series.place(&plan.rows, at, slot, word, quality);
                end = end.max(reach);
                match placed {
                    Placed::New => {}
                    Placed::Corrected => {
                        arrivals.superseded.push((plan.id, id, slot as u32, time));
                    }
                    Placed::Duplicate => {
                        duplicates += 1;
                        mask[slot / 64] &= !bit;
                    }
                }
            }
        }
        if made || mask.iter().any(|word| *word != 0) {
            self.mark(asset, (at, end), made, appended, mask);
        }
        arrivals.row(i, mask, duplicates, 0);
    }

    /// The index of an asset. Settles, before its first row of an epoch, which rows are here.
    fn open(&mut self, id: u32) -> usize {
        let at = id as usize;
        if self.index.len() <= at {
            self.index.resize(at + 1, u32::MAX);
        }
        let plan = &self.era.plan;
        if self.index[at] == u32::MAX {
            let (asset, series) = (Asset::new(id, plan), Series::of_asset(id));
            self.index[at] = match self.vacant.pop() {
                Some(place) => {
                    self.assets[place as usize] = asset;
                    self.series[place as usize] = series;
                    place
                }
                None => {
                    self.assets.push(asset);
                    self.series.push(series);
                    (self.assets.len() - 1) as u32
                }
            };
        }
        let index = self.index[at] as usize;
        let asset = &mut self.assets[index];
        if !asset.opened {
            asset.limit = match asset.waits_for_edits() {
                true => i64::MAX,
                false => asset.opens_at().max(asset.terms.expired),
            };
            asset.opened = true;
            self.opened.push(index as u32);
        }
        index
    }

    /// The index of an asset that has been opened.
    pub(super) fn find(&self, id: u32) -> Option<usize> {
        let index = *self.index.get(id as usize)?;
        (index != u32::MAX).then_some(index as usize)
    }

    /// Marks rows of an asset to be looked at again.
    fn mark(
        &mut self,
        asset: usize,
        (at, end): (usize, usize),
        made: bool,
        appended: bool,
        mask: &[u64],
    ) {
        let Some(known) = self.assets[asset].span else {
            let new = self.mark_new(asset, (at, end), appended);
            let touched = &mut self.spans[new].touched;
            touched.clear();
            touched.extend_from_slice(mask);
            return touched.resize(mask_words(self.era.plan.layout.slots.len()), 0);
        };
        let span = &mut self.spans[known as usize];
        if made {
            // Rows behind the new one moved up by one.
            span.start += usize::from(at <= span.start);
            span.end += usize::from(at < span.end);
        }
        span.start = span.start.min(at);
        span.end = span.end.max(end);
        self.assets[asset].appended &= appended;
        for (word, fresh) in span.touched.iter_mut().zip(mask) {
            *word |= fresh;
        }
    }

    /// Marks the first rows of an asset in an epoch to be looked at again, touched or not.
    fn mark_new(&mut self, asset: usize, (start, end): (usize, usize), appended: bool) -> usize {
        let touched = self.spare.pop().unwrap_or_default().touched;
        let of_asset = &mut self.assets[asset];
        (of_asset.span, of_asset.appended) = (Some(self.spans.len() as u32), appended);
        self.spans.push(Span { asset, start, end, touched, staged: None, is_plain: false });
        self.spans.len() - 1
    }

    /// Evaluates, steps the rules, folds the windows and hands out what is new.
    pub(super) fn reassess(&mut self, names: &Names, out: &mut Changes) {
        let era = Arc::clone(&self.era);
        let plan = &era.plan;
        let (mut tables, mut said) = (Tables::new(plan, self.spans.len()), Said::default());
        self.rebuild_behind(names, &mut tables, &mut said, out);
        let mut spans = std::mem::take(&mut self.spans);
        let mut staged = std::mem::take(&mut self.staged);
        let mut failures = Vec::new();
        let mut rows = SpanRows { series: &mut self.series, staged: &mut staged };
        evaluate(plan, &mut spans, &mut rows, &mut failures);
        self.tell_failures(failures, names, &mut said);
        let stride = plan.rows.stride;
        for span in &spans {
            let asset = &mut self.assets[span.asset];
            let series = &mut self.series[span.asset];
            asset.span = None;
            let row = span.staged.map(|at| &staged[at * stride..(at + 1) * stride]);
            if let (Some(row), Some((since, resting))) = (row, asset.resting)
                && since < plan.rows.time(row)
                && plan.keeps(resting, row, span.is_plain)
            {
                debug_assert!(asset.log.rests(plan, &era.states, row));
                asset.append(&era, row, &mut tables, out);
                series.push(&plan.rows, row);
                asset.forget(&era, series);
                continue;
            }
            if let Some(row) = row {
                series.push(&plan.rows, row);
            }
            self.look_again(&era, span, names, (&mut tables, &mut said, out));
        }
        tables.finish(out);
        said.finish(out);
        self.spare.append(&mut spans);
        staged.clear();
        self.staged = staged;
    }

    /// Lets everything look at the rows of a span, all of which are in the series.
    fn look_again(
        &mut self,
        era: &Arc<Era>,
        span: &Span,
        names: &Names,
        (tables, said, out): Ears<'_>,
    ) {
        let plan = &era.plan;
        let run = (span.start, span.end, self.passed());
        let asset = &mut self.assets[span.asset];
        let series = &mut self.series[span.asset];
        asset.log.restep(plan, &era.states, series, run, &mut self.steps);
        let about = (&self.steps, names.get(asset.id));
        if !plan.events.is_empty() {
            let looked_at_all = about.0.end == series.len();
            let to = if looked_at_all { i64::MAX } else { series.time(&plan.rows, about.0.end) };
            asset.take_back((series.time(&plan.rows, span.start), to), said);
            asset.tell_events(plan, series, about, said);
        }
        if about.0.levels_differ() {
            Asset::tell_closed(plan, about, said);
            asset.tell_levels(era, about.1, said, out);
        }
        asset.roll_up(era, series, span);
        asset.newest_points(era, series, span);
        asset.hand_out(era, series.row(&plan.rows, series.len() - 1), tables, out);
        asset.forget(era, series);
        self.set_alarm(span.asset);
    }

    pub(super) fn tell_failures(&mut self, failures: Vec<Failure>, names: &Names, said: &mut Said) {
        for failure in failures {
            let asset = &mut self.assets[failure.asset];
            let is =
                |row: &ErrorRow| row.source == failure.source && row.event_time == failure.time;
            if let Some(at) = asset.errors.iter().position(is) {
                said.errors.push((asset.errors.swap_remove(at), -1));
            }
            if let Some(message) = failure.message {
                let row = ErrorRow {
                    asset: Arc::clone(names.get(asset.id)),
                    source: failure.source,
                    event_time: failure.time,
                    message,
                };
                asset.errors.push(row.clone());
                said.errors.push((row, 1));
            }
        }
    }
}
