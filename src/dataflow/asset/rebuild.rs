//! Cuts an asset's rows at an event time and lets everything after it come anew.
//!
//! This is the road for what is rare: a new version of the document, and points that belong to
//! an era before the current one. What was said of the rows after the cut is taken back, and said
//! again as it comes out now; what comes out the same cancels out.

use super::assess::TypeState;
use super::changes::{Changes, Names};
use super::era::{Era, Segment};
use super::evaluate::{Span, SpanRows, evaluate};
use super::row::NEVER;
use super::series::{Placed, Series};
use super::single::{Asset, slots};
use super::state_log::Steps;
use super::tables::{Arrivals, Said, Tables};
use super::telling::tell_stays;
use crate::model::{Quality, mask_words};
use std::sync::Arc;

/// Where a rebuilt asset tells what is new.
pub type Ears<'a> = (&'a mut Tables, &'a mut Said, &'a mut Changes);

impl TypeState {
    /// Puts the points of row `i`, which lies before the current era, into its segment, as what
    /// the version of that time has their metrics as. Points of metrics that it does not have come
    /// too late.
    pub(super) fn place_behind(
        &mut self,
        index: usize,
        i: usize,
        mask: &mut [u64],
        arrivals: &mut Arrivals,
    ) {
        let rows = &arrivals.rows;
        let time = rows.times[i];
        let asset = &mut self.assets[index];
        let eras = asset.said.as_ref().unwrap_or(&self.eras);
        let Some(era) = eras.iter().rfind(|era| era.from <= time).map(Arc::clone) else {
            return;
        };
        let at = asset.past.partition_point(|segment| segment.era.from < era.from);
        if asset.past.get(at).is_none_or(|segment| segment.era.from != era.from) {
            asset.past.insert(at, Segment::new(Arc::clone(&era)));
        }
        let (layout, series) = (&era.plan.rows, &mut asset.past[at].series);
        let (mut duplicates, mut too_late, mut changed) = (0, 0, false);
        for slot in 0..rows.slots {
            if mask[slot / 64] >> (slot % 64) & 1 == 0 {
                continue;
            }
            let key = (self.era.plan.id, rows.assets[i], slot as u32, time);
            let (word, quality) = (rows.words(i)[slot], Quality(rows.quality(i)[slot]));
            let Some((known, word)) = era.adopt(&self.era, slot, word) else {
                too_late += 1;
                arrivals.superseded.push(key);
                continue;
            };
            let (row, _) = series.row_at(layout, time);
            match series.place(layout, row, known, word, quality).0 {
                Placed::New => changed = true,
                Placed::Corrected => {
                    changed = true;
                    arrivals.superseded.push(key);
                }
                Placed::Duplicate => {
                    duplicates += 1;
                    mask[slot / 64] &= !(1 << (slot % 64));
                }
            }
        }
        if changed {
            let first = self.behind.entry(index).or_insert(time);
            *first = time.min(*first);
        }
        arrivals.row(i, mask, duplicates, too_late);
    }

    /// Rebuilds the assets that have new points before the current era.
    pub(super) fn rebuild_behind(
        &mut self,
        names: &Names,
        tables: &mut Tables,
        said: &mut Said,
        out: &mut Changes,
    ) {
        let behind = std::mem::take(&mut self.behind);
        if behind.is_empty() {
            return;
        }
        // All their rows are looked at.
        behind.keys().for_each(|index| self.unstage(*index));
        self.spans.retain(|span| !behind.contains_key(&span.asset));
        for (at, span) in self.spans.iter().enumerate() {
            self.assets[span.asset].span = Some(at as u32);
        }
        let era = Arc::clone(&self.era);
        for (index, from) in behind {
            self.assets[index].span = None;
            let last = self.assets[index].current(&era);
            self.rebuild(index, (from, &last), names, (tables, said, out));
        }
    }

    /// Rebuilds one asset from an event time on, and tells it.
    pub(super) fn look_again_from(
        &mut self,
        index: usize,
        since: (i64, &Arc<Era>),
        names: &Names,
        out: &mut Changes,
    ) {
        let (mut tables, mut said) = (Tables::new(&self.era.plan, 1), Said::default());
        self.rebuild(index, since, names, (&mut tables, &mut said, out));
        tables.finish(out);
        said.finish(out);
    }

