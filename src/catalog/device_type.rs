//! What the documents of device types, assets, devices and links say.

use super::asset_type::Metadata;
use crate::model::DataType;
use serde::{Deserialize, Serialize};

/// A device type: what its devices are called and what they send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceType {
    /// `devices/v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// `DeviceTypeProfile`.
    pub kind: String,
    /// Names.
    pub metadata: Metadata,
    /// How a message becomes logical devices.
    #[serde(default)]
    pub processing_mode: ProcessingMode,
    /// Which devices are of this type.
    #[serde(default)]
    pub identity: Identity,
    /// The metrics. All others are refused, so without rules a device of the type says nothing.
    #[serde(default)]
    pub extraction_rules: Vec<Extraction>,
}

/// How a message becomes logical devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessingMode {
    /// One logical device.
    #[default]
    Endpoint,
}

/// Which devices are of a type, and what becomes of one that is seen for the first time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// A regular expression that matches the whole id of a device of this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_pattern: Option<String>,
    /// The asset that a new device feeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provision: Option<Provision>,
}

/// The asset that a new device feeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// The type of the asset, when it is new.
    pub asset_type: String,
    /// The key of the asset; `$0` is the device's id, `$1` the first group of the pattern.
    pub asset: String,
}

/// A metric that devices of the type send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extraction {
    /// Its name in the message.
    pub metric: String,
    /// The type of its values.
    #[serde(default, rename = "type")]
    pub data_type: DataType,
    /// UCUM code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// Unique among the assets.
    pub key: String,
    /// The key of its type.
    pub asset_type: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// One sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Unique among the devices: the id that its messages carry.
    pub key: String,
    /// The key of its type.
    pub device_type: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// Which device feeds which asset. Its key is `device->asset`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The key of the device.
    pub device: String,
    /// The key of the asset.
    pub asset: String,
}

impl DeviceType {
    /// The unit that devices of the type send a metric in.
    pub fn unit_of(&self, metric: &str) -> Option<&str> {
        let rule = self.extraction_rules.iter().find(|rule| rule.metric == metric)?;
        rule.unit.as_deref()
    }
}

impl Link {
    /// The key of the link of a device and an asset.
    pub fn key(device: &str, asset: &str) -> String {
        format!("{device}->{asset}")
    }
}
