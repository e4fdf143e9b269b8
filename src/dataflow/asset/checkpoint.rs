//! Saves the state of a type asset by asset while rows keep coming, and reads it back.
//!
//! A save is of one moment. Taking it at once would stop the worker for as long as it takes to
//! copy everything, so it is taken in pieces: each asset is saved as it was at that moment, at the
//! latest before something about it changes. Whoever changes a state while a save is under way
//! calls [`TypeState::save_touched`] or [`TypeState::save_rest`] first.

use super::anchor::Anchor;
use super::assess::TypeState;
use super::changes::{Changes, Names};
use super::era::{Era, Segment};
use super::plan::Plan;
use super::row::RowLayout;
use super::series::Series;
use super::single::Asset;
use super::state_log::StateLog;
use crate::catalog::asset_type::AssetType;
use crate::model::{Change, PageRequest, TypeId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A save that is under way.
pub struct Saving {
    /// By index: whether the asset is still to be saved. Assets that came later have no place here.
    waiting: Vec<bool>,
    /// No asset before this one waits.
    next: usize,
    /// Assets that had to be saved out of turn.
    early: Vec<(u32, Vec<u8>)>,
}

/// Eras by the versions of their documents.
pub type Eras = BTreeMap<u32, Arc<Era>>;

/// What is saved of a type beside its eras and its assets.
#[derive(Serialize, Deserialize)]
struct Head {
    /// The versions of the eras in force.
    in_force: Vec<u32>,
    clock: i64,
}

/// What is saved of an asset's segment before the current one, beside its era's version and begin.
type Before<S, L> = Vec<((u32, i64), S, L)>;

/// What is read of an asset.
type Restored = (
    Asset,
    Series,
    Before<Series, StateLog>,
    Vec<(u32, i64, Vec<u64>, Vec<i64>, Vec<u64>)>,
    Option<Vec<(u32, i64)>>,
);

/// A plan is saved as its document and compiled again when it is read.
#[derive(Serialize, Deserialize)]
struct Source {
    id: TypeId,
    key: String,
    version: u32,
    document: String,
    /// What the compiled plan must give: words of states depend on it.
    rows: RowLayout,
}

impl TypeState {
    /// The version of the document that is in effect.
    pub fn version(&self) -> u32 {
        self.era.plan.version
    }

    /// The eras that are needed to read the state back: those in force, and those of rows.
    pub fn eras(&self) -> Eras {
        let of_rows = self.assets.iter().flat_map(|asset| &asset.past).map(|past| &past.era);
        let of_anchors = self.assets.iter().flat_map(|asset| &asset.anchors);
        let said = self.assets.iter().filter_map(|asset| asset.said.as_ref()).flatten();
        // Of a version that stands there twice the one in force is the last.
        let others = of_rows.chain(of_anchors.map(|anchor| &anchor.era)).chain(said);
        let all = others.chain(&self.eras);
        all.map(|era| (era.plan.version, Arc::clone(era))).collect()
    }

    /// Appends what is known beside the eras and the assets.
    pub fn save_head(&self, out: &mut Vec<u8>) {
        let in_force = self.eras.iter().map(|era| era.plan.version).collect();
        let head = Head { in_force, clock: self.clock };
        bincode::serialize_into(out, &head).expect("memory takes plain data");
    }

    /// Reads what [`TypeState::save_head`] has written. There are no assets yet.
    pub fn read_head(bytes: &[u8], eras: &Eras) -> bincode::Result<Self> {
        let Head { in_force, clock } = bincode::deserialize(bytes)?;
        let versions = in_force.into_iter();
        let in_force =
            versions.map(|version| find(eras, version)).collect::<Result<Vec<_>, _>>()?;
        let current = in_force.last().map(Arc::clone);
        let current = current.ok_or_else(|| <bincode::Error as de::Error>::custom("no era"))?;
        Ok(Self::of(in_force, current, clock))
    }

    /// Begins a save of all assets as they are now. A save that is under way is given up.
    pub fn begin_save(&mut self) {
        let waiting = self.assets.iter().map(Asset::is_here).collect();
        self.saving = Some(Saving { waiting, next: 0, early: Vec::new() });
    }

    /// Saves assets before rows of theirs are applied. Costs nothing while no save is under way.
    pub fn save_touched(&mut self, assets: &[u32]) {
        if self.saving.is_none() {
            return;
        }
        for id in assets {
            if let Some(at) = self.index.get(*id as usize).filter(|at| **at != u32::MAX) {
                self.save_early(*at as usize);
            }
        }
    }

    /// Saves all assets that are left, before anything but rows is applied.
    pub fn save_rest(&mut self) {
        let count = self.saving.as_ref().map_or(0, |saving| saving.waiting.len());
        (0..count).for_each(|at| self.save_early(at));
    }

    /// Appends the next saved asset to the bytes and returns its id. `None` when the save is over.
    pub fn save_next(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        let saving = self.saving.as_mut()?;
        if let Some((id, bytes)) = saving.early.pop() {
            out.extend_from_slice(&bytes);
            return Some(id);
        }
        while saving.next < saving.waiting.len() {
            let at = saving.next;
            saving.next += 1;
            if std::mem::take(&mut saving.waiting[at]) {
                save(&self.assets[at], &self.series[at], out);
                return Some(self.assets[at].id);
            }
        }
        self.saving = None;
        None
    }

    /// Takes in an asset that [`TypeState::save_next`] handed out.
    pub fn restore(&mut self, bytes: &[u8], eras: &Eras) -> bincode::Result<()> {
        let (mut asset, series, past, anchors, said): Restored = bincode::deserialize(bytes)?;
        for (version, day, row, state, latest) in anchors {
            asset.anchors.push(Anchor { era: find(eras, version)?, day, row, state, latest });
        }
        for (era, series, log) in past {
            asset.past.push(Segment { era: find_at(eras, era)?, series, log });
        }
        if let Some(said) = said {
            let said = said.into_iter().map(|era| find_at(eras, era));
            asset.said = Some(said.collect::<Result<_, _>>()?);
        }
        let at = asset.id as usize;
        if self.index.len() <= at {
            self.index.resize(at + 1, u32::MAX);
        }
        self.index[at] = self.assets.len() as u32;
        asset.alarm = asset.deadline;
        if asset.deadline != i64::MAX {
            self.alarms.push(Reverse((asset.deadline, self.index[at])));
        }
        self.assets.push(asset);
        self.series.push(series);
        Ok(())
    }

    /// Tells the places of all assets in the fleet and what they wait for, for somebody who knows
    /// of none.
    pub fn announce(&self, names: &Names, out: &mut Changes) {
        self.assets.iter().for_each(|asset| asset.announce(&self.era.plan, out));
        let parked = (0..self.assets.len()).filter_map(|index| self.request(index, names));
        let wanted: Vec<PageRequest> = parked.collect();
        if !wanted.is_empty() {
            out.list.push(Change::Wanted(wanted));
        }
    }

    /// Saves an asset before something about it changes, when its turn is still to come.
    pub(super) fn save_early(&mut self, at: usize) {
        let Some(saving) = &mut self.saving else { return };
        if saving.waiting.get_mut(at).is_some_and(std::mem::take) {
            let mut bytes = Vec::new();
            save(&self.assets[at], &self.series[at], &mut bytes);
            saving.early.push((self.assets[at].id, bytes));
        }
    }
}

impl Era {
    /// Appends the era.
    pub fn save(&self, out: &mut Vec<u8>) {
        bincode::serialize_into(out, self).expect("memory takes plain data");
    }

    /// Reads what [`Era::save`] has written.
    pub fn read(bytes: &[u8]) -> bincode::Result<Arc<Self>> {
        bincode::deserialize(bytes).map(Arc::new)
    }
}

fn find(eras: &Eras, version: u32) -> bincode::Result<Arc<Era>> {
    let era = eras.get(&version).map(Arc::clone);
    era.ok_or_else(|| de::Error::custom(format!("version {version} is not there")))
}

/// The era of a version, holding from a time on.
fn find_at(eras: &Eras, (version, from): (u32, i64)) -> bincode::Result<Arc<Era>> {
    let era = find(eras, version)?;
    Ok(if era.from == from { era } else { Arc::new(era.starting(from)) })
}

fn key(era: &Era) -> (u32, i64) {
    (era.plan.version, era.from)
}

fn save(asset: &Asset, series: &Series, out: &mut Vec<u8>) {
    let past = asset.past.iter();
    let past: Before<&Series, &StateLog> =
        past.map(|segment| (key(&segment.era), &segment.series, &segment.log)).collect();
    let anchors = asset.anchors.iter().map(|anchor| {
        let Anchor { era, day, row, state, latest } = anchor;
        (era.plan.version, *day, row, state, latest)
    });
    let anchors: Vec<_> = anchors.collect();
    let said = asset.said.as_ref().map(|said| said.iter().map(|era| key(era)).collect::<Vec<_>>());
    let all = (asset, series, past, anchors, said);
    bincode::serialize_into(out, &all).expect("memory takes plain data");
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let document = serde_json::to_string(&*self.document).map_err(ser::Error::custom)?;
        let (id, key, version, rows) = (self.id, self.key.to_string(), self.version, self.rows);
        Source { id, key, version, document, rows }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Plan {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let source = Source::deserialize(from)?;
        let document: AssetType =
            serde_json::from_str(&source.document).map_err(de::Error::custom)?;
        let plan = Self::compile(source.id, &source.key, source.version, &document);
        let plan = plan.map_err(de::Error::custom)?;
        match plan.rows == source.rows {
            true => Ok(plan),
            false => Err(de::Error::custom(format!(
                "asset type '{}': this version of the program lays its rows out in another way",
                source.key
            ))),
        }
    }
}
