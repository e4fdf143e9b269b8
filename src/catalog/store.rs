//! The catalog's contents and how a document changes them.

use super::asset_type::AssetType;
use super::device_type::{Asset, Device, DeviceType, Link};
use super::entry::{AssetEntry, AssetTypeEntry, DeviceEntry, DeviceTypeEntry, LinkEntry};
use super::layout::Layout;
use super::problem::Problem;
use super::read::{id_pattern, typed};
use crate::model::{AssetId, DeviceId, Document, Kind, TypeId};
use hashbrown::HashMap;
use std::sync::{Arc, RwLock};

/// The catalog as rooms share it: the committer writes, everybody reads.
pub type SharedCatalog = Arc<RwLock<Catalog>>;

/// All documents at their current versions, and the names in them resolved.
///
/// Ids are dense inside a kind, in the order of first assignment, and never reused: the same
/// documents applied in the same order give the same catalog. Publishing an asset, a device or a
/// link costs the same however many there are; a new version of a type looks at every link once.
#[derive(Debug, Default)]
pub struct Catalog {
    names: [Names; 5],
    pub(super) asset_types: Vec<Option<Arc<AssetTypeEntry>>>,
    pub(super) device_types: Vec<Option<Arc<DeviceTypeEntry>>>,
    pub(super) assets: Vec<Option<AssetEntry>>,
    pub(super) devices: Vec<Option<DeviceEntry>>,
    pub(super) links: Vec<Option<LinkEntry>>,
    of_device: HashMap<DeviceId, Vec<u32>>,
    of_asset: HashMap<AssetId, Vec<u32>>,
    /// Versions of asset types before the current ones, in the order of their publication.
    replaced: Vec<Document>,
    size: Size,
    applied: u64,
}

/// How much a catalog holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Documents that are not deleted.
    pub documents: usize,
    /// Bytes of all versions that are kept, keys of deleted documents too.
    pub bytes: usize,
}

/// The documents of one kind: all that ever were, deleted ones without a body.
#[derive(Debug, Default)]
struct Names {
    ids: HashMap<Arc<str>, u32>,
    documents: Vec<Document>,
}

impl Size {
    fn add(&mut self, document: &Document) {
        self.documents += usize::from(document.body.is_some());
        self.bytes += document.bytes();
    }
}

