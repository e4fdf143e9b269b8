//! What the catalog hands out: documents with their names resolved.

use super::asset_type::AssetType;
use super::device_type::DeviceType;
use super::layout::Layout;
use crate::model::{AssetId, DeviceId, TypeId};
use regex::Regex;
use std::sync::Arc;

/// An asset type at its current version.
#[derive(Clone, Debug, PartialEq)]
pub struct AssetTypeEntry {
    /// Its id.
    pub id: TypeId,
    /// Its key.
    pub key: Arc<str>,
    /// Its version.
    pub version: u32,
    /// What it says.
    pub document: Arc<AssetType>,
    /// Where its metrics stand.
    pub layout: Arc<Layout>,
}

/// A device type at its current version.
#[derive(Clone, Debug)]
pub struct DeviceTypeEntry {
    /// Its id among the device types.
    pub id: u32,
    /// Its key.
    pub key: Arc<str>,
    /// Its version.
    pub version: u32,
    /// What it says.
    pub document: Arc<DeviceType>,
    pub(super) id_pattern: Option<Regex>,
}

/// An asset.
#[derive(Clone, Debug, PartialEq)]
pub struct AssetEntry {
    /// Its id.
    pub id: AssetId,
    /// Its key.
    pub key: Arc<str>,
    /// Its type.
    pub asset_type: TypeId,
    /// For people.
    pub display_name: Option<Arc<str>>,
}

/// A device.
#[derive(Clone, Debug)]
pub struct DeviceEntry {
    /// Its id.
    pub id: DeviceId,
    /// Its key: what its messages call it.
    pub key: Arc<str>,
    /// Its type, at the type's current version.
    pub device_type: Arc<DeviceTypeEntry>,
    /// For people.
    pub display_name: Option<Arc<str>>,
}

/// A link.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkEntry {
    /// `device->asset`.
    pub key: Arc<str>,
    /// The device.
    pub device: DeviceId,
    /// The asset that it feeds.
    pub asset: AssetId,
}
