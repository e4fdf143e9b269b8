//! Routing: which device sent it, which columns its metrics go to, and what is refused and why.
//!
//! Values keep the device's units here; the dataflow converts them when it maps devices to assets.

mod directory;
mod message;
mod wide;
mod router;
#[cfg(test)]
pub(crate) mod testing;

pub use directory::{DeviceShape, Directory, Metrics, Provisioned};
pub use message::{Message, Scalar, TEXT_BYTES_MAX};
pub(crate) use router::Known;
pub use router::{
    BodyRouted, KeepRaw, RAW_BYTES_MAX, Refusal, Rejected, Routed, Router, Settings, UnknownDevices,
};
