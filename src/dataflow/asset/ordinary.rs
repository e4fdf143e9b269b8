//! How ordinary rows are taken: picked out of a batch, evaluated column by column, and then each
//! added to what [`super::lane`] has of its asset.
//!
//! All of it could be done by the other road, which is the definition of what is right. A row that
//! turns out not to be ordinary goes there, and so do all rows of its asset in the batch behind it.

use super::assess::TypeState;
use super::changes::Changes;
use super::columns::Columns;
use super::lane::Lane;
use super::plan::{Input, Plan};
use super::rollup::add_values;
use super::single::Asset;
use super::tables::{Tables, push};
use crate::model::{Rows, mask_words};
use arrow::buffer::ScalarBuffer;
use std::sync::Arc;

/// A row of the batch, and the index of its asset.
#[derive(Clone, Copy)]
pub struct Ride {
    pub row: u32,
    asset: u32,
}

/// The values of some rows that have good points of all measured metrics.
struct Values {
    /// Of the derived metrics.
    derived: Vec<(usize, ScalarBuffer<u64>)>,
    /// Of the expressions that give numbers.
    numbers: Vec<(usize, ScalarBuffer<u64>)>,
    /// Which conditions are true: so many words a row.
    are_true: Vec<u64>,
    /// Rows of which something has no value.
    odd: Vec<bool>,
}

impl TypeState {
    /// Takes the ordinary rows and says what changed. Returns the others, in their order.
    pub(super) fn take_ordinary(&mut self, rows: &Rows, out: &mut Changes) -> Vec<u32> {
        let (mut others, mut leaving) = (Vec::new(), Vec::new());
        self.lane.begin(self.assets.len());
        let rides = match self.era.plan.has_ordinary_rows() {
            true => self.pick(rows, &mut others, &mut leaving),
            false => return (0..rows.len() as u32).collect(),
        };
        if !rides.is_empty() {
            let values = Values::of(&self.era.plan, rows, &rides);
            self.ride(rows, &rides, &values, (&mut others, &mut leaving), out);
            others.sort_unstable();
        }
        for asset in leaving {
            self.fetch(asset as usize);
            self.lane.spots[asset as usize].end();
        }
        others
    }

    /// Looks which rows are expected to be ordinary, and which are not.
    fn pick(&mut self, rows: &Rows, others: &mut Vec<u32>, leaving: &mut Vec<u32>) -> Vec<Ride> {
        let all = self.era.plan.measured_mask();
        let is_good = rows.quality.iter().fold(0, |any, quality| any | quality) == 0;
        let mut rides = Vec::with_capacity(rows.len());
        for (i, fresh) in rows.fresh.chunks_exact(all.len()).enumerate() {
            let Some(index) = self.find(rows.assets[i]) else {
                others.push(i as u32);
                continue;
            };
            let is_good = is_good || rows.quality(i).iter().all(|quality| *quality == 0);
            let is_whole = is_good && fresh.iter().zip(&all).all(|(fresh, all)| fresh == all);
            if is_whole && self.expects(index, rows.times[i], i) {
                rides.push(Ride { row: i as u32, asset: index as u32 });
                continue;
            }
            others.push(i as u32);
            self.lane.spots[index].leave();
            leaving.push(index as u32);
        }
        rides
    }

    fn expects(&mut self, index: usize, time: i64, i: usize) -> bool {
        let (asset, series) = (&mut self.assets[index], &self.series[index]);
        self.lane.expects(index, time, i)
            || (self.lane.board(index, &self.era, asset, series)
                && self.lane.expects(index, time, i))
    }

    /// Adds the rows to what is known of their assets, and hands out what came of the last of each.
    fn ride(
        &mut self,
        rows: &Rows,
        rides: &[Ride],
        values: &Values,
        (others, leaving): (&mut Vec<u32>, &mut Vec<u32>),
        out: &mut Changes,
    ) {
        let era = Arc::clone(&self.era);
        let (plan, layout): (&Plan, _) = (&era.plan, &era.plan.rows);
        let mut tables = Tables::new(plan, rides.len());
        let mut row = layout.whole();
        let Self { lane, assets, series, .. } = self;
        for (k, Ride { row: i, asset: index }) in rides.iter().enumerate() {
            let (time, index) = (rows.times[*i as usize], *index as usize);
            layout.set_time(&mut row, time);
            values.put(plan, &mut row, (k, rows.words(*i as usize)));
            let spot = &mut lane.spots[index];
            let is_ordinary =
                !spot.is_off && !values.odd[k] && plan.keeps(spot.resting, &row, true);
            if !is_ordinary || !lane.add((plan, index), &mut assets[index], &row) {
                lane.spots[index].fall_off();
                others.push(*i);
                leaving.push(index as u32);
                continue;
            }
            let series = &mut series[index];
            series.push_whole(layout, &row);
            let spot = &mut lane.spots[index];
            (spot.has_rows, spot.is_told) = (true, false);
            if series.len() >= spot.forget_at {
                assets[index].forget(&era, series);
                spot.forget_at = assets[index].forget_at;
            }
            if spot.last == *i {
                spot.is_told = true;
                push_latest(plan, spot.id, &row, &mut tables);
                if let Some(health) = &plan.health
                    && !lane.keeps_health(plan, index, &row, &mut tables)
                {
                    let by = (plan, &era.states);
                    assets[index].hand_out_health(by, health, &row, &mut tables, out);
                    lane.take_health(index, &assets[index]);
                }
                lane.hand_out_windows(index, &mut assets[index], &mut tables);
            }
        }
        tables.finish(out);
    }
}

