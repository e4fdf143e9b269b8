//! All contents at one epoch, and how an epoch's changes are taken in.

use super::cell::Cell;
use super::dead_letters::DeadLetters;
use super::documents::Documents;
use super::image::{Image, Small};
use super::kept::Kept;
use super::leaving::Due;
use super::limits::Limits;
use super::names::{Names, TypeNames};
use super::returning::Back;
use super::series::{ROWS_REFUSED, ROWS_UPSERTED};
use super::small::{Collection, SmallView};
use super::view::View;
use super::wide::WideTable;
use crate::model::{
    Change, Document, EditRow, Epoch, ErrorRow, EventRow, FleetHealthRow, FleetThresholdRow, Kind,
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
    events: Collection<EventRow>,
    occurrences: Collection<Occurrence>,
    errors: Collection<ErrorRow>,
    fleet_health: Collection<FleetHealthRow>,
    fleet_thresholds: Collection<FleetThresholdRow>,
    dead_letters: DeadLetters,
    corrections: Collection<EditRow>,
    catalog: BTreeMap<Kind, Documents>,
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
            events: Collection::default(),
            occurrences: Collection::default(),
            errors: Collection::default(),
            fleet_health: Collection::default(),
            fleet_thresholds: Collection::default(),
            dead_letters: DeadLetters::default(),
            corrections: Collection::default(),
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
        back: Vec<Back>,
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
        for rows in &back {
            self.bring_back(rows);
        }
        for change in changes {
            self.take(change);
        }
    }

    /// The contents as they are now. Rows of wide tables are shared, all others copied.
    pub fn image(&self) -> bincode::Result<Image> {
        let (events, occurrences, errors) = (&self.events, &self.occurrences, &self.errors);
        let fleet = (&self.fleet_health, &self.fleet_thresholds);
        let refused = (&self.dead_letters, &self.corrections);
        let small = (events, occurrences, errors, fleet, refused, &self.catalog);
        let wide = self.wide.iter().map(|((table, asset_type), wide)| {
            (*table, *asset_type, wide.stride(), wide.chunks().to_vec())
        });
        Ok(Image {
            epoch: self.epoch,
            clock: self.clock,
            removed: Arc::clone(&self.removed),
            names: Arc::clone(&self.names),
            wide: wide.collect(),
            kept: self.kept.clone(),
            small: bincode::serialize(&small)?,
        })
    }

    /// The contents that an image holds.
    pub fn of(image: Image, limits: Limits) -> bincode::Result<Self> {
        let unfit = |_| bincode::ErrorKind::Custom("rows do not fit their table".into());
        let Small(events, occurrences, errors, fleet, (dead_letters, corrections), mut catalog) =
            bincode::deserialize(&image.small)?;
        let mut wide = BTreeMap::new();
        for (table, asset_type, stride, chunks) in image.wide {
            let restored = WideTable::of(stride, chunks, image.epoch).ok_or(()).map_err(unfit)?;
            wide.insert((table, asset_type), restored);
        }
        let mut kept = image.kept;
        kept.values_mut().for_each(|kept| kept.ended = image.epoch);
        let mut names = image.names;
        Arc::make_mut(&mut names).index();
        catalog.values_mut().for_each(Documents::index);
        Ok(Self {
            epoch: image.epoch,
            clock: image.clock,
            removed: image.removed,
            names,
            wide,
            kept,
            documented: Kind::ALL.into_iter().map(|kind| (kind, image.epoch)).collect(),
            events,
            occurrences,
            errors,
            fleet_health: fleet.0,
            fleet_thresholds: fleet.1,
            dead_letters,
            corrections,
            catalog,
            ..Self::new(limits)
        })
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
        let newest = self.corrections.newest();
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

    fn learn(&mut self, documents: &[(Document, i64)]) {
        let mut ordered: Vec<&(Document, i64)> = documents.iter().collect();
        ordered.sort_by_key(|(document, diff)| (*diff > 0, document.id, document.version));
        for (document, diff) in ordered {
            if let Some(rows) = self.catalog.get_mut(&document.kind) {
                rows.update(document, *diff);
                self.documented.insert(document.kind, self.epoch);
            }
            if *diff < 0 || !Names::learns_from(document) {
                continue;
            }
            let old = self.names.asset_type(TypeId(document.id)).cloned();
            if Arc::make_mut(&mut self.names).learn(document) {
                self.relay(TypeId(document.id), old.as_deref());
            }
        }
    }

    /// The rows of a type read differently from now on, or cannot be read any more. Rows that are
    /// kept by metric move to the new columns by name.
    fn relay(&mut self, asset_type: TypeId, old: Option<&TypeNames>) {
        let Some(names) = self.names.asset_type(asset_type) else { return };
        for ((table, owner), wide) in &mut self.wide {
            if *owner != asset_type {
                continue;
            }
            wide.touch_all();
            let moved = old.and_then(|old| names.moved(*table, old));
            if let (Table::Rollups(window), Some(old)) = (table, old) {
                let kept = self.kept.entry(*window).or_default();
                // What has left memory is read by name, as far as it goes on.
                let goes_on = |part: usize| {
                    moved.as_ref().is_some_and(|moved| moved.from.contains(&Some(part)))
                };
                for (part, slot) in old.numeric.iter().enumerate() {
                    if !goes_on(part) {
                        let metric = old.layout.slots[*slot].name.as_str().into();
                        kept.begin(asset_type, &names.key, Some(metric), self.epoch);
                    }
                }
                if moved.is_none() {
                    kept.begin(asset_type, &names.key, None, self.epoch);
                }
            }
            match moved {
                Some(moved) => wide.relay(&moved),
                None if wide.stride() != names.stride(*table) => wide.reset(names.stride(*table)),
                None if matches!(table, Table::Rollups(_)) => wide.reset(wide.stride()),
                None => {}
            }
        }
    }

    fn reset(&mut self, asset_type: TypeId, table: Table) {
        let stride = self.names.asset_type(asset_type).map(|names| names.stride(table));
        if let (Table::Rollups(window), Some(names)) = (table, self.names.asset_type(asset_type)) {
            let kept = self.kept.entry(window).or_default();
            kept.begin(asset_type, &names.key, None, self.epoch);
        }
        if let Some(wide) = self.wide.get_mut(&(table, asset_type)) {
            wide.reset(stride.unwrap_or(wide.stride()));
        }
    }

    /// Forgets the rows of assets.
    fn remove(&mut self, assets: &[(u32, Arc<str>)]) {
        let removed = Arc::make_mut(&mut self.removed);
        removed.extend(assets.iter().map(|(id, key)| (*id, (Arc::clone(key), self.epoch))));
        let is_gone = |key: &Arc<str>| assets.iter().any(|(_, gone)| gone == key);
        for kept in self.kept.values_mut() {
            assets.iter().for_each(|(id, key)| kept.remove(*id, key, self.epoch));
        }
        for wide in self.wide.values_mut() {
            wide.remove(|(asset, _)| assets.iter().any(|(gone, _)| gone == asset));
        }
        self.events.remove(|event| is_gone(&event.asset));
        self.occurrences.remove(|occurrence| is_gone(&occurrence.asset));
        self.errors.remove(|error| is_gone(&error.asset));
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Clock(clock) => self.clock = self.clock.max(clock),
            Change::Upserts(upserts) => self.upsert(&upserts),
            Change::Events(rows) => update(&mut self.events, rows),
            Change::Occurrences(rows) => update(&mut self.occurrences, rows),
            Change::Errors(rows) => update(&mut self.errors, rows),
            Change::FleetHealth(rows) => update(&mut self.fleet_health, rows),
            Change::FleetThresholds(rows) => update(&mut self.fleet_thresholds, rows),
            Change::DeadLetters(letters) => {
                for letter in letters {
                    self.dead_letters.push(letter, &self.limits);
                }
            }
            Change::Outcomes(outcomes) => self.keep_outcomes(outcomes),
            Change::Edits(rows) => {
                rows.into_iter().for_each(|row| self.corrections.update(row, 1));
                self.corrections.keep_last(self.limits.corrections);
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
