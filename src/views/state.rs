//! All contents at one epoch, and how an epoch's changes are taken in.

use super::aging::Aged;
use super::cell::Cell;
use super::dead_letters::DeadLetters;
use super::documents::Documents;
use super::filed::InFiles;
use super::kept::Kept;
use super::leaving::Due;
use super::limits::Limits;
use super::names::Names;
use super::returning::Back;
use super::series::{ROWS_REFUSED, ROWS_UPSERTED};
use super::small::{Collection, SmallView};
use super::view::View;
use super::wide::WideTable;
use crate::model::{
    Change, EditRow, Epoch, ErrorRow, EventRow, FleetHealthRow, FleetThresholdRow, Kind,
    Occurrence, Outcome, Table, Timestamp, TypeId, Upserts, Window,
};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Assets by id, each with its key and the epoch at which it was removed last. Rows of that epoch
/// and later ones are of the asset that came after it under the same key.
pub type Removed = BTreeMap<u32, (Arc<str>, Epoch)>;

/// What every view holds.
pub(super) struct State {
    pub epoch: Epoch,
    /// The source's clock.
    pub clock: Timestamp,
    /// Assets that were removed, whether they came again or not.
    pub removed: Arc<Removed>,
    pub names: Arc<Names>,
    pub wide: BTreeMap<(Table, TypeId), WideTable>,
    /// Rows of roll-ups that have left memory.
    pub(super) kept: BTreeMap<Window, Kept>,
    /// The last epoch at which documents of a kind came or went, or one before which it is not
    /// known.
    pub(super) documented: BTreeMap<Kind, Epoch>,
    /// When to look for more of them.
    pub(super) due: BTreeMap<(Table, TypeId), Due>,
    limits: Limits,
    watched: HashSet<View>,
    pub(super) events: Aged<EventRow>,
    pub(super) occurrences: Aged<Occurrence>,
    pub(super) errors: Aged<ErrorRow>,
    pub(super) fleet_health: Collection<FleetHealthRow>,
    pub(super) fleet_thresholds: Collection<FleetThresholdRow>,
    pub(super) dead_letters: DeadLetters,
    pub(super) corrections: Aged<EditRow>,
    pub(super) catalog: BTreeMap<Kind, Documents>,
    outcomes: VecDeque<(Epoch, Vec<Outcome>)>,
    /// How many there are in all of these epochs.
    kept_outcomes: usize,
}

impl State {
    pub fn new(limits: Limits) -> Self {
        Self {
            epoch: Epoch::default(),
            clock: Timestamp::MIN,
            removed: Arc::default(),
            names: Arc::default(),
            wide: BTreeMap::new(),
            kept: BTreeMap::new(),
            documented: BTreeMap::new(),
            due: BTreeMap::new(),
            limits,
            watched: HashSet::new(),
            events: Aged::default(),
            occurrences: Aged::default(),
            errors: Aged::default(),
            fleet_health: Collection::default(),
            fleet_thresholds: Collection::default(),
            dead_letters: DeadLetters::default(),
            corrections: Aged::default(),
            catalog: Kind::ALL.into_iter().map(|kind| (kind, Documents::default())).collect(),
            outcomes: VecDeque::new(),
            kept_outcomes: 0,
        }
    }

    /// Takes in one epoch. Afterwards the changes of the watched views can be read until the next.
    ///
    /// Documents come first, then removals and resets, because the changes of one epoch come from
    /// several workers in any order.
    /// `back` has the rows of [`State::away`].
    pub fn apply(
        &mut self,
        epoch: Epoch,
        changes: Vec<Change>,
        watched: HashSet<View>,
        back: &Back,
    ) {
        self.begin(epoch, watched);
        for change in &changes {
            if let Change::Documents(documents) = change {
                self.learn(documents);
            }
        }
        for change in &changes {
            match change {
                Change::Removed(assets) => self.remove(assets),
                Change::Reset(asset_type, table) => self.reset(*asset_type, *table),
                _ => {}
            }
        }
        self.bring_back(back);
        for change in changes {
            self.take(change);
        }
    }

