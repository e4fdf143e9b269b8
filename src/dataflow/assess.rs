//! Assess: owns the state of the assets of this worker and applies closed epochs to it, in order.

use super::asset::{Changes, Held as Bytes, Names, Plan, TypeState};
use super::capture::Dated;
use super::catalog::{News, NewsUpdate, document_error, read};
use super::checkpoint::{self, PIECE_BYTES, Piece, Saver, Share};
use super::cluster::Place;
use super::fleet::{Health, Threshold};
use super::graph::Tick;
use super::memory::{ASSETS_AT_ONCE, Measured};
use super::rows::{AssetRows, ByAsset, append, by_message};
use crate::catalog::asset_type::AssetType;
use crate::model::{
    Change, Document, Edit, EditRow, Epoch, ErrorRow, Expiry, Page, Rows, Timestamp, TypeId,
};
use differential_dataflow::{AsCollection, VecCollection};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::dataflow::{Stream, StreamVec};

type Builder<D> = CapacityContainerBuilder<Vec<D>>;
type HealthUpdate = (Health, u64, i64);
type ThresholdUpdate = (Threshold, u64, i64);

/// Rows after which the operator lets the others have their turn before the next epoch.
const ROWS_PER_ACTIVATION: usize = 16_384;

/// How long the saving of states rests while many pieces wait to be taken.
const SAVER_RESTS: Duration = Duration::from_millis(2);

/// How long the measuring of states rests after some assets: it is in no hurry.
const METER_RESTS: Duration = Duration::from_millis(10);

/// What comes out of the rows.
pub struct Assessed<'scope> {
    /// Changes of views.
    pub changes: StreamVec<'scope, u64, Dated>,
    /// The current band and score of each asset, as differences.
    pub health: VecCollection<'scope, u64, Health, i64>,
    /// The current level of each rule and asset, as differences.
    pub thresholds: VecCollection<'scope, u64, Threshold, i64>,
}

/// All that happens to the assets of this worker at one epoch.
struct Held {
    capabilities: [Capability<u64>; 3],
    news: Vec<(News, i64)>,
    rows: Vec<Rows>,
    edits: Vec<Edit>,
    pages: Vec<Page>,
    tick: i64,
    expiry: Option<Expiry>,
}

impl Held {
    /// Nothing yet of an epoch that the capability's container has something of.
    fn new(capability: &InputCapability<u64>, epoch: u64) -> Self {
        let capabilities = [0, 1, 2].map(|output| capability.delayed(&epoch, output));
        let (news, rows, edits, pages) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (tick, expiry) = (i64::MIN, None);
        Self { capabilities, news, rows, edits, pages, tick, expiry }
    }
}

