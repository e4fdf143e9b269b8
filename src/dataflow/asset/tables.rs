//! The output of an epoch while it is being put together.

use super::changes::Changes;
use super::plan::Plan;
use super::rollup::STAT_WORDS;
use crate::model::{
    Change, DeadLetter, ErrorRow, EventRow, Occurrence, Outcome, Rows, Table, TypeId, Upserts,
    spare,
};
use differential_dataflow::consolidation::consolidate;

/// Rows of the wide tables.
pub struct Tables {
    pub latest: Upserts,
    pub health: Upserts,
    pub levels: Upserts,
    pub rollups: Vec<Upserts>,
    /// Work space for the inputs and contributions of one score.
    pub inputs: Vec<Option<f64>>,
    pub parts: Vec<f64>,
}

/// Row changes of the small views.
#[derive(Default)]
pub struct Said {
    pub events: Vec<(EventRow, i64)>,
    pub occurrences: Vec<(Occurrence, i64)>,
    pub errors: Vec<(ErrorRow, i64)>,
}

/// What became of the points that arrived.
pub struct Arrivals {
    /// All rows; the points of those that were looked at are the accepted ones.
    pub rows: Rows,
    /// Whether any point was accepted.
    accepted: bool,
    outcomes: Vec<Outcome>,
    refused: Vec<DeadLetter>,
    pub superseded: Vec<(TypeId, u32, u32, i64)>,
}

impl Tables {
    /// No rows yet, with room for the rows of so many assets.
    pub fn new(plan: &Plan, assets: usize) -> Self {
        let table = |table, stride, rows| Upserts {
            asset_type: plan.id,
            table,
            stride,
            assets: Vec::with_capacity(rows),
            windows: Vec::new(),
            words: spare::buffer(rows * stride),
        };
        let stat = 1 + plan.numeric.len() * STAT_WORDS;
        Self {
            latest: table(Table::Latest, 3 * plan.layout.slots.len(), assets),
            health: table(
                Table::Health,
                plan.health.as_ref().map_or(0, |health| health.stride()),
                assets,
            ),
            levels: table(Table::Thresholds, 3 * plan.rules.len(), 0),
            rollups: plan.windows.iter().map(|w| table(Table::Rollups(*w), stat, assets)).collect(),
            inputs: Vec::new(),
            parts: Vec::new(),
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

impl Arrivals {
    /// Nothing was looked at yet.
    pub fn new(rows: Rows) -> Self {
        let (outcomes, refused, superseded) = Default::default();
        Self { rows, accepted: false, outcomes, refused, superseded }
    }

    /// Row `i` kept all of its points.
    pub fn keep(&mut self) {
        self.accepted = true;
    }

    /// The points of row `i` wait for others, and are not among those that were accepted.
    pub fn wait(&mut self, i: usize) {
        let nothing = vec![0; self.rows.fresh(i).len()];
        self.restrict(i, &nothing);
    }

    /// The points of row `i` are refused.
    pub fn refuse(&mut self, i: usize, letter: DeadLetter) {
        let points = self.rows.fresh(i).iter().map(|word| word.count_ones()).sum();
        self.wait(i);
        let nothing = vec![0; self.rows.fresh(i).len()];
        self.row(i, &nothing, 0, points);
        self.refused.push(letter);
    }

    /// Row `i` kept the points of the mask, and lost these numbers of points.
    pub fn row(&mut self, i: usize, mask: &[u64], duplicates: u32, too_late: u32) {
        self.accepted |= mask.iter().any(|word| *word != 0);
        if duplicates > 0 {
            self.restrict(i, mask);
        }
        if duplicates + too_late > 0 {
            let message = self.rows.messages[i];
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
        if self.accepted {
            out.list.push(Change::Telemetry(self.rows));
        }
        if !self.superseded.is_empty() {
            out.list.push(Change::Superseded(self.superseded));
        }
        if !self.refused.is_empty() {
            out.list.push(Change::DeadLetters(self.refused));
        }
        if !self.outcomes.is_empty() {
            out.list.push(Change::Outcomes(self.outcomes));
        }
    }

    /// Takes the points that are not in the mask out of row `i`.
    fn restrict(&mut self, i: usize, mask: &[u64]) {
        let rows = &mut self.rows;
        let (slots, width) = (rows.slots, mask.len());
        rows.fresh[i * width..(i + 1) * width].copy_from_slice(mask);
        for slot in (0..slots).filter(|slot| mask[slot / 64] >> (slot % 64) & 1 == 0) {
            rows.words[i * slots + slot] = 0;
            rows.quality[i * slots + slot] = 0;
        }
    }
}