    /// Rebuilds an asset from an event time on. `last` is the era of its current series.
    pub(super) fn rebuild(
        &mut self,
        index: usize,
        (from, last): (i64, &Arc<Era>),
        names: &Names,
        (tables, said, out): Ears<'_>,
    ) {
        let asset = &mut self.assets[index];
        asset.resting = None;
        let name = Arc::clone(names.get(asset.id));
        let mut segments = std::mem::take(&mut asset.past);
        segments.push(Segment {
            era: Arc::clone(last),
            series: std::mem::take(&mut self.series[index]),
            log: std::mem::take(&mut asset.log),
        });
        let from = segments[0].floor().max(from);
        asset.take_back((from, i64::MAX), said);
        asset.errors.retain(|error| {
            let stays = error.event_time < from;
            if !stays {
                said.errors.push((error.clone(), -1));
            }
            stays
        });
        let cut = cut(&mut segments, from, &name, said);
        let eras = self.assets[index].said.clone();
        let in_force = eras.map(|eras| std::mem::replace(&mut self.eras, eras));
        self.come_again(index, (segments, cut), from, names, (tables, said, out));
        if let Some(in_force) = in_force {
            self.eras = in_force;
        }
    }

    /// Lets the rows that were cut off at a time come again behind the segments, and tells
    /// everything that is so now.
    pub(super) fn come_again(
        &mut self,
        index: usize,
        (segments, cut): (Vec<Segment>, Vec<(Arc<Era>, Series)>),
        from: i64,
        names: &Names,
        (tables, said, out): Ears<'_>,
    ) {
        let name = Arc::clone(names.get(self.assets[index].id));
        let nothing_came = cut.iter().all(|(_, rows)| rows.len() == 0);
        let segments = self.grow(index, segments, cut, (&name, names), said);
        let Some(current) = self.put_back(index, segments) else {
            return self.vanish(index, names, (tables, said, out));
        };
        let passed = self.passed();
        let era = Arc::clone(&self.era);
        let asset = &mut self.assets[index];
        asset.log.advance(&era.plan, &era.states, passed, &mut self.steps);
        let series = &self.series[index];
        asset.tell_events(&era.plan, series, (&self.steps, &name), said);
        Asset::tell_closed(&era.plan, (&self.steps, &name), said);
        asset.tell_levels(&era, &name, said, out);
        let touched = era.plan.all_mask();
        asset.appended = false;
        if !nothing_came {
            let first = asset.first_time(&era, series, from).unwrap_or(current);
            asset.fold(&era, series, (first, i64::MAX), &touched);
            let span = Span { asset: index, touched, ..Span::default() };
            asset.newest_points(&era, series, &span);
        }
        asset.settle(&era.plan, series);
        asset.settle_next();
        let row = series.row(&era.plan.rows, series.len() - 1);
        asset.hand_out(&era, row, tables, out);
        self.set_alarm(index);
    }

