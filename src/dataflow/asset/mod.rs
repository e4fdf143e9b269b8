//! Placeholder: the state of one asset type, latest values only.

use super::OrderedScore;
use crate::catalog::asset_type::AssetType;
use crate::model::{Change, Rows, Table, TypeId, Upserts};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One version of an asset type.
pub struct Plan {
    id: TypeId,
    measured: usize,
}

impl Plan {
    /// Compiles a document.
    pub fn compile(id: TypeId, _: &str, _: u32, document: &AssetType) -> Result<Self, String> {
        Ok(Self { id, measured: document.metric_definitions.len() })
    }

    /// The number of measured metrics.
    pub fn measured(&self) -> usize {
        self.measured
    }
}

/// Keys of assets.
#[derive(Default)]
pub struct Names(HashMap<u32, Arc<str>>);

impl Names {
    /// Adds a key.
    pub fn insert(&mut self, asset: u32, key: Arc<str>) {
        self.0.insert(asset, key);
    }

    /// The key of an asset.
    pub fn get(&self, asset: u32) -> &Arc<str> {
        &self.0[&asset]
    }
}

/// A health band: type, band, asset and score.
pub type Health = (Arc<str>, Arc<str>, u32, OrderedScore);

/// What an epoch changed.
#[derive(Default)]
pub struct Changes {
    /// Changes of views.
    pub list: Vec<Change>,
    /// Differences of the assets' bands and scores.
    pub health: Vec<(Health, i64)>,
    /// Differences of the assets' levels: rule, level, asset.
    pub thresholds: Vec<((Arc<str>, u8, u32), i64)>,
}

type Latest = Vec<(i64, u64, u32)>;

/// The state of the assets of a type.
pub struct TypeState {
    plan: Plan,
    latest: BTreeMap<u32, Latest>,
}

impl TypeState {
    /// No assets yet.
    pub fn new(plan: Plan) -> Self {
        Self { plan, latest: BTreeMap::new() }
    }

    /// Takes a new version.
    pub fn replace_plan(&mut self, plan: Plan, _: &Names, out: &mut Changes) {
        if plan.measured != self.plan.measured {
            self.latest.clear();
            out.list.push(Change::Reset(plan.id, Table::Latest));
        }
        self.plan = plan;
    }

    /// Applies all rows of one epoch.
    pub fn apply(&mut self, rows: &Rows, names: &Names, out: &mut Changes) {
        let mut touched = BTreeMap::new();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|i| (rows.messages[*i], rows.times[*i], rows.devices[*i]));
        for i in order {
            let asset = rows.assets[i];
            let none = vec![(i64::MIN, 0, 0); rows.slots];
            let latest = self.latest.entry(asset).or_insert(none);
            touched.entry(asset).or_insert_with(|| latest.clone());
            for (slot, newest) in latest.iter_mut().enumerate() {
                let fresh = rows.fresh(i)[slot / 64] >> (slot % 64) & 1 == 1;
                if fresh && rows.times[i] >= newest.0 {
                    *newest = (rows.times[i], rows.words(i)[slot], rows.quality(i)[slot]);
                }
            }
        }
        let (asset_type, stride) = (self.plan.id, rows.slots * 3);
        let mut upserts = Upserts {
            asset_type,
            table: Table::Latest,
            stride,
            assets: Vec::new(),
            windows: Vec::new(),
            words: Vec::new(),
        };
        for (asset, before) in touched {
            let band = |latest: &Latest| -> Option<(Health, (Arc<str>, u8, u32))> {
                let (time, word, _) = *latest.first()?;
                if time == i64::MIN {
                    return None;
                }
                let band: Arc<str> = if word % 2 == 0 { "even".into() } else { "odd".into() };
                let score = OrderedScore::new((word >> 40) as f64);
                let rule = names.get(asset).split('-').next().unwrap_or_default().into();
                let level = (word % 3) as u8;
                Some((("type".into(), band, asset, score), (rule, level, asset)))
            };
            for (state, diff) in [(&before, -1), (&self.latest[&asset], 1)] {
                if let Some((health, threshold)) = band(state) {
                    out.health.push((health, diff));
                    out.thresholds.push((threshold, diff));
                }
            }
            upserts.assets.push(asset);
            for (time, word, quality) in &self.latest[&asset] {
                upserts.words.extend([*word, *time as u64, u64::from(*quality)]);
            }
        }
        out.list.push(Change::Telemetry(rows.clone()));
        if !upserts.assets.is_empty() {
            out.list.push(Change::Upserts(upserts));
        }
    }
}
