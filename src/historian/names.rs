//! From dense ids to the names that files carry.

use super::error::Error;
use crate::catalog::Layout;
use crate::catalog::asset_type::AssetType;
use crate::model::{DataType, Document, Kind, TypeId};
use hashbrown::HashMap;
use serde::Deserialize;
use std::sync::Arc;

/// Names of assets, devices and metrics, fed with catalog documents in log order.
///
/// A name is never forgotten: hot points may still refer to a deleted asset.
#[derive(Clone, Debug, Default)]
pub struct Names {
    assets: Vec<Option<Arc<str>>>,
    devices: Vec<Option<Arc<str>>>,
    metrics: Vec<Arc<str>>,
    metric_ids: HashMap<Arc<str>, u32>,
    types: HashMap<TypeId, Arc<Slots>>,
}

/// The measured metrics of one version of an asset type.
#[derive(Debug, PartialEq)]
pub(super) struct Slots {
    /// Which metric each slot holds, as a number of [`Names::metric`].
    pub metrics: Vec<u32>,
    /// The type of each slot's values.
    pub data_types: Vec<DataType>,
}

#[derive(Deserialize)]
struct Keyed {
    key: Arc<str>,
}

impl Names {
    /// Takes over what a document says. Documents of other kinds change nothing, deletions
    /// neither.
    pub fn apply_document(&mut self, document: &Document) -> Result<(), Error> {
        let Some(body) = &document.body else { return Ok(()) };
        let failed =
            |source| Error::Document { kind: document.kind, key: document.key.to_string(), source };
        match document.kind {
            Kind::AssetTypes => {
                let asset_type: AssetType = serde_json::from_str(body).map_err(failed)?;
                self.apply_type(TypeId(document.id), &Layout::of(&asset_type));
            }
            Kind::Assets => {
                let named: Keyed = serde_json::from_str(body).map_err(failed)?;
                put(&mut self.assets, document.id, named.key);
            }
            Kind::Devices => {
                let named: Keyed = serde_json::from_str(body).map_err(failed)?;
                put(&mut self.devices, document.id, named.key);
            }
            Kind::DeviceTypes | Kind::Links => {}
        }
        Ok(())
    }

    /// The key of an asset.
    pub fn asset(&self, id: u32) -> Option<&Arc<str>> {
        self.assets.get(id as usize)?.as_ref()
    }

    /// The key of a device.
    pub fn device(&self, id: u32) -> Option<&Arc<str>> {
        self.devices.get(id as usize)?.as_ref()
    }

    pub(super) fn metric(&self, id: u32) -> &Arc<str> {
        &self.metrics[id as usize]
    }

    pub(super) fn assets(&self) -> &[Option<Arc<str>>] {
        &self.assets
    }

    pub(super) fn devices(&self) -> &[Option<Arc<str>>] {
        &self.devices
    }

    pub(super) fn metrics(&self) -> &[Arc<str>] {
        &self.metrics
    }

    pub(super) fn slots(&self, asset_type: TypeId) -> Option<&Arc<Slots>> {
        self.types.get(&asset_type)
    }

    fn apply_type(&mut self, id: TypeId, layout: &Layout) {
        let measured = &layout.slots[..layout.measured];
        let metrics = measured.iter().map(|slot| self.metric_id(&slot.name)).collect();
        let data_types = measured.iter().map(|slot| slot.data_type).collect();
        self.types.insert(id, Arc::new(Slots { metrics, data_types }));
    }

    fn metric_id(&mut self, name: &str) -> u32 {
        if let Some(id) = self.metric_ids.get(name) {
            return *id;
        }
        let id = self.metrics.len() as u32;
        let name: Arc<str> = name.into();
        self.metrics.push(Arc::clone(&name));
        self.metric_ids.insert(name, id);
        id
    }
}

fn put(names: &mut Vec<Option<Arc<str>>>, id: u32, key: Arc<str>) {
    let at = id as usize;
    if names.len() <= at {
        names.resize(at + 1, None);
    }
    names[at] = Some(key);
}
