//! What waits at an asset: points that belong before the rows that are here, edits of such, and
//! versions of the document that reach back to rows which were looked at by another one.
//!
//! Rows that are not here are brought back first (see [`super::page`]). For rows that are here it
//! waits for the asset's *turn*, so that not all assets of a type are looked at again at one epoch.
//! What comes for the asset behind an edit that waits, waits too.

use super::assess::TypeState;
use super::changes::{Changes, Names};
use super::era::Era;
use super::plan::Plan;
use super::series::Series;
use super::single::{Asset, slots};
use super::tables::Arrivals;
use crate::model::{
    Change, DeadLetter, Edit, EditRefusal, EditRow, Epoch, NO_MESSAGE, PageRequest, Reason, Rows,
    Timestamp, Value, mask_words,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What waits of one asset.
#[derive(Serialize, Deserialize)]
pub struct Parked {
    /// The points, in the order of their arrival, in slots of the current version.
    pub rows: Rows,
    /// Edits, each with the number of rows that came before it.
    pub edits: Vec<(usize, Edit)>,
    /// From when on the rows are to be looked at by the versions that are in force now.
    pub again: Option<i64>,
    /// The first and the last event time of the rows that were asked for.
    pub wanted: Option<(i64, i64)>,
}

impl Parked {
    /// Nothing waits.
    pub fn new(plan: &Plan) -> Self {
        Self {
            rows: Rows::new(plan.id, plan.measured()),
            edits: Vec::new(),
            again: None,
            wanted: None,
        }
    }

    /// The first event time that something is about.
    fn first(&self) -> Option<i64> {
        let edits = self.edits.iter().map(|(_, edit)| edit.first());
        self.rows.times.iter().copied().chain(edits).chain(self.again).min()
    }

    /// The bytes that they take.
    pub fn bytes(&self) -> usize {
        let rows = &self.rows;
        let words = rows.words.capacity() + rows.fresh.capacity() + rows.times.capacity();
        let edits: usize = self.edits.iter().map(|(_, edit)| edit.bytes()).sum();
        size_of::<Self>()
            + edits
            + 8 * words
            + 4 * (rows.quality.capacity() + 3 * rows.assets.capacity())
    }
}

impl TypeState {
    /// Puts the points of row `i` aside until the rows of their time are here. Where these cannot
    /// be looked at again, the points are kept in telemetry and count in no view; where they may not,
    /// because telemetry of the asset has expired, they are refused.
    pub(super) fn park(
        &mut self,
        (index, names): (usize, &Names),
        i: usize,
        mask: &mut [u64],
        arrivals: &mut Arrivals,
    ) {
        let asset = &mut self.assets[index];
        let rows = &arrivals.rows;
        let (id, time) = (rows.assets[i], rows.times[i]);
        let can_wait = asset.can_wait(time);
        if time < asset.terms.expired || (!can_wait && asset.terms.has_expired()) {
            let letter = refused(&self.era, (rows, i), names.get(id), self.epoch);
            return arrivals.refuse(i, letter);
        }
        if !can_wait {
            let too_late = mask.iter().map(|word| word.count_ones()).sum();
            let plan = &self.era.plan;
            let superseded = &mut arrivals.superseded;
            slots(mask, |slot| superseded.push((plan.id, id, slot as u32, time)));
            arrivals.row(i, mask, 0, too_late);
            return;
        }
        let parked = asset.parked.get_or_insert_with(|| Box::new(Parked::new(&self.era.plan)));
        parked.rows.push_row(rows, i);
        if let Some(message) = parked.rows.messages.last_mut() {
            *message = NO_MESSAGE;
        }
        self.asking.push(index as u32);
        arrivals.wait(i);
    }

    /// Whether something about an asset that concerns rows from a time on has to wait: for rows
    /// that can be brought back, or for an edit before it.
    pub(super) fn must_wait(&self, index: usize, first: i64) -> bool {
        let asset = &self.assets[index];
        let waits = first >= asset.terms.expired && first < asset.opens_at();
        asset.waits_for_edits() || (waits && asset.can_wait(first))
    }

    /// Puts an edit aside until the rows that it is about are here.
    pub(super) fn park_edit(&mut self, index: usize, edit: Edit) {
        let new = || Box::new(Parked::new(&self.era.plan));
        let parked = self.assets[index].parked.get_or_insert_with(new);
        parked.edits.push((parked.rows.len(), edit));
        self.asking.push(index as u32);
    }

    /// Asks for the rows that something waits for, when they were not asked for yet. Where they
    /// cannot be looked at again any more, nothing waits for them.
    pub(super) fn ask(&mut self, names: &Names, out: &mut Changes) {
        let mut wanted = Vec::new();
        for index in std::mem::take(&mut self.asking) {
            let index = index as usize;
            let asset = &mut self.assets[index];
            let first = asset.parked.as_ref().and_then(|parked| parked.first());
            let Some(first) = first else { continue };
            let range = match first < asset.here_from {
                true => asset.reach(first).map(|from| (from, asset.here_from.saturating_sub(1))),
                false => Some(PageRequest::TURN),
            };
            let Some(range) = range else {
                self.release(index, names, out);
                continue;
            };
            let Some(parked) = &mut asset.parked else { continue };
            if parked.wanted != Some(range) {
                parked.wanted = Some(range);
                wanted.extend(self.request(index, names));
            }
        }
        if !wanted.is_empty() {
            out.list.push(Change::Wanted(wanted));
        }
    }

    /// What an asset waits for.
    pub(super) fn request(&self, index: usize, names: &Names) -> Option<PageRequest> {
        let asset = &self.assets[index];
        let parked = asset.parked.as_ref()?;
        let ((from, to), first) = (parked.wanted?, parked.first()?);
        let now = (&self.era, &self.series[index]);
        let segments = asset.past.iter().map(|segment| (&segment.era, &segment.series));
        let behind = |(era, series): (&Arc<Era>, &Series)| {
            series.len() - series.position(&era.plan.rows, first)
        };
        let rows: usize = segments.chain([now]).map(behind).sum();
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let (key, asset_type) = (Arc::clone(names.get(asset.id)), self.era.plan.id);
        Some(PageRequest { asset: asset.id, asset_type, key, from, to, rows })
    }

    /// Gives up waiting for rows that are not here: the points are kept in telemetry and count in no
    /// view, edits are refused, and what versions before have said of those rows stays.
    pub(super) fn release(&mut self, index: usize, names: &Names, out: &mut Changes) {
        let last = self.assets[index].current(&self.era);
        let asset = &mut self.assets[index];
        let floor = asset.here_from;
        let Some(parked) = asset.parked.take() else { return };
        let expired = asset.terms.expired;
        asset.seal(expired);
        if asset.said.take().is_some() {
            asset.sealed = floor;
            self.look_again_from(index, (floor, &last), names, out);
        }
        let refused = |(_, edit): &(usize, Edit)| edit.rows(Err(EditRefusal::TooEarly(floor)));
        let refused: Vec<EditRow> = parked.edits.iter().flat_map(refused).collect();
        if !refused.is_empty() {
            out.list.push(Change::Edits(refused));
        }
        if !parked.rows.is_empty() {
            out.list.push(Change::Superseded(parked.rows.keys(|_| true).collect()));
            out.list.push(Change::Telemetry(parked.rows));
        }
        out.list.push(Change::Paged(vec![self.assets[index].id]));
    }
}

impl Asset {
    /// Whether an edit waits, so that what comes after it does too.
    pub fn waits_for_edits(&self) -> bool {
        self.parked.as_ref().is_some_and(|parked| !parked.edits.is_empty())
    }

    /// The event time from which on rows can be put in at once. Others wait: for rows that are not
    /// here, or for their turn to be looked at by another version.
    pub fn opens_at(&self) -> i64 {
        let turn = self.said.as_ref().and_then(|said| said.last());
        turn.map_or(self.here_from, |era| era.from.max(self.here_from))
    }

    /// Whether what is about this time can wait until the rows of that time are here.
    fn can_wait(&self, time: i64) -> bool {
        time >= self.here_from || self.reach(time).is_some()
    }

    /// Lets the points that wait be of another version of the document, by name. Those of metrics
    /// that it does not measure are told to be refused.
    pub fn regard(&mut self, old: &Era, new: &Era, name: &Arc<str>, out: &mut Changes) {
        let Some(parked) = &mut self.parked else { return };
        parked.wanted = None;
        let mut gone = Vec::new();
        let was = std::mem::replace(&mut parked.rows, Rows::new(new.plan.id, new.plan.measured()));
        let rows = &mut parked.rows;
        for i in 0..was.len() {
            let (fresh, at) = (rows.fresh.len(), rows.words.len());
            rows.assets.push(was.assets[i]);
            rows.devices.push(was.devices[i]);
            rows.times.push(was.times[i]);
            rows.messages.push(was.messages[i]);
            rows.fresh.resize(fresh + mask_words(rows.slots), 0);
            rows.words.resize(at + rows.slots, 0);
            rows.quality.resize(at + rows.slots, 0);
            slots(was.fresh(i), |slot| match new.adopt(old, slot, was.words(i)[slot]) {
                Some((here, word)) => {
                    rows.fresh[fresh + here / 64] |= 1 << (here % 64);
                    rows.words[at + here] = word;
                    rows.quality[at + here] = was.quality(i)[slot];
                }
                None => gone.push(unmeasured(old, (slot, was.words(i)[slot]), was.times[i], name)),
            });
        }
        if !gone.is_empty() {
            out.list.push(Change::DeadLetters(gone));
        }
    }
}

/// A row that came after its time had expired.
fn refused(era: &Era, (rows, i): (&Rows, usize), asset: &Arc<str>, epoch: Epoch) -> DeadLetter {
    let mut metrics = serde_json::Map::new();
    slots(rows.fresh(i), |slot| {
        let metric = &era.plan.layout.slots[slot];
        let value = json(metric.data_type.value(rows.words(i)[slot]));
        metrics.insert(metric.name.to_string(), value);
    });
    let time = Timestamp(rows.times[i]);
    let raw = serde_json::json!({ "asset": **asset, "time": time.to_string(), "metrics": metrics });
    DeadLetter {
        received_at: Timestamp(epoch.0 as i64 * 1_000),
        source: "late".into(),
        device: None,
        reason: Reason::BeyondRetention,
        detail: "telemetry of this time is not kept any more: see millstream_retention".into(),
        raw: raw.to_string().into_bytes().into(),
    }
}

fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Double(x) => x.into(),
        Value::Integer(x) => x.into(),
        Value::Bool(x) => x.into(),
        Value::String(text) => serde_json::Value::from(&*text),
    }
}

/// A point of a metric that is not measured any more.
fn unmeasured(era: &Era, (slot, word): (usize, u64), time: i64, asset: &Arc<str>) -> DeadLetter {
    let metric = &era.plan.layout.slots[slot];
    let value = json(metric.data_type.value(word));
    let time = Timestamp(time);
    let raw = serde_json::json!({
        "asset": **asset, "metric": metric.name, "time": time.to_string(), "value": value,
    });
    DeadLetter {
        received_at: time,
        source: "late".into(),
        device: None,
        reason: Reason::UnknownMetric,
        detail: "a late point waited while its metric was taken out of the asset's type".into(),
        raw: raw.to_string().into_bytes().into(),
    }
}
