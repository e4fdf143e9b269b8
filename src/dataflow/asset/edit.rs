//! Deletions and corrections of accepted points.
//!
//! A correction is a point of a key that is there, so it goes where such points go. A deletion
//! takes the points out of the series and lets everything after the first of them come again
//! (see [`super::rebuild`]): what is left is as if they had never come. An edit that is about rows
//! which are not here waits for them (see [`super::parked`]).

use super::assess::TypeState;
use super::changes::{Changes, Names};
use super::era::Era;
use super::rebuild::Ears;
use super::row::NEVER;
use super::single::Asset;
use super::tables::push;
use crate::model::{
    Action, Change, Corrected, Edit, EditRefusal, NO_MESSAGE, Quality, Rows, TypeId, mask_words,
};
use std::sync::Arc;

/// Where points are: type, asset, slot of the current version and event time.
type Keys = Vec<(TypeId, u32, u32, i64)>;

impl TypeState {
    /// Carries out an edit, or lets it wait for rows that are not here: then there is no outcome.
    ///
    /// Like rows, it comes after [`TypeState::save_touched`].
    pub fn edit(
        &mut self,
        edit: &Edit,
        names: &Names,
        out: &mut Changes,
    ) -> Option<Result<Vec<u64>, EditRefusal>> {
        match self.find(edit.asset) {
            Some(index) if self.must_wait(index, edit.first()) => {
                self.park_edit(index, edit.clone());
                self.ask(names, out);
                None
            }
            _ => Some(self.carry_out(edit, names, out)),
        }
    }

    /// Carries out an edit of which all rows are here.
    pub(super) fn carry_out(
        &mut self,
        edit: &Edit,
        names: &Names,
        out: &mut Changes,
    ) -> Result<Vec<u64>, EditRefusal> {
        match &edit.action {
            Action::Delete { metrics, from, to } => {
                self.delete(edit.asset, metrics, (from.0, to.0), names, out)
            }
            Action::Correct { points } => self.correct(edit.asset, points, names, out),
        }
    }

    /// Deletes the points of these metrics at event times in `[from, to)`: how many of each.
    /// Refused wholly when views could not be recomputed exactly; see [`EditRefusal`].
    ///
    /// Like rows, it comes after [`TypeState::save_touched`].
    pub fn delete(
        &mut self,
        id: u32,
        metrics: &[Arc<str>],
        (from, to): (i64, i64),
        names: &Names,
        out: &mut Changes,
    ) -> Result<Vec<u64>, EditRefusal> {
        let slots = metrics.iter().map(|m| self.measured(m)).collect::<Result<Vec<_>, _>>()?;
        let Some(index) = self.find(id) else { return Ok(vec![0; metrics.len()]) };
        self.check_earliest(index, &slots, from)?;
        let mut keys = Vec::new();
        let mut counts = Vec::with_capacity(slots.len());
        for slot in &slots {
            let before = keys.len();
            self.find_points((index, id), *slot, (from, to), &mut keys);
            counts.push((keys.len() - before) as u64);
        }
        if keys.len() as u64 > Edit::POINTS_MAX {
            return Err(EditRefusal::TooMany(keys.len() as u64));
        }
        let Some(first) = keys.iter().map(|(.., time)| *time).min() else { return Ok(counts) };
        for slot in slots {
            self.clear(index, slot, (from, to));
        }
        let era = Arc::clone(&self.era);
        let last = self.assets[index].current(&era);
        self.look_again_from(index, (first, &last), names, out);
        out.list.push(Change::Deleted(keys));
        Ok(counts)
    }

    /// Gives points that are there other values. Refused wholly when one is not there, or lies
    /// before the hot horizon.
    ///
    /// Like rows, it comes after [`TypeState::save_touched`].
    pub fn correct(
        &mut self,
        id: u32,
        points: &[Corrected],
        names: &Names,
        out: &mut Changes,
    ) -> Result<Vec<u64>, EditRefusal> {
        let plan = Arc::clone(&self.era);
        let plan = &plan.plan;
        let mut rows = Rows::new(plan.id, plan.measured());
        for point in points {
            let (slot, time) = (self.measured(&point.metric)?, point.event_time.0);
            let missing = || EditRefusal::NoPoint(Arc::clone(&point.metric), time);
            let index = self.find(id).ok_or_else(missing)?;
            self.check_earliest(index, &[slot], time)?;
            let mut keys = Vec::new();
            self.find_points((index, id), slot, (time, time.saturating_add(1)), &mut keys);
            let metric = &plan.layout.slots[slot];
            // The type may have changed since the door looked at it.
            if keys.is_empty() || metric.data_type != point.value.data_type() {
                return Err(missing());
            }
            let word = point.value.word();
            let number = metric.data_type.number(word).zip(metric.range);
            let inside = number.is_none_or(|(x, (low, high))| low <= x && x <= high);
            let least = if inside { Quality::GOOD } else { Quality::OUT_OF_RANGE };
            rows.assets.push(id);
            rows.devices.push(point.device);
            rows.times.push(time);
            rows.messages.push(NO_MESSAGE);
            let at = rows.fresh.len();
            rows.fresh.resize(at + mask_words(rows.slots), 0);
            rows.fresh[at + slot / 64] = 1 << (slot % 64);
            let at = rows.words.len();
            rows.words.resize(at + rows.slots, 0);
            rows.words[at + slot] = word;
            rows.quality.resize(at + rows.slots, 0);
            rows.quality[at + slot] = point.quality.worst(least).0;
        }
        if !rows.is_empty() {
            self.apply(rows, names, out);
        }
        Ok(vec![1; points.len()])
    }