/// The clock, and what is asked of the asset's owners.
pub type Asked<'scope> =
    (StreamVec<'scope, u64, Tick>, StreamVec<'scope, u64, Edit>, StreamVec<'scope, u64, Page>);

/// Sends rows to the owners of their assets and applies them there.
///
/// An epoch is applied when neither rows nor news of it can come any more: first the news, then
/// all rows of a type at once, then the edits in their order, then pages, then the tick, then what
/// expires. After [`ROWS_PER_ACTIVATION`] rows the other operators get their turn.
///
/// What the states take in memory is measured from time to time, some assets an activation.
///
/// A state to start from has its places in the fleet told at its epoch. A state that is wanted, which
/// a tick says, is saved in pieces, one an activation.
pub fn render<'scope>(
    rows: Stream<'scope, u64, AssetRows>,
    news: StreamVec<'scope, u64, NewsUpdate>,
    (ticks, edits, pages): Asked<'scope>,
    (place, restored): (Place, Option<(Epoch, Share)>),
    (mut saver, measured): (Saver, Arc<Measured>),
) -> Assessed<'scope> {
    let scope = rows.scope();
    let mut builder = OperatorBuilder::new("Assess".to_owned(), scope);
    let again = scope.activator_for(builder.operator_info().address);
    let mut rows = builder.new_input(rows, DistributorPact(move |_| ByAsset(place)));
    let mut news = builder.new_input(news, Pipeline);
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut edits = builder.new_input(edits, Pipeline);
    let mut pages = builder.new_input(pages, Pipeline);
    let (changes_output, changes) = builder.new_output::<Vec<Dated>>();
    let (health_output, health) = builder.new_output::<Vec<HealthUpdate>>();
    let (thresholds_output, thresholds) = builder.new_output::<Vec<ThresholdUpdate>>();
    let mut changes_output = OutputBuilder::<_, Builder<Dated>>::from(changes_output);
    let mut health_output = OutputBuilder::<_, Builder<HealthUpdate>>::from(health_output);
    let mut thresholds_output =
        OutputBuilder::<_, Builder<ThresholdUpdate>>::from(thresholds_output);
    let (start, share) = restored.unzip();
    let mut assessor = Assessor::new(scope.index(), place, share.unwrap_or_default());

    builder.build(move |capabilities| {
        let mut start = start.map(|epoch| {
            let later = [0, 1, 2].map(|output| capabilities[output].delayed(&epoch.0));
            (later, epoch.0)
        });
        drop(capabilities);
        let mut give = move |capabilities: &[Capability<u64>; 3], epoch: u64, changes: Changes| {
            let [for_changes, for_health, for_thresholds] = capabilities;
            let list = changes.list.into_iter().map(|change| (epoch, change));
            changes_output.activate().session(for_changes).give_iterator(list);
            let list = changes.health.into_iter().map(|(health, diff)| (health, epoch, diff));
            health_output.activate().session(for_health).give_iterator(list);
            let list = changes.thresholds.into_iter().map(|(level, diff)| (level, epoch, diff));
            thresholds_output.activate().session(for_thresholds).give_iterator(list);
        };
        let mut held: BTreeMap<u64, Held> = BTreeMap::new();
        move |frontiers| {
            if let Some((capabilities, epoch)) = start.take() {
                give(&capabilities, epoch, assessor.announce());
            }
            rows.for_each(|capability, rows| {
                let epoch = *capability.time();
                let held = held.entry(epoch).or_insert_with(|| Held::new(&capability, epoch));
                held.rows.push(std::mem::take(rows).rows);
            });
            ticks.for_each(|capability, ticks| {
                let epoch = *capability.time();
                let held = held.entry(epoch).or_insert_with(|| Held::new(&capability, epoch));
                for tick in ticks.drain(..) {
                    held.tick = held.tick.max(tick.at);
                    held.expiry = tick.expiry.or(held.expiry);
                    if tick.mark {
                        saver.mark(Epoch(epoch));
                    }
                }
            });
            edits.for_each(|capability, edits| {
                let epoch = *capability.time();
                let held = held.entry(epoch).or_insert_with(|| Held::new(&capability, epoch));
                held.edits.append(edits);
            });
            pages.for_each(|capability, pages| {
                let epoch = *capability.time();
                let held = held.entry(epoch).or_insert_with(|| Held::new(&capability, epoch));
                held.pages.append(pages);
            });
            news.for_each(|capability, updates| {
                for (news, epoch, diff) in updates.drain(..) {
                    let held = held.entry(epoch).or_insert_with(|| Held::new(&capability, epoch));
                    held.news.push((news, diff));
                }
            });
            let complete = |epoch: &u64| !frontiers.iter().any(|f| f.less_equal(epoch));
            let mut budget = ROWS_PER_ACTIVATION;
            loop {
                let next = held.first_key_value().map(|(epoch, _)| *epoch);
                let is_now = |epoch: Epoch| complete(&epoch.0) && next.is_none_or(|n| n > epoch.0);
                if let Some(epoch) = saver.due(is_now) {
                    assessor.begin_save(epoch);
                }
                let first = held.first_entry().filter(|first| complete(first.key()));
                let Some(first) = first else { break };
                if budget == 0 {
                    again.activate();
                    break;
                }
                let (epoch, of_epoch) = first.remove_entry();
                let rows: usize = of_epoch.rows.iter().map(Rows::len).sum();
                budget = budget.saturating_sub(rows);
                let Held { capabilities, news, rows, edits, pages, tick, expiry } = of_epoch;
                assessor.epoch = Epoch(epoch);
                let mut changes = assessor.apply(news, rows);
                assessor.edit(edits, &mut changes);
                assessor.page(&pages, &mut changes);
                assessor.tick(tick, &mut changes);
                assessor.expire(expiry, &mut changes);
                give(&capabilities, epoch, changes);
            }
            if assessor.is_saving() {
                match saver.is_full() {
                    true => again.activate_after(SAVER_RESTS),
                    false => {
                        assessor.save_some().into_iter().for_each(|piece| saver.put(piece));
                        again.activate();
                    }
                }
            }
            if assessor.is_measuring() || (assessor.changed && measured.take_wanted()) {
                match assessor.measure_some() {
                    Some(held) => measured.tell(held),
                    None => again.activate_after(METER_RESTS),
                }
            }
        }
    });
    let (health, thresholds) = (health.as_collection(), thresholds.as_collection());
    Assessed { changes, health, thresholds }
}

struct Assessor {
    index: usize,
    place: Place,
    types: BTreeMap<TypeId, Assets>,
    names: Names,
    clock: i64,
    /// The epoch that is applied.
    epoch: Epoch,
    saving: Option<Saving>,
    /// Whether anything has changed since the last measurement began.
    changed: bool,
    measuring: Option<Measuring>,
}

/// A measurement that is under way.
struct Measuring {
    held: Bytes,
    /// Types before this one are measured, and of this one the assets before that index.
    next: (TypeId, usize),
}