    /// About how many bytes the wide tables take, and the small views.
    pub fn bytes(&self) -> (usize, usize) {
        let wide: usize = self.wide.values().map(WideTable::bytes).sum();
        let wide = wide + self.kept.values().map(Kept::bytes).sum::<usize>();
        let small = View::ALL.into_iter().filter_map(|view| self.small(view));
        let outcomes = self.kept_outcomes * size_of::<Outcome>();
        (wide, small.map(|small| small.bytes()).sum::<usize>() + outcomes)
    }

    /// What became of messages, in order of ordinals; nothing for epochs that are too old.
    pub fn outcomes(&self, epoch: Epoch, messages: Range<u32>) -> Vec<Outcome> {
        let found = self.outcomes.binary_search_by_key(&epoch, |(epoch, _)| *epoch);
        let all = found.map_or(&[] as &[Outcome], |i| &self.outcomes[i].1);
        let mut wanted: Vec<Outcome> =
            all.iter().filter(|outcome| messages.contains(&outcome.message)).copied().collect();
        wanted.sort_by_key(|outcome| outcome.message);
        wanted
    }

    /// What became of an edit that a door took at a time: its rows in the view.
    pub fn edit(&self, received_at: Timestamp, id: &str) -> Vec<EditRow> {
        let newest = self.corrections.here().newest();
        let near = newest.take_while(|row| row.received_at >= received_at.0);
        near.filter(|row| *row.id == *id).cloned().collect()
    }

    /// The contents of a view that is not read from a wide table.
    pub fn small(&self, view: View) -> Option<&dyn SmallView> {
        Some(match view {
            View::Events => &self.events,
            View::ThresholdOccurrences => &self.occurrences,
            View::Errors => &self.errors,
            View::FleetHealth => &self.fleet_health,
            View::FleetThresholds => &self.fleet_thresholds,
            View::DeadLetters => &self.dead_letters,
            View::Corrections => &self.corrections,
            View::Catalog(kind) => self.catalog.get(&kind)?.rows(),
            _ => return None,
        })
    }

    /// What has left memory of a view; `None` when nothing has.
    pub fn in_files(&self, view: View) -> Option<Arc<dyn InFiles>> {
        match view {
            View::Rollups(window) => {
                let archived = &self.kept.get(&window)?.archived;
                (!archived.files.is_empty()).then(|| Arc::clone(archived) as _)
            }
            View::Events => self.events.in_files(),
            View::ThresholdOccurrences => self.occurrences.in_files(),
            View::Errors => self.errors.in_files(),
            View::Corrections => self.corrections.in_files(),
            _ => None,
        }
    }

    /// The tables of all types that a view is read from.
    pub fn tables(&self, table: Table) -> impl Iterator<Item = (TypeId, &WideTable)> {
        self.wide
            .range((table, TypeId(0))..=(table, TypeId(u32::MAX)))
            .map(|((_, asset_type), wide)| (*asset_type, wide))
    }