impl Lane {
    /// Adds a row to the windows. `false` when it is before the newest of one.
    #[inline]
    fn add(&mut self, (plan, index): (&Plan, usize), asset: &mut Asset, row: &[u64]) -> bool {
        let time = plan.rows.time(row);
        for at in 0..self.windows.len() {
            if !self.windows[at].contains(index, time) && !self.turn(plan, (at, index), asset, time)
            {
                return false;
            }
        }
        let values = plan.rows.values(row);
        for newest in &mut self.windows {
            add_values(plan, newest.words.get_mut(index)[1..].as_chunks_mut().0, values);
        }
        let watermark = time.saturating_sub(plan.out_of_order);
        let spot = &mut self.spots[index];
        if watermark >= spot.settle_at {
            asset.settle_at_watermark(plan, watermark);
            spot.settle_at = asset.settle_at;
            spot.has_older = true;
        }
        true
    }

    /// Puts the asset's health into the table when all but the event time is as it was.
    #[inline]
    fn keeps_health(
        &mut self,
        plan: &Plan,
        index: usize,
        row: &[u64],
        tables: &mut Tables,
    ) -> bool {
        let spot = &self.spots[index];
        let conditions = plan.rows.conditions(row);
        let is_kept = spot.is_scored
            && self.scored.get(index).iter().zip(conditions).all(|(was, is)| was == is);
        if is_kept {
            let health = self.health.get_mut(index);
            health[0] = plan.rows.time(row) as u64;
            push(&mut tables.health, spot.id, health);
        }
        is_kept
    }

    #[inline]
    fn hand_out_windows(&mut self, index: usize, asset: &mut Asset, tables: &mut Tables) {
        let spot = &mut self.spots[index];
        if std::mem::take(&mut spot.has_older) {
            asset.hand_out_windows(tables);
        }
        for (newest, upserts) in self.windows.iter().zip(&mut tables.rollups) {
            upserts.windows.push(newest.starts[index]);
            push(upserts, spot.id, newest.words.get(index));
        }
    }
}

impl Values {
    /// Evaluates all expressions.
    fn of(plan: &Plan, rows: &Rows, rides: &[Ride]) -> Self {
        let count = rides.len();
        let words = rides.iter().map(|ride| rows.words(ride.row as usize));
        let mut columns = Columns::whole(plan, words);
        let (mut derived, mut odd) = (Vec::new(), vec![false; count]);
        for metric in &plan.derived {
            let results = columns.evaluate(&metric.expr);
            let missing = results.missing();
            missing.iter().for_each(|row| odd[*row] = true);
            columns.put(plan, metric.slot, results.words(), &missing);
            derived.push((metric.slot, results.words()));
        }
        let width = mask_words(plan.rows.conditions);
        let (mut numbers, mut are_true) = (Vec::new(), vec![0; count * width]);
        for hidden in &plan.hidden {
            let results = columns.evaluate(&hidden.expr);
            results.missing().iter().for_each(|row| odd[*row] = true);
            match hidden.to {
                Input::Number(index) => numbers.push((index, results.words())),
                Input::Condition(index) => results.mark_true(index, width, &mut are_true),
                Input::Metric(_) => {}
            }
        }
        Self { derived, numbers, are_true, odd }
    }

    /// Puts the values of the `k`-th row, of which these are the measured ones, into a row that has
    /// other ones.
    #[inline]
    fn put(&self, plan: &Plan, row: &mut [u64], (k, measured): (usize, &[u64])) {
        let values = plan.rows.values_mut(row);
        values[..measured.len()].copy_from_slice(measured);
        for (slot, derived) in &self.derived {
            values[*slot] = derived[k];
        }
        for (index, numbers) in &self.numbers {
            plan.rows.set_number(row, *index, Some(numbers[k]));
        }
        let width = mask_words(plan.rows.conditions);
        plan.rows.set_true(row, &self.are_true[k * width..(k + 1) * width]);
    }
}

/// Puts the row of `Latest` into the table.
#[inline]
fn push_latest(plan: &Plan, id: u32, row: &[u64], tables: &mut Tables) {
    let (time, latest) = (plan.rows.time(row) as u64, &mut tables.latest);
    latest.assets.push(id);
    let from = latest.words.len();
    latest.words.resize(from + latest.stride, 0);
    let cells = latest.words[from..].as_chunks_mut().0.iter_mut();
    cells.zip(plan.rows.values(row)).for_each(|(cell, value)| *cell = [*value, time, 0]);
}