    /// Lets the rows that were cut off come again, in the eras in force. Empty when there are
    /// none and were none.
    fn grow(
        &mut self,
        index: usize,
        mut segments: Vec<Segment>,
        cut: Vec<(Arc<Era>, Series)>,
        (name, names): (&Arc<str>, &Names),
        said: &mut Said,
    ) -> Vec<Segment> {
        let eras = self.eras.clone();
        let era_at = |time: i64| eras.iter().rposition(|era| era.from <= time).unwrap_or(0);
        let mut first = segments.last().map_or(0, |last| last.series.len());
        let mut open =
            |to: usize, this: &mut Self, segments: &mut Vec<Segment>, said: &mut Said| {
                let Some(last) = segments.last() else {
                    segments.push(Segment::new(Arc::clone(&eras[to])));
                    first = 0;
                    return;
                };
                let version = last.era.plan.version;
                let at = eras.iter().position(|era| era.plan.version == version).unwrap_or(to);
                for next in eras.iter().take(to + 1).skip(at + 1) {
                    let Some(last) = segments.last_mut() else { return };
                    this.finish(index, last, first, (name, names), said);
                    last.log.advance(
                        &last.era.plan,
                        &last.era.states,
                        next.from.saturating_sub(1),
                        &mut this.steps,
                    );
                    tell(&mut this.assets[index], last, &this.steps, name, said);
                    let next = last.next(Arc::clone(next));
                    first = next.series.first();
                    segments.push(next);
                }
            };
        let mut points = Vec::new();
        for (source, rows) in cut {
            for i in rows.first()..rows.len() {
                let row = rows.row(&source.plan.rows, i);
                let time = source.plan.rows.time(row);
                let fresh = source.plan.rows.fresh(row);
                let is_measured = |slot: usize| slot < source.plan.layout.measured;
                let era = Arc::clone(&eras[era_at(time)]);
                points.clear();
                slots(fresh, |slot| {
                    let value = source.plan.rows.value(row, slot);
                    let here = is_measured(slot).then(|| era.adopt(&source, slot, value)).flatten();
                    points.extend(here.map(|here| (here, source.plan.rows.quality(row, slot))));
                });
                if points.is_empty() {
                    continue;
                }
                open(era_at(time), self, &mut segments, said);
                let Some(last) = segments.last_mut() else { continue };
                let layout = &era.plan.rows;
                let (at, _) = last.series.row_at(layout, time);
                for ((slot, value), quality) in points.drain(..) {
                    layout.set_point(last.series.row_mut(layout, at), slot, value, quality);
                }
            }
        }
        if !segments.is_empty() {
            open(eras.len() - 1, self, &mut segments, said);
        }
        if let Some(last) = segments.last_mut() {
            self.finish(index, last, first, (name, names), said);
        }
        segments
    }

    /// Evaluates the rows of a segment from `first` on and lets the rules look at them.
    fn finish(
        &mut self,
        index: usize,
        segment: &mut Segment,
        first: usize,
        (name, names): (&Arc<str>, &Names),
        said: &mut Said,
    ) {
        let (plan, states) = (&segment.era.plan, &segment.era.states);
        let end = segment.series.len();
        if first >= end {
            return;
        }
        let touched = vec![0; mask_words(plan.layout.slots.len())];
        let mut failures = Vec::new();
        evaluate(
            plan,
            &mut [Span { start: first, end, touched, ..Span::default() }],
            &mut SpanRows { series: std::slice::from_mut(&mut segment.series), staged: &mut [] },
            &mut failures,
        );
        failures.iter_mut().for_each(|failure| failure.asset = index);
        self.tell_failures(failures, names, said);
        let run = (first, end, i64::MIN);
        segment.log.restep(plan, states, &segment.series, run, &mut self.steps);
        tell(&mut self.assets[index], segment, &self.steps, name, said);
    }

    /// Gives an asset its segments back. The event time of its newest row; `None` when there is
    /// none.
    fn put_back(&mut self, index: usize, mut segments: Vec<Segment>) -> Option<i64> {
        self.assets[index].here_from = segments.first().map_or(NEVER, Segment::floor);
        let current = segments.pop()?;
        let newest = current.series.newest();
        self.series[index] = current.series;
        self.assets[index].log = current.log;
        self.assets[index].past = segments;
        newest
    }
}

/// Takes the rows at and after a time out of the segments, each with the era that it had. What
/// the rules had cleared there is taken back.
pub(super) fn cut(
    segments: &mut Vec<Segment>,
    from: i64,
    name: &Arc<str>,
    said: &mut Said,
) -> Vec<(Arc<Era>, Series)> {
    let mut rows = Vec::new();
    for segment in segments.iter_mut() {
        let (plan, states) = (&segment.era.plan, &segment.era.states);
        let mut closed = Vec::new();
        segment.log.cut(plan, states, (from, segment.era.from), &mut closed);
        tell_stays(plan, name, (&closed, -1), said);
        let at = segment.series.position(&plan.rows, from);
        rows.push((Arc::clone(&segment.era), segment.series.split_off(&plan.rows, at)));
    }
    segments.retain(|segment| segment.era.from < from && !segment.is_gone());
    rows
}

/// Tells what a run of a segment's rules found.
fn tell(asset: &mut Asset, segment: &Segment, steps: &Steps, name: &Arc<str>, said: &mut Said) {
    let plan = &segment.era.plan;
    asset.tell_events(plan, &segment.series, (steps, name), said);
    Asset::tell_closed(plan, (steps, name), said);
}
