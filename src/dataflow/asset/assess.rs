//! The assets of one type: takes the rows of an epoch, keeps everything exact, says what changed.

use super::changes::{Changes, Names};
use super::evaluate::{Failure, Span, evaluate};
use super::plan::Plan;
use super::row::NEVER;
use super::series::{Placed, Series};
use super::single::{Asset, slots};
use super::state::{StateLayout, Steps};
use super::tables::{Arrivals, Said, Tables};
use crate::model::{ErrorRow, Quality, Rows, mask_words};
use std::sync::Arc;

/// Everything that is known of the assets of one type.
pub struct TypeState {
    pub(super) plan: Plan,
    pub(super) states: StateLayout,
    /// Index into `assets` and `series` by dense asset id.
    index: Vec<u32>,
    pub(super) assets: Vec<Asset>,
    pub(super) series: Vec<Series>,
    pub(super) spans: Vec<Span>,
    spare: Vec<Span>,
    steps: Steps,
    opened: Vec<u32>,
}

impl TypeState {
    /// No assets yet.
    pub fn new(plan: Plan) -> Self {
        let states = StateLayout::of(&plan.rows);
        Self {
            plan,
            states,
            index: Vec::new(),
            assets: Vec::new(),
            series: Vec::new(),
            spans: Vec::new(),
            spare: Vec::new(),
            steps: Steps::default(),
            opened: Vec::new(),
        }
    }

    /// The version of the document that is in effect.
    pub fn version(&self) -> u32 {
        self.plan.version
    }

    /// Takes all rows of one epoch, in the order of their arrival, and says what changed.
    pub fn apply(&mut self, rows: &Rows, names: &Names, out: &mut Changes) {
        self.place(rows, out);
        self.reassess(names, out);
    }

    /// Puts the points into the series and marks what must be looked at again.
    fn place(&mut self, rows: &Rows, out: &mut Changes) {
        debug_assert_eq!(rows.slots, self.plan.measured());
        let mut arrivals = Arrivals::new(rows);
        let mut mask = vec![0; mask_words(rows.slots)];
        for i in 0..rows.len() {
            let (id, time) = (rows.assets[i], rows.times[i]);
            let asset = self.open(id);
            mask.copy_from_slice(rows.fresh(i));
            if mask.iter().all(|word| *word == 0) {
                continue;
            }
            if time < self.assets[asset].limit {
                let too_late = mask.iter().map(|word| word.count_ones()).sum();
                let superseded = &mut arrivals.superseded;
                slots(&mask, |slot| superseded.push((self.plan.id, id, slot as u32, time)));
                arrivals.row(i, &mask, 0, too_late);
                continue;
            }
            let (at, made) = self.series[asset].row_at(&self.plan.rows, time);
            let mut duplicates = 0;
            let mut end = at + 1;
            let appended = made && end == self.series[asset].len(&self.plan.rows);
            if appended {
                // Nothing is there to compare with, and nobody holds the values yet.
                let row = self.series[asset].row_mut(&self.plan.rows, at);
                let (words, quality) = (rows.words(i), rows.quality(i));
                let plan = &self.plan;
                slots(&mask, |slot| {
                    plan.rows.set_point(row, slot, words[slot], Quality(quality[slot]))
                });
            } else {
                for slot in 0..rows.slots {
                    let bit = 1 << (slot % 64);
                    if mask[slot / 64] & bit == 0 {
                        continue;
                    }
                    let (word, quality) = (rows.words(i)[slot], Quality(rows.quality(i)[slot]));
                    let series = &mut self.series[asset];
                    let (placed, reach) = series.place(&self.plan.rows, at, slot, word, quality);
                    end = end.max(reach);
                    match placed {
                        Placed::New => {}
                        Placed::Corrected => {
                            arrivals.superseded.push((self.plan.id, id, slot as u32, time));
                        }
                        Placed::Duplicate => {
                            duplicates += 1;
                            mask[slot / 64] &= !bit;
                        }
                    }
                }
            }
            if made || mask.iter().any(|word| *word != 0) {
                self.mark(asset, (at, end), made, appended, &mask);
            }
            arrivals.row(i, &mask, duplicates, 0);
        }
        arrivals.finish(out);
        for asset in self.opened.drain(..) {
            self.assets[asset as usize].opened = false;
        }
    }

    /// The index of an asset. Settles, before its first row of an epoch, which points are late.
    fn open(&mut self, id: u32) -> usize {
        let at = id as usize;
        if self.index.len() <= at {
            self.index.resize(at + 1, u32::MAX);
        }
        if self.index[at] == u32::MAX {
            self.index[at] = self.assets.len() as u32;
            self.assets.push(Asset::new(id, &self.plan));
            self.series.push(Series::of_asset(&self.plan.rows, id));
        }
        let index = self.index[at] as usize;
        let asset = &mut self.assets[index];
        if !asset.opened {
            let newest = self.series[index].newest(&self.plan.rows);
            let horizon =
                newest.map_or(NEVER, |newest| newest.saturating_sub(self.plan.hot_horizon));
            asset.limit = horizon.max(asset.since_version);
            asset.opened = true;
            self.opened.push(index as u32);
        }
        index
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
        let known = self.assets[asset].span;
        let index = known.map_or(self.spans.len(), |span| span as usize);
        if known.is_none() {
            let width = mask_words(self.plan.layout.slots.len());
            let mut span = self.spare.pop().unwrap_or_default();
            span.touched.clear();
            span.touched.resize(width, 0);
            (span.asset, span.start, span.end) = (asset, at, end);
            self.spans.push(span);
            self.assets[asset].span = Some(index as u32);
            self.assets[asset].appended = true;
        }
        let span = &mut self.spans[index];
        if known.is_some() {
            if made {
                // Rows behind the new one moved up by one.
                span.start += usize::from(at <= span.start);
                span.end += usize::from(at < span.end);
            }
            span.start = span.start.min(at);
            span.end = span.end.max(end);
        }
        self.assets[asset].appended &= appended;
        for (word, fresh) in span.touched.iter_mut().zip(mask) {
            *word |= fresh;
        }
    }

    /// Evaluates, steps the rules, folds the windows and hands out what is new.
    pub(super) fn reassess(&mut self, names: &Names, out: &mut Changes) {
        let mut spans = std::mem::take(&mut self.spans);
        let mut failures = Vec::new();
        evaluate(&self.plan, &mut spans, &mut self.series, &mut failures);
        let (mut tables, mut said) = (Tables::new(&self.plan), Said::default());
        self.tell_failures(failures, names, &mut said);
        let (plan, states) = (&self.plan, &self.states);
        for span in &spans {
            let asset = &mut self.assets[span.asset];
            let series = &mut self.series[span.asset];
            let about = (&mut self.steps, names.get(asset.id));
            asset.log.restep(plan, states, series, (span.start, span.end), about.0);
            let about = (&*about.0, about.1);
            asset.tell_events(plan, series, span.start, about, &mut said);
            if about.0.levels_differ() | std::mem::take(&mut asset.tell_anew) {
                asset.tell_levels(plan, states, about, &mut said, out);
            }
            asset.roll_up(plan, series, span);
            asset.newest_points(plan, series, span);
            asset.hand_out(plan, series, states, &mut tables, out);
            asset.forget(plan, series, states);
            asset.span = None;
        }
        tables.finish(out);
        said.finish(out);
        self.spare.append(&mut spans);
    }

    fn tell_failures(&mut self, failures: Vec<Failure>, names: &Names, said: &mut Said) {
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