    /// Lets an asset of which no point is left vanish, as if it had never been fed.
    pub(super) fn vanish(&mut self, index: usize, names: &Names, (tables, said, out): Ears<'_>) {
        let era = Arc::clone(&self.era);
        let plan = &era.plan;
        let asset = &mut self.assets[index];
        let mut empty = Asset::new(asset.id, plan);
        if asset.latest == empty.latest {
            // There was no point before either.
            return;
        }
        asset.retire(plan, names.get(asset.id), said, out);
        push(&mut tables.latest, asset.id, &empty.latest);
        if let Some(health) = &plan.health {
            let mut words = vec![f64::NAN.to_bits(); health.stride()];
            words[0] = NEVER as u64;
            push(&mut tables.health, asset.id, &words);
        }
        asset.appended = false;
        let series = &self.series[index];
        if let Some(first) = asset.first_time(&era, series, NEVER) {
            asset.fold(&era, series, (first, i64::MAX), &plan.all_mask());
        }
        asset.levels_changed = !plan.rules.is_empty();
        asset.hand_out_levels(plan, tables);
        asset.hand_out_windows(tables);
        std::mem::swap(&mut empty.parked, &mut asset.parked);
        std::mem::swap(&mut empty.anchors, &mut asset.anchors);
        empty.sealed = asset.sealed;
        std::mem::swap(&mut empty.terms, &mut asset.terms);
        *asset = empty;
    }

    /// The slot of a measured metric.
    fn measured(&self, metric: &Arc<str>) -> Result<usize, EditRefusal> {
        let plan = &self.era.plan;
        let slot = plan.layout.position(metric).filter(|slot| *slot < plan.measured());
        slot.ok_or_else(|| EditRefusal::UnknownMetric(Arc::clone(metric)))
    }

    /// Refuses what lies before the time from which on all points of these metrics that were
    /// accepted are here and kept, or that of the version of the document from which on all of them are
    /// measured as they are now.
    fn check_earliest(&self, index: usize, slots: &[usize], from: i64) -> Result<(), EditRefusal> {
        let asset = &self.assets[index];
        let mut earliest = asset.here_from.max(asset.terms.expired);
        let knows =
            |era: &Era| slots.iter().all(|slot| era.measured_of(&self.era, *slot).is_some());
        for (era, next) in self.eras.iter().zip(self.eras.iter().skip(1)) {
            if !knows(era) {
                earliest = earliest.max(next.from);
            }
        }
        match from < earliest {
            true => Err(EditRefusal::TooEarly(earliest)),
            false => Ok(()),
        }
    }

    /// The keys of a metric's points in a range of event times.
    fn find_points(
        &self,
        (index, id): (usize, u32),
        slot: usize,
        (from, to): (i64, i64),
        keys: &mut Keys,
    ) {
        let past = &self.assets[index].past;
        let segments = past.iter().map(|segment| (&segment.era, &segment.series));
        for (era, series) in segments.chain([(&self.era, &self.series[index])]) {
            let Some(known) = era.measured_of(&self.era, slot) else { continue };
            let layout = &era.plan.rows;
            let first = series.position(layout, from).max(series.first());
            for i in first..series.position(layout, to) {
                let row = series.row(layout, i);
                if layout.is_fresh(row, known) {
                    keys.push((self.era.plan.id, id, slot as u32, layout.time(row)));
                }
            }
        }
    }

    /// Takes a metric's points in a range of event times out of the rows. What later rows hold is
    /// left: they come again.
    fn clear(&mut self, index: usize, slot: usize, (from, to): (i64, i64)) {
        let now = Arc::clone(&self.era);
        let past = &mut self.assets[index].past;
        let segments = past.iter_mut().map(|segment| (&segment.era, &mut segment.series));
        for (era, series) in segments.chain([(&now, &mut self.series[index])]) {
            let Some(known) = era.measured_of(&now, slot) else { continue };
            let layout = &era.plan.rows;
            let first = series.position(layout, from).max(series.first());
            for i in first..series.position(layout, to) {
                if layout.is_fresh(series.row(layout, i), known) {
                    layout.set_held(series.row_mut(layout, i), known, None);
                }
            }
        }
    }
}
