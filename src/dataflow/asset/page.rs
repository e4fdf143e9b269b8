//! Brings back what an asset has forgotten, lets what waits take effect on it, and lets it go again.
//!
//! The rows of the archive come before those that are here, by the road on which rows come again;
//! what is said of them on that road was said long ago and nobody hears it. From then on the late
//! points are like any others.

use super::assess::TypeState;
use super::changes::{Changes, Names};
use super::era::{Era, Segment};
use super::parked::Parked;
use super::rebuild::cut;
use super::row::NEVER;
use super::series::Series;
use super::single::Asset;
use super::tables::{Said, Tables};
use crate::model::{Change, DataType, Page, PageContent, PagePoints, Quality, Rows, Symbol};
use std::ops::Range;
use std::sync::Arc;

impl TypeState {
    /// Lets the points that wait for a page take effect. A page that nobody waits for changes
    /// nothing.
    ///
    /// Like rows, it comes after [`TypeState::save_touched`].
    pub fn page(&mut self, page: &Page, names: &Names, out: &mut Changes) {
        let Some(index) = self.find(page.request.asset) else { return };
        let wanted = self.assets[index].parked.as_ref().and_then(|parked| parked.wanted);
        if wanted != Some((page.request.from, page.request.to)) {
            return;
        }
        let points = match &page.content {
            PageContent::Points(points) => points,
            PageContent::TooMany => return self.release(index, names, out),
            PageContent::Unread => return,
        };
        let last = self.assets[index].current(&self.era);
        let said = self.assets[index].said.take();
        if !page.request.is_turn() {
            let in_force = said.map(|said| std::mem::replace(&mut self.eras, said));
            self.page_in(index, page.request.from, points, names);
            if let Some(in_force) = in_force {
                self.eras = in_force;
            }
        }
        let era = Arc::clone(&self.era);
        // As long as anything seems to wait, nothing is forgotten again.
        let nothing = Box::new(Parked::new(&era.plan));
        let Some(parked) = self.assets[index].parked.replace(nothing) else { return };
        if let Some(again) = parked.again {
            self.look_again_from(index, (again, &last), names, out);
        }
        let (mut from, count) = (0, parked.rows.len());
        for (before, edit) in parked.edits {
            self.apply_parked(index, &parked.rows, from..before, (names, out));
            from = before;
            let outcome = self.carry_out(&edit, names, out);
            out.list.push(Change::Edits(edit.rows(outcome)));
        }
        self.apply_parked(index, &parked.rows, from..count, (names, out));
        let (asset, series) = (&mut self.assets[index], &mut self.series[index]);
        asset.parked = None;
        asset.seal(asset.terms.expired);
        asset.forget_now(&era, series);
        series.shrink();
        out.list.push(Change::Paged(vec![page.request.asset]));
    }

    /// Takes some rows that waited, now that the rows of their times are here.
    fn apply_parked(
        &mut self,
        index: usize,
        all: &Rows,
        range: Range<usize>,
        (names, out): (&Names, &mut Changes),
    ) {
        if range.is_empty() {
            return;
        }
        let mut rows = Rows::new(self.era.plan.id, all.slots);
        range.for_each(|i| rows.push_row(all, i));
        let asset = &mut self.assets[index];
        (asset.limit, asset.opened) = (NEVER, true);
        self.opened.push(index as u32);
        self.apply(rows, names, out);
    }

    /// Puts archived points from an anchor on before the rows that are here.
    fn page_in(&mut self, index: usize, from: i64, points: &PagePoints, names: &Names) {
        let era = Arc::clone(&self.era);
        let (mut tables, mut said, mut out) =
            (Tables::new(&era.plan, 1), Said::default(), Changes::default());
        let name = Arc::clone(names.get(self.assets[index].id));
        let mut rows = self.history(points);
        let asset = &mut self.assets[index];
        let anchor = asset.anchor_before(from).cloned();
        let anchor = anchor.filter(|anchor| anchor.day == from);
        asset.anchors.retain(|anchor| anchor.day <= from);
        asset.base_latest = match &anchor {
            Some(anchor) => anchor.latest.clone(),
            None => Asset::new(asset.id, &era.plan).base_latest,
        };
        asset.events.clear();
        asset.errors.clear();
        asset.resting = None;
        asset.windows.iter_mut().for_each(|windows| windows.unfold(from));
        let mut segments = std::mem::take(&mut asset.past);
        segments.push(Segment {
            era: Arc::clone(&era),
            series: std::mem::take(&mut self.series[index]),
            log: std::mem::take(&mut asset.log),
        });
        rows.extend(cut(&mut segments, NEVER, &name, &mut said));
        let before = anchor.iter().map(|anchor| anchor.segment()).collect();
        self.come_again(index, (before, rows), from, names, (&mut tables, &mut said, &mut out));
        debug_assert!(out.health.is_empty() && out.thresholds.is_empty(), "as it was: {out:?}");
    }

    /// Points as rows of the eras of their times, as far as these measure their metrics.
    fn history(&self, points: &PagePoints) -> Vec<(Arc<Era>, Series)> {
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_unstable_by_key(|i| points.times[*i]);
        let mut rows: Vec<(Arc<Era>, Series)> = Vec::new();
        let mut slots: Vec<Option<(usize, DataType)>> = Vec::new();
        for i in order {
            let time = points.times[i];
            let era = self.eras.iter().rfind(|era| era.from <= time).unwrap_or(&self.era);
            if rows.last().is_none_or(|(last, _)| !Arc::ptr_eq(last, era)) {
                let layout = &era.plan.layout;
                let place = |name: &Arc<str>| {
                    let slot = layout.position(name).filter(|slot| *slot < layout.measured)?;
                    Some((slot, layout.slots[slot].data_type))
                };
                slots = points.names.iter().map(place).collect();
                rows.push((Arc::clone(era), Series::default()));
            }
            let Some((era, series)) = rows.last_mut() else { continue };
            let Some((slot, data_type)) = slots[points.metrics[i] as usize] else { continue };
            let Some(word) = word(points, i, data_type) else { continue };
            let (layout, quality) = (&era.plan.rows, Quality(points.quality[i]));
            let (at, _) = series.row_at(layout, time);
            layout.set_point(series.row_mut(layout, at), slot, word, quality);
        }
        rows
    }
}

/// A point's value as the type that its metric has.
pub fn word(points: &PagePoints, i: usize, to: DataType) -> Option<u64> {
    match points.texts.get(i).and_then(|text| text.as_ref()) {
        Some(text) => (to == DataType::String).then(|| u64::from(Symbol::of(text).0)),
        None => to.read(DataType::Double, points.values[i].to_bits()),
    }
}
