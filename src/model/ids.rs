//! Dense identities. Names exist at the edges only; inside there are ids.
//!
//! Ids are given by the catalog in log order, one sequence for each kind of document, and are
//! never reused: the same log gives the same ids.

use serde::{Deserialize, Serialize};

/// An asset: the machine that people talk about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AssetId(pub u32);

/// A device: the box that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceId(pub u32);

/// An asset type: what the assets of a kind have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TypeId(pub u32);
