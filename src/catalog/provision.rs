//! Devices that are seen for the first time.

use super::device_type::{Asset, Device, Link};
use super::store::Catalog;
use crate::model::{Kind, NewDocument};
use serde::Serialize;

impl Catalog {
    /// The documents that make an unknown device known: the device, its asset when there is none
    /// of that key, and their link, in the order in which they can be published.
    ///
    /// The first device type, by id, whose `identity.id_pattern` matches the whole id counts.
    /// `None` when none does or the device is there already. A device type that provisions no
    /// asset gives the device alone.
    pub fn provision(&self, device: &str) -> Option<Vec<NewDocument>> {
        if self.device_named(device).is_some() {
            return None;
        }
        let (device_type, captures) = self.device_types().find_map(|device_type| {
            let captures = device_type.id_pattern.as_ref()?.captures(device)?;
            Some((device_type, captures))
        })?;
        let mut documents = vec![document(
            Kind::Devices,
            device,
            &Device {
                key: device.to_owned(),
                device_type: device_type.key.to_string(),
                display_name: None,
            },
        )?];
        if let Some(provision) = &device_type.document.identity.provision {
            let mut asset = String::new();
            captures.expand(&provision.asset, &mut asset);
            if self.asset_named(&asset).is_none() {
                let asset_type = provision.asset_type.clone();
                let body = Asset { key: asset.clone(), asset_type, display_name: None };
                documents.push(document(Kind::Assets, &asset, &body)?);
            }
            let link = Link { device: device.to_owned(), asset };
            documents.push(document(Kind::Links, &Link::key(device, &link.asset), &link)?);
        }
        Some(documents)
    }
}

fn document(kind: Kind, key: &str, body: &impl Serialize) -> Option<NewDocument> {
    let body = serde_json::to_string(body).ok()?;
    Some(NewDocument { kind, key: key.into(), body: Some(body.into()) })
}
