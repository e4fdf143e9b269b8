//! The plant as the chronicle says it was.

use crate::historian::{Chronicle, News};
use crate::model::{Change, Document, Epoch, Kind, Timestamp};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Documents, clock and removed assets at an epoch.
pub struct Plant {
    /// The source's clock.
    pub clock: Timestamp,
    /// The current documents, by kind and key.
    current: BTreeMap<(Kind, Arc<str>), Document>,
    /// The versions of asset types in the order of their publication and of the times from which
    /// they hold, by key. Of those with the same time the last is in force.
    versions: HashMap<Arc<str>, Vec<Document>>,
    /// The epochs before which points of a key are of another asset.
    removed: HashMap<Arc<str>, Epoch>,
}

/// An asset, and the last epoch of which points of its key are another's.
#[derive(Clone, Debug)]
pub struct Asset {
    pub id: u32,
    pub key: Arc<str>,
    pub after: Epoch,
    pub document: Document,
}

#[derive(Deserialize)]
struct OfType {
    asset_type: String,
}

impl Plant {
    pub fn of(chronicle: Chronicle, as_of: Epoch) -> Self {
        let clock = chronicle.clock(as_of);
        let mut plant = Self {
            clock,
            current: BTreeMap::new(),
            versions: HashMap::new(),
            removed: HashMap::new(),
        };
        for entry in chronicle.entries {
            match entry.news {
                News::Begins | News::Clock(_) => {}
                News::Removed(key) => drop(plant.removed.insert(key, entry.epoch)),
                News::Withdrawn(kind, key) => {
                    if kind == Kind::AssetTypes {
                        plant.versions.remove(&key);
                    }
                    plant.current.remove(&(kind, key));
                }
                News::Published(document) => plant.publish(document),
            }
        }
        plant
    }

    fn publish(&mut self, document: Document) {
        if document.kind == Kind::AssetTypes {
            let versions = self.versions.entry(Arc::clone(&document.key)).or_default();
            // One that begins at the time of others or before takes their place. They stay for what
            // they did not have: a metric, a rule or a window goes on only without a break.
            for known in versions.iter_mut() {
                known.effective_from = known.effective_from.min(document.effective_from);
            }
            versions.push(document.clone());
        }
        self.current.insert((document.kind, Arc::clone(&document.key)), document);
    }

    /// All current documents.
    pub fn catalog(&self) -> Change {
        Change::Documents(self.current.values().map(|document| (document.clone(), 1)).collect())
    }

    /// The wanted assets, some of one type at a time, with the versions of the type.
    pub fn groups(
        &self,
        wanted: Option<&BTreeSet<String>>,
        at_once: usize,
    ) -> Vec<(&[Document], Vec<Asset>)> {
        let is_wanted = |key: &str| wanted.is_none_or(|wanted| wanted.contains(key));
        let assets = self.current.values().filter(|document| document.kind == Kind::Assets);
        let mut of_types: BTreeMap<String, Vec<Asset>> = BTreeMap::new();
        for document in assets.filter(|document| is_wanted(&document.key)) {
            let body = document.body.as_deref().unwrap_or_default();
            let Ok(OfType { asset_type }) = serde_json::from_str(body) else { continue };
            let key = Arc::clone(&document.key);
            let removed = self.removed.get(&key).copied().unwrap_or_default();
            let after = Epoch(removed.0.saturating_sub(1));
            let asset = Asset { id: document.id, key, after, document: document.clone() };
            of_types.entry(asset_type).or_default().push(asset);
        }
        let mut groups = Vec::new();
        for (asset_type, assets) in of_types {
            let Some(versions) = self.versions.get(asset_type.as_str()) else { continue };
            let some = assets.chunks(at_once).map(|some| (versions.as_slice(), some.to_vec()));
            groups.extend(some);
        }
        groups
    }
}
