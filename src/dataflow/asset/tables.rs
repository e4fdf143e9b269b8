//! The output of an epoch while it is being put together.

use super::changes::Changes;
use super::plan::Plan;
use super::rollup::STAT_WORDS;
use crate::model::{Change, ErrorRow, EventRow, Occurrence, Outcome, Rows, Table, TypeId, Upserts};
use differential_dataflow::consolidation::consolidate;

/// Rows of the wide tables.
pub struct Tables {
    pub latest: Upserts,
    pub health: Upserts,
    pub levels: Upserts,
    pub rollups: Vec<Upserts>,
}

/// Row changes of the small views.
#[derive(Default)]
pub struct Said {
    pub events: Vec<(EventRow, i64)>,
    pub occurrences: Vec<(Occurrence, i64)>,
    pub errors: Vec<(ErrorRow, i64)>,
}

/// What became of the points that arrived.
pub struct Arrivals<'a> {
    all: &'a Rows,
    /// The accepted points, from the first row on that lost one; before that all are.
    some: Option<Rows>,
    outcomes: Vec<Outcome>,
    pub superseded: Vec<(TypeId, u32, u32, i64)>,
}

impl Tables {
    /// No rows yet.
    pub fn new(plan: &Plan) -> Self {
        let table = |table, stride| Upserts {
            asset_type: plan.id,
            table,
            stride,
            assets: Vec::new(),
            windows: Vec::new(),
            words: Vec::new(),
        };
        let stat = 1 + plan.numeric.len() * STAT_WORDS;
        Self {
            latest: table(Table::Latest, 3 * plan.layout.slots.len()),
            health: table(Table::Health, plan.health.as_ref().map_or(0, |health| health.stride())),
            levels: table(Table::Thresholds, 3 * plan.rules.len()),
            rollups: plan.windows.iter().map(|w| table(Table::Rollups(*w), stat)).collect(),
        }
    }

    /// Hands out the tables that have rows.
    pub fn finish(self, out: &mut Changes) {
        let tables = [self.latest, self.health, self.levels].into_iter().chain(self.rollups);
        out.list.extend(tables.filter(|t| !t.assets.is_empty()).map(Change::Upserts));
    }
}

/// Appends a row to a table without windows.
pub fn push(upserts: &mut Upserts, asset: u32, words: &[u64]) {
    upserts.assets.push(asset);
    upserts.words.extend_from_slice(words);
}

impl Said {
    /// Hands out what does not cancel out.
    pub fn finish(mut self, out: &mut Changes) {
        consolidate(&mut self.events);
        consolidate(&mut self.occurrences);
        consolidate(&mut self.errors);
        if !self.events.is_empty() {
            out.list.push(Change::Events(self.events));
        }
        if !self.occurrences.is_empty() {
            out.list.push(Change::Occurrences(self.occurrences));
        }
        if !self.errors.is_empty() {
            out.list.push(Change::Errors(self.errors));
        }
    }
}

impl<'a> Arrivals<'a> {
    /// Nothing was looked at yet.
    pub fn new(all: &'a Rows) -> Self {
        Self { all, some: None, outcomes: Vec::new(), superseded: Vec::new() }
    }

    /// Row `i` kept the points of the mask, and lost these numbers of points.
    pub fn row(&mut self, i: usize, mask: &[u64], duplicates: u32, too_late: u32) {
        if duplicates > 0 && self.some.is_none() {
            let mut some =
                Rows { asset_type: self.all.asset_type, slots: self.all.slots, ..Rows::default() };
            (0..i).for_each(|j| some.push_row(self.all, j));
            self.some = Some(some);
        }
        if let Some(some) = &mut self.some
            && mask.iter().any(|word| *word != 0)
        {
            some.push_row(self.all, i);
            if duplicates > 0 {
                restrict(some, mask);
            }
        }
        if duplicates + too_late > 0 {
            let message = self.all.messages[i];
            match self.outcomes.last_mut().filter(|outcome| outcome.message == message) {
                Some(outcome) => {
                    outcome.duplicates += duplicates;
                    outcome.too_late += too_late;
                }
                None => {
                    self.outcomes.push(Outcome { message, duplicates, too_late, unmapped: 0 });
                }
            }
        }
    }

    /// Hands out the accepted points and what became of the others.
    pub fn finish(self, out: &mut Changes) {
        let accepted = self.some.unwrap_or_else(|| self.all.clone());
        if !accepted.is_empty() {
            out.list.push(Change::Telemetry(accepted));
        }
        if !self.superseded.is_empty() {
            out.list.push(Change::Superseded(self.superseded));
        }
        if !self.outcomes.is_empty() {
            out.list.push(Change::Outcomes(self.outcomes));
        }
    }
}

/// Takes the points that are not in the mask out of the last row.
fn restrict(rows: &mut Rows, mask: &[u64]) {
    let (slots, width, last) = (rows.slots, mask.len(), rows.len() - 1);
    rows.fresh[last * width..].copy_from_slice(mask);
    for slot in (0..slots).filter(|slot| mask[slot / 64] >> (slot % 64) & 1 == 0) {
        rows.words[last * slots + slot] = 0;
        rows.quality[last * slots + slot] = 0;
    }
}
