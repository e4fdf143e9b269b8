//! The directory: where the rows of a device go, with the documents that say how.

use crate::catalog::asset_type::{AssetType, Mapping};
use crate::catalog::{DeviceType, Layout};
use crate::dataflow::catalog::{News, Route, read};
use crate::model::TypeId;
use hashbrown::HashMap;
use std::sync::Arc;

/// Kinds of the routes of one device: device type and asset type, in the order of its routes.
/// Devices with equal kinds of routes have their columns mapped alike.
pub type Shape = Vec<(Arc<str>, Arc<str>)>;

/// Keys up to this length stand beside what else is known of a device.
const KEY_BYTES: usize = 23;

/// What is known of a device with routes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender {
    /// The device's dense id.
    pub device: u32,
    /// Number of its [`Shape`].
    pub shape: u32,
    /// The asset of its first route.
    pub asset: u32,
    /// Its key, when that is not too long; then the length is.
    key: [u8; KEY_BYTES],
    length: u8,
}

/// An asset type as it is now.
#[derive(Debug)]
pub struct Target {
    /// Its id.
    pub id: TypeId,
    /// Its slots.
    pub layout: Layout,
    /// Where its measured metrics come from, unless from the source of their own name.
    pub mappings: Vec<Mapping>,
}

/// The routes of all devices at one epoch.
#[derive(Debug)]
pub struct Directory {
    /// Number 0 is every device without routes.
    senders: Vec<Sender>,
    /// By number, ascending by asset.
    routes: Vec<Vec<Route>>,
    keys: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    /// Number 0 is no route at all.
    shapes: Vec<Shape>,
    targets: HashMap<Arc<str>, Target>,
    device_types: HashMap<Arc<str>, DeviceType>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            senders: vec![Sender::default()],
            routes: vec![Vec::new()],
            keys: vec!["".into()],
            numbers: HashMap::new(),
            shapes: vec![Shape::default()],
            targets: HashMap::new(),
            device_types: HashMap::new(),
        }
    }
}

impl Sender {
    /// A device without routes.
    fn of(key: &str) -> Self {
        let mut sender = Self { length: u8::MAX, ..Self::default() };
        if let Some(place) = sender.key.get_mut(..key.len()) {
            place.copy_from_slice(key.as_bytes());
            sender.length = key.len() as u8;
        }
        sender
    }
}

impl Directory {
    /// How many senders there are, those without routes as one.
    pub fn len(&self) -> usize {
        self.senders.len()
    }

    /// The number of the sender with this key: 0 when it has no routes.
    pub fn number(&self, device: &str) -> u32 {
        self.numbers.get(device).copied().unwrap_or(0)
    }

    /// Whether the sender with this number has this key; number 0 has an empty one.
    #[inline]
    pub fn has_key(&self, number: u32, key: &str) -> bool {
        let sender = &self.senders[number as usize];
        match sender.key.get(..sender.length as usize) {
            Some(known) => known == key.as_bytes(),
            None => *self.keys[number as usize] == *key,
        }
    }

    /// The sender with this number.
    pub fn sender(&self, number: u32) -> Sender {
        self.senders[number as usize]
    }

    /// The asset of a route of the sender with this number.
    pub fn asset(&self, number: u32, route: usize) -> u32 {
        match route {
            0 => self.senders[number as usize].asset,
            _ => self.routes[number as usize][route].asset,
        }
    }

    /// All shapes, by number.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The asset type with this key, if there is one.
    pub fn target(&self, asset_type: &str) -> Option<&Target> {
        self.targets.get(asset_type)
    }

    /// The unit in which devices of the type send the metric.
    pub fn unit(&self, device_type: &str, metric: &str) -> Option<&str> {
        self.device_types.get(device_type)?.unit_of(metric)
    }

    /// Takes the news of one epoch.
    pub fn learn(&mut self, mut news: Vec<(News, i64)>) {
        differential_dataflow::consolidation::consolidate(&mut news);
        // Retractions first: what a new version replaces has the same key.
        for (news, _) in news.iter().filter(|(_, diff)| *diff < 0) {
            match news {
                News::Route(device, route) => self.change(device, |routes| {
                    routes.retain(|known| known != route);
                }),
                News::AssetType(document) => drop(self.targets.remove(&document.key)),
                News::DeviceType(document) => drop(self.device_types.remove(&document.key)),
                News::Asset(..) => {}
            }
        }
        for (news, _) in news.into_iter().filter(|(_, diff)| *diff > 0) {
            match news {
                News::Route(device, route) => self.change(&device, |routes| {
                    routes.push(route);
                    routes.sort();
                }),
                News::AssetType(document) => {
                    if let Some(body) = read::<AssetType>(&document) {
                        let layout = Layout::of(&body);
                        let mappings = body.transformation_engine.mappings;
                        let target = Target { id: TypeId(document.id), layout, mappings };
                        self.targets.insert(document.key, target);
                    }
                }
                News::DeviceType(document) => {
                    if let Some(body) = read::<DeviceType>(&document) {
                        self.device_types.insert(document.key, body);
                    }
                }
                News::Asset(..) => {}
            }
        }
    }

    fn change(&mut self, device: &Arc<str>, change: impl FnOnce(&mut Vec<Route>)) {
        let next = self.senders.len() as u32;
        let number = *self.numbers.entry(Arc::clone(device)).or_insert(next);
        if number == next {
            self.senders.push(Sender::of(device));
            self.routes.push(Vec::new());
            self.keys.push(Arc::clone(device));
        }
        let routes = &mut self.routes[number as usize];
        change(routes);
        let (device, asset) = routes.first().map_or((0, 0), |route| (route.device, route.asset));
        let kinds = routes.iter();
        let shape: Shape = kinds
            .map(|route| (Arc::clone(&route.device_type), Arc::clone(&route.asset_type)))
            .collect();
        // There are as many shapes as pairs of types that are linked: a search is short.
        let known = self.shapes.iter().position(|known| *known == shape);
        let number_of_shape = known.unwrap_or(self.shapes.len()) as u32;
        let sender = &mut self.senders[number as usize];
        (sender.device, sender.shape, sender.asset) = (device, number_of_shape, asset);
        if known.is_none() {
            self.shapes.push(shape);
        }
    }
}
