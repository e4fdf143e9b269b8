//! Small views: multisets of rows that change by insertions and retractions.

use super::cell::Cell;
use crate::model::{EditRow, ErrorRow, EventRow, FleetHealthRow, FleetThresholdRow, Occurrence};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A public row of a small view: its cells in the order of the view's columns.
pub(super) trait Row: Ord + Clone {
    /// About how many bytes of text a row has for itself.
    const OWN_TEXT: usize = 64;

    fn cells(&self) -> Vec<Cell<'_>>;
}

/// What readers need of a small view.
pub(super) trait SmallView {
    /// Begins an epoch; changes are kept from here on when `watched`.
    fn begin(&mut self, watched: bool);
    /// All rows in a stable order, equal rows as often as they are there. Stops on `false`.
    fn each<'a>(&'a self, take: &mut dyn FnMut(Vec<Cell<'a>>) -> bool);
    /// Rows that came or went in this epoch.
    fn changes(&self) -> Vec<SmallChange<'_>>;
    fn len(&self) -> usize;
    fn bytes(&self) -> usize;
}

/// A row of which there are more or fewer than before this epoch.
pub(super) struct SmallChange<'a> {
    pub cells: Vec<Cell<'a>>,
    pub before: i64,
    pub after: i64,
}

/// A multiset. A row whose insertions do not outnumber its retractions is not there.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "R: Serialize", deserialize = "R: Deserialize<'de> + Ord"))]
pub(super) struct Collection<R> {
    rows: BTreeMap<R, i64>,
    /// How often changed rows were there before this epoch; `None` while nobody wants to know.
    #[serde(skip)]
    before: Option<BTreeMap<R, i64>>,
    len: usize,
}

impl<R> Default for Collection<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), before: None, len: 0 }
    }
}

impl<R: Row> Collection<R> {
    /// The rows that are there, each with how often it is.
    pub fn entries(&self) -> impl Iterator<Item = (&R, i64)> {
        self.rows.iter().filter(|(_, count)| **count > 0).map(|(row, count)| (row, *count))
    }

    /// How often a row is there.
    pub fn count(&self, row: &R) -> i64 {
        self.rows.get(row).copied().unwrap_or(0)
    }

    /// Takes a row out that is kept elsewhere from now on: nobody is told of it.
    pub fn take_out(&mut self, row: &R) {
        self.len -= self.rows.remove(row).unwrap_or(0).max(0) as usize;
    }

    /// Puts copies of a row in that were kept elsewhere: nobody is told of it.
    pub fn put_in(&mut self, row: R, count: i64) {
        let before = self.before.take();
        self.update(row, count);
        self.before = before;
    }

    /// The rows that are there, the last one in order first.
    pub fn newest(&self) -> impl Iterator<Item = &R> {
        self.rows.iter().rev().filter(|(_, count)| **count > 0).map(|(row, _)| row)
    }

    pub fn update(&mut self, row: R, diff: i64) {
        let entry = self.rows.entry(row);
        let count = match &entry {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(_) => 0,
        };
        if let Some(before) = &mut self.before {
            before.entry(entry.key().clone()).or_insert(count.max(0));
        }
        self.len = self.len + (count + diff).max(0) as usize - count.max(0) as usize;
        match entry {
            Entry::Occupied(entry) if count + diff == 0 => {
                entry.remove();
            }
            Entry::Occupied(mut entry) => *entry.get_mut() = count + diff,
            Entry::Vacant(entry) if diff != 0 => {
                entry.insert(diff);
            }
            Entry::Vacant(_) => {}
        }
    }
}

impl<R: Row> Collection<R> {
    /// Retracts the rows that are meant.
    pub fn remove(&mut self, is_meant: impl Fn(&R) -> bool) {
        let rows = self.rows.iter().filter(|(row, _)| is_meant(row));
        let gone: Vec<(R, i64)> = rows.map(|(row, count)| (row.clone(), *count)).collect();
        gone.into_iter().for_each(|(row, count)| self.update(row, -count));
    }
}

impl<R: Row> SmallView for Collection<R> {
    fn begin(&mut self, watched: bool) {
        self.before = watched.then(BTreeMap::new);
    }

    fn each<'a>(&'a self, take: &mut dyn FnMut(Vec<Cell<'a>>) -> bool) {
        for (row, count) in &self.rows {
            for _ in 0..*count {
                if !take(row.cells()) {
                    return;
                }
            }
        }
    }

    fn changes(&self) -> Vec<SmallChange<'_>> {
        let mut changes = Vec::new();
        for (row, before) in self.before.iter().flatten() {
            let (before, after) = (*before, self.rows.get(row).copied().unwrap_or(0).max(0));
            if before != after {
                changes.push(SmallChange { cells: row.cells(), before, after });
            }
        }
        changes
    }

    fn len(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> usize {
        // The nodes of a tree are about three quarters full.
        let nodes = self.rows.len() * (size_of::<R>() + size_of::<i64>()) * 4 / 3;
        nodes + self.rows.len() * R::OWN_TEXT
    }
}

impl Row for EventRow {
    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            Cell::text(&self.asset),
            Cell::text(&self.rule),
            Cell::text(&self.event_type),
            Cell::text(&self.severity),
            Cell::Time(self.event_time),
            Cell::text(&self.message),
            Cell::Bool(self.suppressed),
        ]
    }
}

impl Row for Occurrence {
    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            Cell::text(&self.asset),
            Cell::text(&self.rule),
            Cell::text(&self.level),
            Cell::Time(self.since),
            Cell::Time(self.raised),
            Cell::time(self.condition_end),
            Cell::time(self.cleared),
        ]
    }
}

impl Row for ErrorRow {
    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            Cell::text(&self.asset),
            Cell::text(&self.source),
            Cell::Time(self.event_time),
            Cell::text(&self.message),
        ]
    }
}

impl Row for EditRow {
    fn cells(&self) -> Vec<Cell<'_>> {
        let text = |text: Option<&'_ str>| {
            text.map_or(Cell::Null, |text| Cell::Text(text.to_owned().into()))
        };
        let refused = self.refused.as_ref().map(ToString::to_string);
        vec![
            Cell::Time(self.received_at),
            Cell::text(&self.id),
            Cell::text(if self.to.is_some() { "deletion" } else { "correction" }),
            Cell::text(&self.asset),
            Cell::text(&self.metric),
            Cell::Time(self.from),
            self.to.map_or(Cell::Null, Cell::Time),
            Cell::Int(self.points as i64),
            text(refused.as_deref()),
            Cell::text(&self.reason),
            text(self.user.as_deref()),
        ]
    }
}

impl Row for FleetHealthRow {
    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            Cell::text(&self.asset_type),
            Cell::text(&self.band),
            Cell::Int(self.assets as i64),
            Cell::number(f64::from_bits(self.worst_score_bits)),
        ]
    }
}

impl Row for FleetThresholdRow {
    fn cells(&self) -> Vec<Cell<'_>> {
        vec![Cell::text(&self.rule), Cell::text(&self.level), Cell::Int(self.assets as i64)]
    }
}
