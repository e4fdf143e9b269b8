//! The catalog as differential collections: documents in, routes and types out to every worker.
//!
//! Nothing is validated here: the catalog room refuses wrong documents before they are logged.
//! A body that cannot be read all the same is a row of the errors view while it is current.

use crate::catalog::asset_type::AssetType;
use crate::catalog::{Asset, Device, DeviceType, Link};
use crate::model::{Document, ErrorRow, Kind};
use differential_dataflow::VecCollection;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::Broadcast;

/// A device feeds an asset. A device without a link has no route, one with several has several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The asset's dense id.
    pub asset: u32,
    /// The asset type's key.
    pub asset_type: Arc<str>,
    /// The device's dense id.
    pub device: u32,
    /// The device type's key.
    pub device_type: Arc<str>,
}

/// What the operators hear of the catalog, as a collection that every worker has all of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum News {
    /// Where the rows of the device with this key go.
    Route(Arc<str>, Route),
    /// A readable asset type.
    AssetType(Document),
    /// A readable device type.
    DeviceType(Document),
    /// The asset with this id: its key, and its type's key.
    Asset(u32, Arc<str>, Arc<str>),
}

/// An update of [`News`] with its epoch.
pub type NewsUpdate = (News, u64, i64);

/// The rendered catalog.
pub struct Catalog<'scope> {
    /// On every worker.
    pub news: StreamVec<'scope, u64, NewsUpdate>,
    /// Documents whose bodies cannot be read, where the documents entered.
    pub errors: VecCollection<'scope, u64, ErrorRow, i64>,
}

/// Reads the body of a document; `None` when it is of another shape or deleted.
pub fn read<B: DeserializeOwned>(document: &Document) -> Option<B> {
    serde_json::from_str(document.body.as_deref()?).ok()
}

fn problem(document: &Document) -> Option<ErrorRow> {
    fn reading<B: DeserializeOwned>(body: &str) -> Option<String> {
        serde_json::from_str::<B>(body).err().map(|error| error.to_string())
    }
    let body = document.body.as_deref()?;
    let message = match document.kind {
        Kind::AssetTypes => reading::<AssetType>(body),
        Kind::DeviceTypes => reading::<DeviceType>(body),
        Kind::Assets => reading::<Asset>(body),
        Kind::Devices => reading::<Device>(body),
        Kind::Links => reading::<Link>(body),
    }?;
    Some(document_error(document, &message))
}

/// The row of the errors view for a document that has no effect.
pub fn document_error(document: &Document, message: &str) -> ErrorRow {
    ErrorRow {
        asset: "".into(),
        source: format!("{}/{}", document.kind, document.key).into(),
        event_time: 0,
        message: format!("version {} has no effect: {message}", document.version).into(),
    }
}

/// Joins links, devices and assets to routes. The joins keep their arrangements to themselves
/// and compact them as the epochs pass.
pub fn render(documents: VecCollection<'_, u64, Document, i64>) -> Catalog<'_> {
    let of = |kind: Kind| documents.clone().filter(move |document| document.kind == kind);
    let links: VecCollection<_, (Arc<str>, Arc<str>), _> = of(Kind::Links).flat_map(|document| {
        let body: Option<Link> = read(&document);
        body.map(|link| (link.device.into(), link.asset.into()))
    });
    let devices: VecCollection<_, (Arc<str>, (u32, Arc<str>)), _> =
        of(Kind::Devices).flat_map(|document| {
            let body: Option<Device> = read(&document);
            body.map(|device| (document.key, (document.id, device.device_type.into())))
        });
    let assets: VecCollection<_, (Arc<str>, (u32, Arc<str>)), _> =
        of(Kind::Assets).flat_map(|document| {
            let body: Option<Asset> = read(&document);
            body.map(|asset| (document.key, (document.id, asset.asset_type.into())))
        });
    let types = of(Kind::AssetTypes).filter(|document| read::<AssetType>(document).is_some());
    let senders = of(Kind::DeviceTypes).filter(|document| read::<DeviceType>(document).is_some());

    let routes = links
        .join_map(devices, |device, asset, sender| {
            (Arc::clone(asset), (Arc::clone(device), sender.clone()))
        })
        .join_map(assets.clone(), |_, (key, (device, device_type)), (asset, asset_type)| {
            let (device, asset) = (*device, *asset);
            let (device_type, asset_type) = (Arc::clone(device_type), Arc::clone(asset_type));
            News::Route(Arc::clone(key), Route { asset, asset_type, device, device_type })
        });
    let news = routes
        .concat(assets.map(|(key, (id, asset_type))| News::Asset(id, key, asset_type)))
        .concat(types.map(News::AssetType))
        .concat(senders.map(News::DeviceType));
    let errors = documents.flat_map(|document| problem(&document));
    Catalog { news: news.inner.broadcast(), errors }
}

/// The current documents, kept where they enter, so that a new version retracts the old one.
#[derive(Default)]
pub struct Shelf(HashMap<(Kind, Arc<str>), Document>);

impl Shelf {
    /// Takes documents in order and says how the collection of current ones changes: at most one
    /// retraction and one insertion a key, and nothing where the first and the last are equal.
    pub fn replace(&mut self, documents: Vec<Document>) -> Vec<(Document, i64)> {
        let mut before = BTreeMap::new();
        for document in documents {
            let key = (document.kind, Arc::clone(&document.key));
            let old = match document.body {
                Some(_) => self.0.insert(key.clone(), document),
                None => self.0.remove(&key),
            };
            before.entry(key).or_insert(old);
        }
        let mut changes = Vec::new();
        for (key, old) in before {
            let new = self.0.get(&key).cloned();
            if old != new {
                changes.extend(old.map(|document| (document, -1)));
                changes.extend(new.map(|document| (document, 1)));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn document(key: &str, version: u32, body: Option<&str>) -> Document {
        let body = body.map(Into::into);
        Document {
            kind: Kind::Assets,
            key: key.into(),
            id: 0,
            version,
            effective_from: Timestamp::MIN,
            body,
        }
    }

    #[test]
    fn a_shelf_tells_the_net_change_of_each_key() {
        let mut shelf = Shelf::default();
        let mut check = |documents: &[(&str, u32, Option<&str>)], expected: &[(&str, u32, i64)]| {
            let documents = documents.iter().map(|(k, v, b)| document(k, *v, *b)).collect();
            let found = shelf.replace(documents);
            let found: Vec<_> = found.iter().map(|(d, n)| (&*d.key, d.version, *n)).collect();
            assert_eq!(found, expected);
        };
        check(&[("a", 1, Some("x")), ("b", 1, Some("x"))], &[("a", 1, 1), ("b", 1, 1)]);
        check(&[("a", 2, Some("y")), ("a", 3, Some("z"))], &[("a", 1, -1), ("a", 3, 1)]);
        check(&[("a", 3, Some("z"))], &[]);
        check(&[("c", 1, Some("x")), ("c", 2, None)], &[]);
        check(&[("b", 2, None), ("d", 1, None)], &[("b", 1, -1)]);
    }
}