impl Catalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a document current that [`Catalog::assign`] gave an id and a version, here or in
    /// another process. Documents must come in the order in which they were assigned.
    ///
    /// Deterministic. An error says that the document is not the next one of its key or kind, or
    /// cannot be read by this version; the catalog is then as before.
    pub fn apply(&mut self, document: &Document) -> Result<(), Vec<Problem>> {
        self.follows(document)?;
        match &document.body {
            None => self.forget(document.kind, document.id),
            Some(body) => self.keep(document, body)?,
        }
        self.size.add(document);
        let names = &mut self.names[document.kind as usize];
        match names.documents.get_mut(document.id as usize) {
            Some(current) => {
                let old = std::mem::replace(current, document.clone());
                self.size.documents -= usize::from(old.body.is_some());
                if old.kind == Kind::AssetTypes && old.body.is_some() {
                    self.replaced.push(old);
                } else {
                    self.size.bytes -= old.bytes();
                }
            }
            None => {
                names.ids.insert(Arc::clone(&document.key), document.id);
                names.documents.push(document.clone());
            }
        }
        self.applied += 1;
        Ok(())
    }

    /// How many documents were applied: whoever remembers an answer knows by it whether it is
    /// still right.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// How much it holds.
    pub fn size(&self) -> Size {
        self.size
    }

    /// All that a catalog is made of, for [`Catalog::restore`]: the last document of every key,
    /// deletions too, referenced kinds first, by id; then [`Catalog::replaced_versions`].
    pub fn saved(&self) -> (Vec<Document>, Vec<Document>) {
        let all = Kind::ALL.into_iter().flat_map(|kind| &self.names[kind as usize].documents);
        (all.cloned().collect(), self.replaced.clone())
    }

    /// The catalog that [`Catalog::saved`] tells of. An error says that a document cannot be read
    /// by this version.
    pub fn restore(saved: (Vec<Document>, Vec<Document>)) -> Result<Self, Vec<Problem>> {
        let (documents, replaced) = saved;
        let mut catalog = Self { replaced, ..Self::new() };
        catalog.size.bytes = catalog.replaced.iter().map(Document::bytes).sum();
        for document in &documents {
            let (kind, id) = (document.kind, document.id);
            if id != catalog.next_id(kind) {
                let message = format!("{kind} '{}' with id {id} is out of order", document.key);
                return Err(vec![Problem::at("", message)]);
            }
            match &document.body {
                Some(body) => catalog.keep(document, body)?,
                None => catalog.skip(kind),
            }
            catalog.size.add(document);
            let names = &mut catalog.names[kind as usize];
            names.ids.insert(Arc::clone(&document.key), id);
            names.documents.push(document.clone());
        }
        Ok(catalog)
    }

    /// The asset type with this id.
    pub fn asset_type(&self, id: TypeId) -> Option<&Arc<AssetTypeEntry>> {
        self.asset_types.get(id.0 as usize)?.as_ref()
    }

    /// The asset type with this key.
    pub fn asset_type_named(&self, key: &str) -> Option<&Arc<AssetTypeEntry>> {
        self.asset_type(TypeId(self.id(Kind::AssetTypes, key)?))
    }

    /// All asset types, by id.
    pub fn asset_types(&self) -> impl Iterator<Item = &Arc<AssetTypeEntry>> {
        self.asset_types.iter().flatten()
    }

    /// The device type with this key.
    pub fn device_type_named(&self, key: &str) -> Option<&Arc<DeviceTypeEntry>> {
        self.device_types.get(self.id(Kind::DeviceTypes, key)? as usize)?.as_ref()
    }

    /// All device types, by id.
    pub fn device_types(&self) -> impl Iterator<Item = &Arc<DeviceTypeEntry>> {
        self.device_types.iter().flatten()
    }

    /// The asset with this id.
    pub fn asset(&self, id: AssetId) -> Option<&AssetEntry> {
        self.assets.get(id.0 as usize)?.as_ref()
    }

    /// The asset with this key.
    pub fn asset_named(&self, key: &str) -> Option<&AssetEntry> {
        self.asset(AssetId(self.id(Kind::Assets, key)?))
    }

    /// All assets, by id.
    pub fn assets(&self) -> impl Iterator<Item = &AssetEntry> {
        self.assets.iter().flatten()
    }

    /// The device with this id.
    pub fn device(&self, id: DeviceId) -> Option<&DeviceEntry> {
        self.devices.get(id.0 as usize)?.as_ref()
    }

    /// The device with this key.
    pub fn device_named(&self, key: &str) -> Option<&DeviceEntry> {
        self.device(DeviceId(self.id(Kind::Devices, key)?))
    }

    /// All devices, by id.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceEntry> {
        self.devices.iter().flatten()
    }

    /// The links of a device, in the order in which they were made; none for an unknown device.
    pub fn links_of(&self, device: &str) -> impl Iterator<Item = &LinkEntry> {
        let id = self.id(Kind::Devices, device).map(DeviceId);
        let links = id.and_then(|id| self.of_device.get(&id));
        links.into_iter().flatten().filter_map(|link| self.links[*link as usize].as_ref())
    }

    /// All links, by id.
    pub fn links(&self) -> impl Iterator<Item = &LinkEntry> {
        self.links.iter().flatten()
    }

    /// The current documents, referenced kinds first, by id; deleted ones are left out.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        let all = Kind::ALL.into_iter().flat_map(|kind| &self.names[kind as usize].documents);
        all.filter(|document| document.body.is_some())
    }

    /// Versions of asset types that are not current any more, deletions left out, in the order of
    /// their publication: rows of their times are still processed by them.
    pub fn replaced_versions(&self) -> impl Iterator<Item = &Document> {
        self.replaced.iter()
    }

    /// The current document of a key; `None` when there is none or it is deleted.
    pub fn document(&self, kind: Kind, key: &str) -> Option<&Document> {
        self.last(kind, key).filter(|document| document.body.is_some())
    }

    /// The last document of a key, which may be its deletion.
    pub(super) fn last(&self, kind: Kind, key: &str) -> Option<&Document> {
        self.names[kind as usize].documents.get(self.id(kind, key)? as usize)
    }

    /// The id that the next new document of a kind gets.
    pub(super) fn next_id(&self, kind: Kind) -> u32 {
        self.names[kind as usize].documents.len() as u32
    }

    /// The links of a device or an asset: whatever keeps it from being deleted.
    pub(super) fn linked(&self, kind: Kind, id: u32) -> impl Iterator<Item = &LinkEntry> {
        let links = match kind {
            Kind::Devices => self.of_device.get(&DeviceId(id)),
            _ => self.of_asset.get(&AssetId(id)),
        };
        links.into_iter().flatten().filter_map(|link| self.links[*link as usize].as_ref())
    }

    fn id(&self, kind: Kind, key: &str) -> Option<u32> {
        self.names[kind as usize].ids.get(key).copied()
    }

    /// Refuses a document that is not the next one of its key, or whose id is not the next.
    fn follows(&self, document: &Document) -> Result<(), Vec<Problem>> {
        let (id, version) = match self.last(document.kind, &document.key) {
            Some(last) => (last.id, last.version + 1),
            None => (self.next_id(document.kind), 1),
        };
        if (document.id, document.version) == (id, version) {
            return Ok(());
        }
        let message = format!(
            "{} '{}' has id {} and version {}, expected id {id} and version {version}",
            document.kind, document.key, document.id, document.version
        );
        Err(vec![Problem::at("", message)])
    }

    fn keep(&mut self, document: &Document, body: &str) -> Result<(), Vec<Problem>> {
        let (id, key, version) = (document.id, Arc::clone(&document.key), document.version);
        match document.kind {
            Kind::AssetTypes => {
                let document: AssetType = typed(body)?;
                let layout = Arc::new(Layout::of(&document));
                let id = TypeId(id);
                let document = Arc::new(document);
                let entry = AssetTypeEntry { id, key, version, document, layout };
                put(&mut self.asset_types, id.0, Arc::new(entry));
            }
            Kind::DeviceTypes => {
                let document: DeviceType = typed(body)?;
                let pattern = document.identity.id_pattern.as_deref().map(id_pattern).transpose();
                let id_pattern =
                    pattern.map_err(|error| vec![Problem::at("identity.id_pattern", error)])?;
                let document = Arc::new(document);
                let entry = Arc::new(DeviceTypeEntry { id, key, version, document, id_pattern });
                for device in self.devices.iter_mut().flatten() {
                    if device.device_type.id == id {
                        device.device_type = Arc::clone(&entry);
                    }
                }
                put(&mut self.device_types, id, entry);
            }
            Kind::Assets => {
                let document: Asset = typed(body)?;
                let asset_type = self.asset_type_named(&document.asset_type);
                let asset_type =
                    asset_type.ok_or_else(|| gone("asset type", &document.asset_type))?.id;
                let display_name = document.display_name.map(Into::into);
                let id = AssetId(id);
                put(&mut self.assets, id.0, AssetEntry { id, key, asset_type, display_name });
            }
            Kind::Devices => {
                let document: Device = typed(body)?;
                let device_type = self.device_type_named(&document.device_type);
                let device_type = Arc::clone(
                    device_type.ok_or_else(|| gone("device type", &document.device_type))?,
                );
                let display_name = document.display_name.map(Into::into);
                let id = DeviceId(id);
                put(&mut self.devices, id.0, DeviceEntry { id, key, device_type, display_name });
            }
            Kind::Links => {
                let document: Link = typed(body)?;
                let device = self.device_named(&document.device);
                let device = device.ok_or_else(|| gone("device", &document.device))?.id;
                let asset = self.asset_named(&document.asset);
                let asset = asset.ok_or_else(|| gone("asset", &document.asset))?.id;
                put(&mut self.links, id, LinkEntry { key, device, asset });
                for list in [
                    self.of_device.entry(device).or_default(),
                    self.of_asset.entry(asset).or_default(),
                ] {
                    if !list.contains(&id) {
                        list.push(id);
                    }
                }
            }
        }
        Ok(())
    }

    /// Leaves the place of a deleted document.
    fn skip(&mut self, kind: Kind) {
        match kind {
            Kind::AssetTypes => self.asset_types.push(None),
            Kind::DeviceTypes => self.device_types.push(None),
            Kind::Assets => self.assets.push(None),
            Kind::Devices => self.devices.push(None),
            Kind::Links => self.links.push(None),
        }
    }

    fn forget(&mut self, kind: Kind, id: u32) {
        let i = id as usize;
        match kind {
            Kind::AssetTypes => take(&mut self.asset_types, i).map(drop),
            Kind::DeviceTypes => take(&mut self.device_types, i).map(drop),
            Kind::Assets => take(&mut self.assets, i).map(drop),
            Kind::Devices => take(&mut self.devices, i).map(drop),
            Kind::Links => take(&mut self.links, i).map(|link| {
                if let Some(list) = self.of_device.get_mut(&link.device) {
                    list.retain(|other| *other != id);
                }
                if let Some(list) = self.of_asset.get_mut(&link.asset) {
                    list.retain(|other| *other != id);
                }
            }),
        };
    }
}

/// Ids are dense, so that a new one is the next element.
fn put<T>(entries: &mut Vec<Option<T>>, id: u32, entry: T) {
    match entries.get_mut(id as usize) {
        Some(place) => *place = Some(entry),
        None => entries.push(Some(entry)),
    }
}

fn take<T>(entries: &mut [Option<T>], i: usize) -> Option<T> {
    entries.get_mut(i)?.take()
}

fn gone(what: &str, key: &str) -> Vec<Problem> {
    vec![Problem::at("", format!("there is no {what} '{key}'"))]
}