/// A save that is under way.
struct Saving {
    epoch: Epoch,
    /// Bytes that were not handed out yet.
    bytes: Vec<u8>,
    /// Types before this one are saved.
    next: TypeId,
}

/// The assets of one type at this worker.
#[derive(Default)]
struct Assets {
    /// Number of measured metrics of the current document.
    measured: Option<usize>,
    state: Option<TypeState>,
    /// Why the current document has no effect.
    error: Option<ErrorRow>,
}

impl Assessor {
    fn new(index: usize, place: Place, share: Share) -> Self {
        let of_state = |state| Assets { state: Some(state), ..Assets::default() };
        let types = share.types.into_iter().map(|(id, state)| (id, of_state(state))).collect();
        Self {
            index,
            place,
            types,
            names: share.names,
            clock: i64::MIN,
            epoch: Epoch(0),
            saving: None,
            changed: true,
            measuring: None,
        }
    }

    /// The places of all assets in the fleet, for a graph that has just started.
    fn announce(&self) -> Changes {
        let mut changes = Changes::default();
        let states = self.types.values().filter_map(|assets| assets.state.as_ref());
        states.for_each(|state| state.announce(&self.names, &mut changes));
        changes
    }

    /// Begins to save the state as it is now, which is that after this epoch.
    fn begin_save(&mut self, epoch: Epoch) {
        let mut bytes = Vec::with_capacity(2 * PIECE_BYTES);
        checkpoint::put_names(&mut bytes, &self.names);
        for (id, assets) in &mut self.types {
            if let Some(state) = &mut assets.state {
                checkpoint::put_type(&mut bytes, *id, state);
            }
        }
        self.saving = Some(Saving { epoch, bytes, next: TypeId(0) });
    }

    fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// The next piece of the save that is under way; after the last one none is.
    fn save_some(&mut self) -> Option<Piece> {
        let saving = self.saving.as_mut()?;
        let fresh = Vec::with_capacity(2 * PIECE_BYTES);
        let mut bytes = std::mem::replace(&mut saving.bytes, fresh);
        for (id, assets) in self.types.range_mut(saving.next..) {
            saving.next = *id;
            let Some(state) = &mut assets.state else { continue };
            while bytes.len() < PIECE_BYTES && checkpoint::put_asset(&mut bytes, *id, state) {}
            if bytes.len() >= PIECE_BYTES {
                return Some(Piece { epoch: saving.epoch, bytes, last: false });
            }
        }
        let epoch = saving.epoch;
        self.saving = None;
        Some(Piece { epoch, bytes, last: true })
    }

    fn is_measuring(&self) -> bool {
        self.measuring.is_some()
    }

    /// Measures some more assets, or begins to. What all of them take, when they are through.
    fn measure_some(&mut self) -> Option<Bytes> {
        let changed = &mut self.changed;
        let measuring = self.measuring.get_or_insert_with(|| {
            *changed = false;
            Measuring { held: Bytes::default(), next: (TypeId(0), 0) }
        });
        let (from, index) = measuring.next;
        let Some((id, assets)) = self.types.range(from..).next() else {
            return self.measuring.take().map(|measuring| measuring.held);
        };
        let index = if *id == from { index } else { 0 };
        let state = assets.state.as_ref();
        let next = state.and_then(|s| s.measure(index, ASSETS_AT_ONCE, &mut measuring.held));
        measuring.next = match next {
            Some(index) => (*id, index),
            None => (TypeId(id.0 + 1), 0),
        };
        None
    }

    /// Whether this worker owns the number: an asset's id, or a type's where one must speak.
    fn owns(&self, id: u32) -> bool {
        self.place.owner(id) == self.index
    }

