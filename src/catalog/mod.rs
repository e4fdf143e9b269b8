//! The catalog: versioned documents that say what the plant is.
//!
//! Documents come from folders of YAML files or over the wire, are read with the place of every
//! problem, checked against what is there already, and get dense ids. The catalog knows no
//! telemetry and keeps no history: the log does.

pub mod asset_type;
mod device_type;
mod layout;
mod problem;
mod read;
mod folder;
mod yaml;
mod shape;
mod shapes;
mod schema;
mod check;
mod check_rules;
mod check_health;
mod units;
mod entry;
mod store;
mod assign;
mod provision;
#[cfg(test)]
mod tests;

pub use device_type::{
    Asset, Device, DeviceType, Extraction, Identity, Link, ProcessingMode, Provision,
};
pub use entry::{AssetEntry, AssetTypeEntry, DeviceEntry, DeviceTypeEntry, LinkEntry};
pub use folder::{FileDocument, read_folder};
pub use layout::{Layout, Slot};
pub use problem::Problem;
pub use read::{MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_LIST_BYTES, MAX_METRICS, parse_yaml};
pub use schema::json_schema;
pub use store::{Catalog, SharedCatalog, Size};
pub use units::{Conversion, UnitError, convert};
