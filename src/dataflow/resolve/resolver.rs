//! Turns one batch into rows of assets. The hot path: no allocation for a single row.

use super::columns::{Columns, PlanCache};
use super::directory::Directory;
use super::fill::Picked;
use crate::dataflow::catalog::News;
use crate::model::{Batch, METRICS_FROM, Outcome, Rows};
use arrow::array::Array;
use std::collections::BTreeMap;

/// Resolves batches with the catalog that it has learned so far.
#[derive(Debug, Default)]
pub struct Resolver {
    directory: Directory,
    plans: PlanCache,
    /// For each row of the batch at hand, the number of its sender.
    senders: Vec<u32>,
    /// For each sender, the one whose row came after its own last: devices report in turn.
    after: Vec<u32>,
    /// For each shape, the rows of the batch at hand.
    picked: Vec<Vec<u32>>,
}

/// Counts points that no asset takes, by message.
#[derive(Debug, Default)]
pub struct Unmapped {
    messages: BTreeMap<u32, u32>,
    /// For each row of the batch at hand; empty while there are none.
    rows: Vec<u32>,
}

impl Resolver {
    /// Takes the news of one epoch.
    pub fn learn(&mut self, news: Vec<(News, i64)>) {
        self.directory.learn(news);
        self.plans.clear();
    }

    /// The rows of a batch, in their order for each kind of route. Rows without a point are left
    /// out.
    pub fn resolve(&mut self, batch: &Batch, unmapped: &mut Unmapped) -> Vec<Rows> {
        self.pick(batch);
        let schema = self.plans.schema(batch.rows().schema_ref());
        let qualities = batch.qualities();
        let qualities = qualities.iter().any(|code| *code != 0).then_some(qualities);
        let mut resolved = Vec::new();
        for shape in 0..self.picked.len() {
            if self.picked[shape].is_empty() {
                continue;
            }
            let plan = self.plans.plan(schema, shape as u32, &self.directory);
            let picked = Picked { picked: &self.picked[shape], qualities };
            for &column in &plan.unused {
                unmapped.count_column(batch, column, picked.picked);
            }
            for (route, columns) in plan.routes.iter().enumerate() {
                let Some(columns) = columns else { continue };
                if columns.sources.is_empty() {
                    continue;
                }
                let mut rows = self.start(batch, columns, shape, route);
                if picked.fill_whole(columns, batch, &mut rows) {
                    resolved.push(rows);
                    continue;
                }
                rows.words.resize(picked.picked.len() * columns.slots, 0);
                let mut whole = true;
                for source in &columns.sources {
                    let column = batch.rows().column(source.column);
                    // A value that several routes refuse is one point all the same.
                    whole &= picked.fill(source, column, &mut rows, &mut |row| {
                        if route == 0 {
                            unmapped.count_row(batch, row);
                        }
                    });
                }
                let rows = if whole { rows } else { without_empty(rows) };
                if !rows.is_empty() {
                    resolved.push(rows);
                }
            }
        }
        unmapped.finish_batch(batch);
        resolved
    }

    /// Sorts the rows of the batch by the shapes of their senders.
    fn pick(&mut self, batch: &Batch) {
        self.senders.clear();
        self.picked.iter_mut().for_each(Vec::clear);
        self.picked.resize_with(self.directory.shapes().len(), Vec::new);
        self.after.resize(self.directory.len(), 0);
        let devices = batch.devices();
        let (mut last, mut number) = ("", self.directory.number(""));
        for row in 0..batch.len() {
            let device = devices.value(row);
            if device != last {
                let expected = self.after[number as usize];
                let next = match self.directory.has_key(expected, device) {
                    true => expected,
                    false => self.directory.number(device),
                };
                self.after[number as usize] = next;
                (last, number) = (device, next);
            }
            self.senders.push(number);
            self.picked[self.directory.sender(number).shape as usize].push(row as u32);
        }
    }

    /// Rows for one route of all picked senders, still without words.
    fn start(&self, batch: &Batch, columns: &Columns, shape: usize, route: usize) -> Rows {
        let picked = &self.picked[shape];
        let (slots, length) = (columns.slots, picked.len());
        let (times, messages) = (batch.event_times(), batch.messages());
        let mut rows = Rows::new(columns.asset_type, slots);
        rows.assets.reserve_exact(length);
        rows.devices.reserve_exact(length);
        for &row in picked {
            let number = self.senders[row as usize];
            rows.assets.push(self.directory.asset(number, route));
            rows.devices.push(self.directory.sender(number).device);
        }
        rows.times = picked.iter().map(|row| times[*row as usize]).collect();
        rows.messages = picked.iter().map(|row| messages[*row as usize]).collect();
        rows.fresh = columns.mask().repeat(length);
        rows.quality = vec![0; length * slots];
        rows
    }
}

fn without_empty(rows: Rows) -> Rows {
    let filled = |i: &usize| rows.fresh(*i).iter().any(|mask| *mask != 0);
    if (0..rows.len()).all(|i| filled(&i)) {
        return rows;
    }
    let asset_type = rows.asset_type.expect("rows of a batch have a type");
    let mut kept = Rows::new(asset_type, rows.slots);
    for i in (0..rows.len()).filter(filled) {
        kept.push_row(&rows, i);
    }
    kept
}

impl Unmapped {
    /// The outcomes of messages with unmapped points, by ordinal.
    pub fn into_outcomes(self) -> Vec<Outcome> {
        let outcome = |(message, unmapped)| Outcome { message, unmapped, ..Outcome::default() };
        self.messages.into_iter().map(outcome).collect()
    }

    fn count_row(&mut self, batch: &Batch, row: u32) {
        self.rows.resize(batch.len(), 0);
        self.rows[row as usize] += 1;
    }

    fn count_column(&mut self, batch: &Batch, column: usize, picked: &[u32]) {
        debug_assert!(column >= METRICS_FROM);
        let column = batch.rows().column(column);
        if column.null_count() == column.len() {
            return;
        }
        self.rows.resize(batch.len(), 0);
        for &row in picked {
            self.rows[row as usize] += u32::from(column.is_valid(row as usize));
        }
    }

    /// Adds the rows' counts to those of their messages.
    fn finish_batch(&mut self, batch: &Batch) {
        for (count, message) in self.rows.iter().zip(batch.messages()) {
            if *count > 0 {
                *self.messages.entry(*message).or_default() += count;
            }
        }
        self.rows.clear();
    }
}