    fn apply(&mut self, mut news: Vec<(News, i64)>, rows: Vec<Rows>) -> Changes {
        let mut changes = Changes::default();
        self.changed |= !news.is_empty() || !rows.is_empty();
        differential_dataflow::consolidation::consolidate(&mut news);
        let mut removed = Vec::new();
        for (news, _) in news.iter().filter(|(_, diff)| *diff < 0) {
            match news {
                News::AssetType(document) => self.withdraw(document, &mut changes),
                News::Asset(id, key, _) if self.owns(*id) => {
                    for state in self.types.values_mut().filter_map(|assets| assets.state.as_mut())
                    {
                        state.save_touched(&[*id]);
                        state.remove(*id, &self.names, &mut changes);
                    }
                    removed.push((*id, Arc::clone(key)));
                }
                _ => {}
            }
        }
        if !removed.is_empty() {
            changes.list.push(Change::Removed(removed));
        }
        news.retain(|(_, diff)| *diff > 0);
        for (news, _) in &news {
            if let News::Asset(id, key, _) = news
                && self.owns(*id)
            {
                self.names.insert(*id, Arc::clone(key));
            }
        }
        // A type without a document keeps its state: nothing can come for it until it is back.
        for (news, _) in news {
            if let News::AssetType(document) = news {
                self.publish(&document, &mut changes);
            }
        }
        let mut by_type: BTreeMap<TypeId, Rows> = BTreeMap::new();
        for rows in rows {
            let Some(asset_type) = rows.asset_type else { continue };
            match by_type.get_mut(&asset_type) {
                Some(known) => append(known, &rows),
                None => drop(by_type.insert(asset_type, rows)),
            }
        }
        for (asset_type, rows) in by_type {
            let Some(assets) = self.types.get_mut(&asset_type) else { continue };
            // Rows have the slots of the document of their epoch. When that one was of no effect
            // the errors view says so, and the state of the version before is left as it is.
            if assets.measured == Some(rows.slots)
                && assets.error.is_none()
                && let Some(state) = &mut assets.state
            {
                let rows = by_message(rows);
                state.save_touched(&rows.assets);
                state.epoch = self.epoch;
                state.apply(rows, &self.names, &mut changes);
            }
        }
        changes
    }

    /// Carries out the edits of this worker's assets, and tells what became of each that need not
    /// wait.
    fn edit(&mut self, edits: Vec<Edit>, changes: &mut Changes) {
        let mut rows: Vec<EditRow> = Vec::new();
        self.changed |= !edits.is_empty();
        let (index, place) = (self.index, self.place);
        for edit in edits.iter().filter(|edit| place.owner(edit.asset) == index) {
            let assets = self.types.get_mut(&edit.asset_type);
            let state = assets.and_then(|assets| assets.state.as_mut());
            let (id, names) = (edit.asset, &self.names);
            let outcome = match state {
                Some(state) => {
                    state.save_touched(&[id]);
                    state.edit(edit, names, changes)
                }
                // A type of which no document had an effect has no points.
                None => Some(Ok(Vec::new())),
            };
            rows.extend(outcome.into_iter().flat_map(|outcome| edit.rows(outcome)));
        }
        if !rows.is_empty() {
            changes.list.push(Change::Edits(rows));
        }
    }

    /// Lets late points of this worker's assets take effect, with the archived ones of their time.
    fn page(&mut self, pages: &[Page], changes: &mut Changes) {
        for page in pages {
            if !self.owns(page.request.asset) {
                continue;
            }
            let assets = self.types.get_mut(&page.request.asset_type);
            if let Some(state) = assets.and_then(|assets| assets.state.as_mut()) {
                self.changed = true;
                state.save_touched(&[page.request.asset]);
                state.page(page, &self.names, changes);
            }
        }
    }

    fn tick(&mut self, tick: i64, changes: &mut Changes) {
        if tick <= self.clock {
            return;
        }
        self.clock = tick;
        for state in self.types.values_mut().filter_map(|assets| assets.state.as_mut()) {
            state.tick(tick, &self.names, changes);
        }
        if self.index == 0 {
            changes.list.push(Change::Clock(Timestamp(tick)));
        }
    }

    /// Lets old telemetry expire.
    fn expire(&mut self, expiry: Option<Expiry>, changes: &mut Changes) {
        let Some(expiry) = expiry else { return };
        self.changed = true;
        for state in self.types.values_mut().filter_map(|assets| assets.state.as_mut()) {
            state.expire(expiry);
        }
        if self.index == 0 {
            changes.list.push(Change::Expired(expiry));
        }
    }

    /// Takes back what was said about a document that is no longer current.
    fn withdraw(&mut self, document: &Document, changes: &mut Changes) {
        let speaks = self.owns(document.id);
        let assets = self.types.get_mut(&TypeId(document.id));
        if let Some(row) = assets.and_then(|assets| assets.error.take())
            && speaks
        {
            changes.list.push(Change::Errors(vec![(row, -1)]));
        }
    }

    fn publish(&mut self, document: &Document, changes: &mut Changes) {
        let Some(body) = read::<AssetType>(document) else { return };
        let (id, speaks) = (TypeId(document.id), self.owns(document.id));
        let assets = self.types.entry(id).or_default();
        match Plan::compile(id, &document.key, document.version, &body) {
            Ok(plan) => {
                assets.measured = Some(plan.measured());
                match &mut assets.state {
                    // A state that was read back has the plan already.
                    Some(state) if state.version() == document.version => {}
                    Some(state) => {
                        state.save_rest();
                        state.publish(plan, document.effective_from.0, &self.names, changes);
                    }
                    None => assets.state = Some(TypeState::new(plan)),
                }
            }
            Err(error) => {
                let row = document_error(document, &error.to_string());
                if speaks {
                    changes.list.push(Change::Errors(vec![(row.clone(), 1)]));
                }
                assets.error = Some(row);
            }
        }
    }
}
