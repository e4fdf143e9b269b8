//! What the views know of the catalog: the names behind the ids in wide tables.

use crate::base::serial::json;
use crate::catalog::Layout;
use crate::catalog::asset_type::AssetType;
use crate::health::{Algorithm, Band};
use crate::model::{DataType, Document, Kind, Table, TypeId, Window};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names of assets and asset types. They outlive the documents, because rows may do so, too.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Names {
    assets: Vec<Option<Arc<str>>>,
    #[serde(skip)]
    ids: HashMap<Arc<str>, Vec<u32>>,
    #[serde(with = "json")]
    types: BTreeMap<TypeId, Arc<TypeNames>>,
}

/// What it takes to read the rows of one asset type's wide tables.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TypeNames {
    pub key: Arc<str>,
    pub layout: Layout,
    /// Slots of the numeric metrics, in order.
    pub numeric: Vec<usize>,
    /// Ids of the health parts, in order.
    pub parts: Vec<String>,
    /// Whether parts that contribute nothing are left out.
    pub deductions: bool,
    pub bands: Vec<Band>,
    /// Ids of the threshold rules, in order.
    pub rules: Vec<String>,
    /// The windows that roll-ups are kept for.
    pub windows: Vec<Window>,
}

/// How rows of one version of an asset type become rows of another one.
pub(super) struct Moved {
    /// Words in front that stay as they are.
    pub head: usize,
    /// Words of a metric.
    pub width: usize,
    /// For each metric of the new version, its place in the old one.
    pub from: Vec<Option<usize>>,
    /// The words of a metric that had none.
    pub nothing: &'static [u64],
}

impl Names {
    /// Finds assets by their keys again, after the names were read back.
    pub fn index(&mut self) {
        for (id, key) in self.assets.iter().enumerate() {
            if let Some(key) = key {
                self.ids.entry(Arc::clone(key)).or_default().push(id as u32);
            }
        }
    }

    /// The key of an asset; `?` where no document ever named it.
    pub fn asset(&self, id: u32) -> &str {
        self.assets.get(id as usize).and_then(Option::as_deref).unwrap_or("?")
    }

    /// The same as a text that is shared.
    pub fn key(&self, id: u32) -> Arc<str> {
        self.assets.get(id as usize).and_then(Option::clone).unwrap_or_else(|| "?".into())
    }

    /// The ids that ever had this key, as a rule one.
    pub fn ids(&self, key: &str) -> &[u32] {
        self.ids.get(key).map_or(&[], Vec::as_slice)
    }

    pub fn asset_type(&self, id: TypeId) -> Option<&Arc<TypeNames>> {
        self.types.get(&id)
    }

    /// The types by key, with the names and types of what is measured.
    pub fn types(&self) -> Vec<(Arc<str>, Vec<(String, DataType)>)> {
        let measured = |names: &Arc<TypeNames>| {
            let slots = &names.layout.slots[..names.layout.measured];
            let columns = slots.iter().map(|slot| (slot.name.to_string(), slot.data_type));
            (Arc::clone(&names.key), columns.collect())
        };
        self.types.values().map(measured).collect()
    }

    /// The names of all numeric metrics, each once.
    pub fn numeric(&self) -> Vec<String> {
        let of_type = |names: &'_ Arc<TypeNames>| -> Vec<String> {
            names.numeric.iter().map(|slot| names.layout.slots[*slot].name.to_string()).collect()
        };
        let all: BTreeSet<String> = self.types.values().flat_map(of_type).collect();
        all.into_iter().collect()
    }

    /// Whether the document would change anything here.
    pub fn learns_from(document: &Document) -> bool {
        document.body.is_some() && matches!(document.kind, Kind::Assets | Kind::AssetTypes)
    }

    /// Takes in a document. True when an asset type reads differently from now on.
    pub fn learn(&mut self, document: &Document) -> bool {
        let Some(body) = document.body.as_deref() else { return false };
        match document.kind {
            Kind::Assets => {
                self.name_asset(document.id, &document.key);
                false
            }
            Kind::AssetTypes => match serde_json::from_str::<AssetType>(body) {
                Ok(asset_type) => {
                    let names = TypeNames::of(Arc::clone(&document.key), &asset_type);
                    let id = TypeId(document.id);
                    if self.types.get(&id).is_some_and(|known| **known == names) {
                        return false;
                    }
                    self.types.insert(id, Arc::new(names));
                    true
                }
                Err(error) => {
                    tracing::error!(key = %document.key, %error, "unreadable asset type in the log");
                    false
                }
            },
            _ => false,
        }
    }

    fn name_asset(&mut self, id: u32, key: &Arc<str>) {
        let place = id as usize;
        if self.assets.len() <= place {
            self.assets.resize(place + 1, None);
        }
        if self.assets[place].as_ref() == Some(key) {
            return;
        }
        self.assets[place] = Some(Arc::clone(key));
        self.ids.entry(Arc::clone(key)).or_default().push(id);
    }
}

impl TypeNames {
    fn of(key: Arc<str>, asset_type: &AssetType) -> Self {
        let layout = Layout::of(asset_type);
        let algorithm = asset_type.health_algorithm.as_ref();
        Self {
            key,
            numeric: layout.numeric(),
            layout,
            parts: algorithm
                .map(|algorithm| algorithm.parts().iter().map(|part| part.id.into()).collect())
                .unwrap_or_default(),
            deductions: matches!(algorithm, Some(Algorithm::WeightedDeductions(_))),
            bands: algorithm.map(Algorithm::bands).unwrap_or_default(),
            rules: asset_type.threshold_rules.iter().map(|rule| rule.id.clone()).collect(),
            windows: asset_type.windows(),
        }
    }

    /// How rows of the table are read as rows of this version; `None` when they are no more:
    /// health and thresholds come anew, and windows may not be kept any longer.
    pub fn moved(&self, table: Table, old: &Self) -> Option<Moved> {
        let same = |slot: usize, was: usize| {
            let (new, old) = (&self.layout.slots[slot], &old.layout.slots[was]);
            (&new.name, new.data_type) == (&old.name, old.data_type)
        };
        match table {
            Table::Latest => {
                let was = 0..old.layout.slots.len();
                let from = |slot| was.clone().find(|was| same(slot, *was));
                let from = (0..self.layout.slots.len()).map(from).collect();
                Some(Moved { head: 0, width: 3, from, nothing: &[0, i64::MIN as u64, 0] })
            }
            Table::Rollups(window) if self.windows.contains(&window) => {
                let from = |slot: &usize| old.numeric.iter().position(|was| same(*slot, *was));
                let from = self.numeric.iter().map(from).collect();
                Some(Moved { head: 1, width: 6, from, nothing: &[0; 6] })
            }
            Table::Rollups(_) | Table::Health | Table::Thresholds => None,
        }
    }

    /// The numeric metrics in the order of their names.
    pub fn by_name(&self) -> Vec<usize> {
        let mut parts: Vec<usize> = (0..self.numeric.len()).collect();
        parts.sort_by_key(|part| &self.layout.slots[self.numeric[*part]].name);
        parts
    }

    /// Words of a row of the table.
    pub fn stride(&self, table: Table) -> usize {
        match table {
            Table::Latest => 3 * self.layout.slots.len(),
            Table::Health => 2 + self.parts.len(),
            Table::Thresholds => 3 * self.rules.len(),
            Table::Rollups(_) => 1 + 6 * self.numeric.len(),
        }
    }
}