    /// Whether a row of a small view has what the filter asks for.
    pub fn is_wanted(cells: &[Cell<'_>], filter: &[(usize, &str)]) -> bool {
        filter.iter().all(|(column, text)| cells[*column] == Cell::text(text))
    }

    fn small_mut(&mut self, view: View) -> Option<&mut dyn SmallView> {
        Some(match view {
            View::Events => &mut self.events,
            View::ThresholdOccurrences => &mut self.occurrences,
            View::Errors => &mut self.errors,
            View::FleetHealth => &mut self.fleet_health,
            View::FleetThresholds => &mut self.fleet_thresholds,
            View::DeadLetters => &mut self.dead_letters,
            View::Corrections => &mut self.corrections,
            View::Catalog(kind) => self.catalog.get_mut(&kind)?.rows_mut(),
            _ => return None,
        })
    }

    fn begin(&mut self, epoch: Epoch, watched: HashSet<View>) {
        self.epoch = epoch;
        for view in View::ALL {
            let is_watched = watched.contains(&view);
            if let Some(small) = self.small_mut(view) {
                small.begin(is_watched);
            }
        }
        for ((table, asset_type), wide) in &mut self.wide {
            let names = self.names.asset_type(*asset_type);
            wide.begin(epoch, names.filter(|_| watched.contains(&View::of(*table))));
        }
        self.watched = watched;
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Clock(clock) => self.clock = self.clock.max(clock),
            Change::Upserts(upserts) => self.upsert(&upserts),
            Change::Events(rows) => self.events.update(rows),
            Change::Occurrences(rows) => self.occurrences.update(rows),
            Change::Errors(rows) => self.errors.update(rows),
            Change::FleetHealth(rows) => update(&mut self.fleet_health, rows),
            Change::FleetThresholds(rows) => update(&mut self.fleet_thresholds, rows),
            Change::DeadLetters(letters) => {
                for letter in letters {
                    self.dead_letters.push(letter, &self.limits);
                }
            }
            Change::Outcomes(outcomes) => self.keep_outcomes(outcomes),
            Change::Edits(rows) => {
                self.corrections.update(rows.into_iter().map(|row| (row, 1)).collect());
            }
            // Applied before, or the historian's.
            Change::Documents(_)
            | Change::Published(_)
            | Change::Marked(_)
            | Change::Reset(..)
            | Change::Removed(_)
            | Change::Telemetry(_)
            | Change::Superseded(_)
            | Change::Deleted(_)
            | Change::Wanted(_)
            | Change::Paged(_)
            | Change::Expired(_) => {}
        }
    }

    fn upsert(&mut self, upserts: &Upserts) {
        let (table, asset_type) = (upserts.table, upserts.asset_type);
        let rows = upserts.assets.len();
        let names = self.names.asset_type(asset_type);
        let fits = |stride| stride == upserts.stride && upserts.words.len() == rows * stride;
        let Some(names) = names.filter(|names| fits(names.stride(table))) else {
            metrics::counter!(ROWS_REFUSED).increment(rows as u64);
            tracing::error!(?table, ?asset_type, rows, "rows do not fit the asset type's layout");
            return;
        };
        let wide = self.wide.entry((table, asset_type)).or_insert_with(|| {
            let mut wide = WideTable::new(upserts.stride);
            let watched = self.watched.contains(&View::of(table));
            wide.begin(self.epoch, watched.then_some(names));
            wide
        });
        wide.upsert(upserts);
        if let Table::Rollups(window) = table {
            for (asset, start) in wide.emptied() {
                let kept = self.kept.entry(window).or_default();
                kept.replace(&self.names.key(asset), start, self.epoch);
            }
        }
        metrics::counter!(ROWS_UPSERTED).increment(rows as u64);
    }

    fn keep_outcomes(&mut self, outcomes: Vec<Outcome>) {
        self.kept_outcomes += outcomes.len();
        match self.outcomes.back_mut() {
            Some((epoch, kept)) if *epoch == self.epoch => kept.extend(outcomes),
            _ => self.outcomes.push_back((self.epoch, outcomes)),
        }
        let limits = &self.limits;
        while self.outcomes.len() > limits.outcome_epochs
            || (self.kept_outcomes > limits.outcomes && self.outcomes.len() > 1)
        {
            let oldest = self.outcomes.pop_front();
            self.kept_outcomes -= oldest.map_or(0, |(_, outcomes)| outcomes.len());
        }
    }
}

fn update<R: super::small::Row>(collection: &mut Collection<R>, rows: Vec<(R, i64)>) {
    for (row, diff) in rows {
        collection.update(row, diff);
    }
}
