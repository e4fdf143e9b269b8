//! What ingest asks about devices, answered by the catalog.

use crate::catalog::asset_type::TimeRules;
use crate::catalog::{Catalog, Device, DeviceTypeEntry, SharedCatalog};
use crate::ingest::route::{DeviceShape, Directory, Metrics, Provisioned};
use crate::model::{Duration, Kind};
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The catalog as ingest sees it. Devices of types with the same metrics share one `Metrics`, so
/// that their rows share batches.
pub struct Devices {
    catalog: SharedCatalog,
    /// By device type, with its version.
    metrics: Mutex<HashMap<u32, (u32, Arc<Metrics>)>>,
    asked: RwLock<Asked>,
}

/// The devices that were asked for since the catalog changed.
#[derive(Default)]
struct Asked {
    /// What the catalog had applied then.
    applied: u64,
    shapes: HashMap<Box<str>, DeviceShape>,
}

impl Devices {
    /// Over this catalog.
    pub fn new(catalog: SharedCatalog) -> Self {
        Self { catalog, metrics: Mutex::default(), asked: RwLock::default() }
    }

    fn metrics(&self, device_type: &DeviceTypeEntry) -> Arc<Metrics> {
        let mut known = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, metrics)) = known.get(&device_type.id)
            && *version == device_type.version
        {
            return Arc::clone(metrics);
        }
        let rules = &device_type.document.extraction_rules;
        let metrics = Metrics::new(rules.iter().map(|rule| (rule.metric.as_str(), rule.data_type)));
        let same = |(_, known): &&(u32, Arc<Metrics>)| known.schema() == metrics.schema();
        let metrics = known
            .values()
            .find(same)
            .map_or_else(|| Arc::clone(&metrics), |(_, known)| Arc::clone(known));
        known.insert(device_type.id, (device_type.version, Arc::clone(&metrics)));
        metrics
    }

    fn known(&self, catalog: &Catalog, key: &str) -> Option<DeviceShape> {
        let device = catalog.device_named(key)?;
        // The strictest of the assets that the device feeds.
        let skews = catalog.links_of(key).filter_map(|link| {
            let asset = catalog.asset(link.asset)?;
            skew(catalog, &catalog.asset_type(asset.asset_type)?.key)
        });
        Some(self.shape(&device.device_type, skews.min()))
    }

    fn shape(
        &self,
        device_type: &DeviceTypeEntry,
        max_future_skew: Option<Duration>,
    ) -> DeviceShape {
        let max_future_skew = max_future_skew.unwrap_or(TimeRules::default().max_future_skew);
        DeviceShape { metrics: self.metrics(device_type), max_future_skew }
    }
}

impl Directory for Devices {
    fn device(&self, key: &str) -> Option<DeviceShape> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let applied = catalog.applied();
        {
            let asked = self.asked.read().unwrap_or_else(PoisonError::into_inner);
            if asked.applied == applied
                && let Some(shape) = asked.shapes.get(key)
            {
                return Some(shape.clone());
            }
        }
        let shape = self.known(&catalog, key)?;
        let mut asked = self.asked.write().unwrap_or_else(PoisonError::into_inner);
        if asked.applied != applied {
            *asked = Asked { applied, shapes: HashMap::new() };
        }
        asked.shapes.insert(key.into(), shape.clone());
        Some(shape)
    }

    fn provision(&self, key: &str) -> Option<Provisioned> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        // Another message may have made the device known since somebody asked for it.
        if let Some(shape) = self.known(&catalog, key) {
            return Some(Provisioned { documents: Vec::new(), shape });
        }
        let documents = catalog.provision(key)?;
        let device = documents.iter().find(|document| document.kind == Kind::Devices)?;
        let device: Device = serde_json::from_str(device.body.as_deref()?).ok()?;
        let device_type = catalog.device_type_named(&device.device_type)?;
        let provision = device_type.document.identity.provision.as_ref();
        let skew = provision.and_then(|provision| skew(&catalog, &provision.asset_type));
        Some(Provisioned { documents, shape: self.shape(device_type, skew) })
    }
}

fn skew(catalog: &Catalog, asset_type: &str) -> Option<Duration> {
    Some(catalog.asset_type_named(asset_type)?.document.time.max_future_skew)
}
