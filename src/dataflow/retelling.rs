//! The asset graph once more, for some assets of one type, by the points that they have in the end.
//!
//! Everything that is told of an asset is a function of its series and of the versions of its type's
//! document. So what was told, however the points came, is told again when they come in the order of
//! event times, with each version taking effect when its time has come.

use super::asset::{Changes, Names, Plan, PlanError, TypeState, word};
use super::catalog::read;
use crate::catalog::Layout;
use crate::catalog::asset_type::AssetType;
use crate::model::{
    Change, Document, Epoch, NO_MESSAGE, Page, PageContent, PagePoints, PageRequest, Quality, Rows,
    Table, TypeId, mask_words,
};
use std::sync::Arc;

/// Rows that take effect together.
const ROWS: usize = 4_096;

/// Some assets of one type, from their first point on.
///
/// First comes a version of the document, then points of its time, then the next version.
#[derive(Default)]
pub struct Retelling {
    names: Names,
    state: Option<TypeState>,
    /// The type, and where the metrics of the version in force are.
    layout: Option<(TypeId, Arc<Layout>)>,
}

impl Retelling {
    /// Assets by their dense ids, with their keys.
    pub fn of(assets: impl IntoIterator<Item = (u32, Arc<str>)>) -> Self {
        let mut names = Names::default();
        assets.into_iter().for_each(|(id, key)| names.insert(id, key));
        Self { names, ..Self::default() }
    }

    /// Lets a version of the document take effect: all points of before its time have come. One that
    /// cannot be read or compiled changes nothing, as ever; the error says why.
    pub fn publish(&mut self, document: &Document) -> Result<Vec<Change>, PlanError> {
        let (id, mut changes) = (TypeId(document.id), Changes::default());
        let Some(body) = read::<AssetType>(document) else { return Ok(Vec::new()) };
        let plan = Plan::compile(id, &document.key, document.version, &body)?;
        self.layout = Some((id, Arc::new(Layout::of(&body))));
        match &mut self.state {
            Some(state) => {
                state.publish(plan, document.effective_from.0, &self.names, &mut changes);
                turns(state, &self.names, &mut changes);
            }
            None => self.state = Some(TypeState::new(plan)),
        }
        Ok(changes.list)
    }

    /// Takes points of an asset, behind those before. `one_by_one` lets each row take effect by
    /// itself, so that what is true after each of them is told.
    ///
    /// A point that the version in force does not measure counts in nothing.
    pub fn points(
        &mut self,
        asset: u32,
        points: &PagePoints,
        one_by_one: bool,
        mut take: impl FnMut(Vec<Change>),
    ) {
        let Some((id, layout)) = self.layout.clone() else { return };
        let Some(state) = &mut self.state else { return };
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_unstable_by_key(|i| points.times[*i]);
        let slots: Vec<Option<usize>> =
            points.names.iter().map(|name| measured(&layout, name)).collect();
        let most = if one_by_one { 1 } else { ROWS };
        let mut rows = Rows::new(id, layout.measured);
        let names = &self.names;
        let mut apply = |rows: &mut Rows| {
            let mut changes = Changes::default();
            let next = Rows::new(id, rows.slots);
            state.apply(std::mem::replace(rows, next), names, &mut changes);
            changes.list.retain(|change| !matches!(change, Change::Telemetry(_)));
            take(changes.list);
        };
        for i in order {
            let Some(slot) = slots[points.metrics[i] as usize] else { continue };
            let Some(word) = word(points, i, layout.slots[slot].data_type) else { continue };
            let time = points.times[i];
            if rows.times.last() != Some(&time) {
                if rows.len() == most {
                    apply(&mut rows);
                }
                begin(&mut rows, asset, time);
            }
            put(&mut rows, slot, word, Quality(points.quality[i]));
        }
        if !rows.is_empty() {
            apply(&mut rows);
        }
    }

    /// Lets time pass up to the source's clock in microseconds, when all points have come.
    pub fn tick(&mut self, clock: i64) -> Vec<Change> {
        let mut changes = Changes::default();
        if let Some(state) = &mut self.state {
            state.tick(clock, &self.names, &mut changes);
        }
        changes.list
    }

    /// Scores of health that changes tell: asset, event time and score each.
    pub fn scores(changes: &[Change]) -> impl Iterator<Item = (u32, i64, f64)> {
        let of_health = changes.iter().filter_map(|change| match change {
            Change::Upserts(upserts) if upserts.table == Table::Health => Some(upserts),
            _ => None,
        });
        of_health.flat_map(|upserts| {
            let rows = upserts.assets.iter().zip(upserts.words.chunks_exact(upserts.stride.max(2)));
            rows.map(|(asset, words)| (*asset, words[0] as i64, f64::from_bits(words[1])))
        })
    }
}

/// Lets those have their turn that a version reaches back at: it begins where the one before began,
/// and rows that were forgotten are all of before.
fn turns(state: &mut TypeState, names: &Names, changes: &mut Changes) {
    let wanted = changes.list.extract_if(.., |change| matches!(change, Change::Wanted(_)));
    let wanted: Vec<Change> = wanted.collect();
    for change in wanted {
        let Change::Wanted(requests) = change else { continue };
        for request in requests.into_iter().filter(PageRequest::is_turn) {
            let content = PageContent::Points(Arc::default());
            state.page(&Page { request, after: Epoch(0), content }, names, changes);
        }
    }
}

fn measured(layout: &Layout, name: &str) -> Option<usize> {
    layout.position(name).filter(|slot| *slot < layout.measured)
}

/// Begins a row without points.
fn begin(rows: &mut Rows, asset: u32, time: i64) {
    rows.assets.push(asset);
    rows.devices.push(0);
    rows.times.push(time);
    rows.messages.push(NO_MESSAGE);
    rows.fresh.resize(rows.fresh.len() + mask_words(rows.slots), 0);
    rows.quality.resize(rows.quality.len() + rows.slots, 0);
    rows.words.resize(rows.words.len() + rows.slots, 0);
}

/// Puts a point into the last row.
fn put(rows: &mut Rows, slot: usize, word: u64, quality: Quality) {
    let (first, mask) = (rows.words.len() - rows.slots, rows.fresh.len() - mask_words(rows.slots));
    rows.words[first + slot] = word;
    rows.quality[first + slot] = quality.0;
    rows.fresh[mask + slot / 64] |= 1 << (slot % 64);
}
