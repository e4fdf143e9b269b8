//! The plant as the documents say it is.

use super::history::History;
use super::rules::Rules;
use crate::catalog::asset_type::AssetType;
use crate::model::{Document, Kind};
use serde::Deserialize;
use std::collections::HashMap;

#[derive(Deserialize)]
struct AssetBody {
    asset_type: String,
}

/// Types by key with all their versions, and each asset's type.
pub(super) struct Plant {
    types: HashMap<String, History>,
    assets: HashMap<String, String>,
    /// What could not be read; whole sentences.
    pub notes: Vec<String>,
}

impl Plant {
    /// Takes the versions of asset types in the order in which they were published, and the
    /// current documents of the other kinds. A type of which a version cannot be read is noted
    /// and left out.
    pub(super) fn of(documents: &[Document]) -> Self {
        let (mut types, mut assets) = (HashMap::new(), HashMap::new());
        let mut unread: HashMap<String, String> = HashMap::new();
        for document in documents {
            let Some(body) = &document.body else { continue };
            let key = document.key.to_string();
            match document.kind {
                Kind::AssetTypes => {
                    let parsed = serde_json::from_str::<AssetType>(body).map_err(|e| e.to_string());
                    match parsed.and_then(Rules::of) {
                        Ok(rules) => publish(&mut types, key, document.effective_from.0, rules),
                        Err(reason) => {
                            let version = document.version;
                            unread.insert(key, format!("version {version}: {reason}"));
                        }
                    }
                }
                Kind::Assets => {
                    if let Ok(asset) = serde_json::from_str::<AssetBody>(body) {
                        assets.insert(key, asset.asset_type);
                    }
                }
                Kind::DeviceTypes | Kind::Devices | Kind::Links => {}
            }
        }
        types.retain(|key, _| !unread.contains_key(key));
        let mut notes: Vec<String> = unread
            .into_iter()
            .map(|(key, reason)| format!("asset type '{key}', {reason}."))
            .collect();
        notes.sort_unstable();
        Self { types, assets, notes }
    }

    /// The versions of an asset's type; `None` for an asset that is not there, or whose type
    /// could not be read.
    pub(super) fn history(&self, asset: &str) -> Option<&History> {
        self.types.get(self.assets.get(asset)?)
    }

    /// Whether there is such an asset.
    pub(super) fn knows(&self, asset: &str) -> bool {
        self.assets.contains_key(asset)
    }

    /// The assets whose rows cannot be recomputed.
    pub(super) fn unreadable(&self) -> impl Iterator<Item = &str> {
        self.assets.keys().map(String::as_str).filter(|asset| self.history(asset).is_none())
    }
}

fn publish(types: &mut HashMap<String, History>, key: String, from: i64, rules: Rules) {
    match types.get_mut(&key) {
        Some(history) => history.publish(from, rules),
        None => {
            types.insert(key, History::new(from, rules));
        }
    }
}
