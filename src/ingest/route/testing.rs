//! A small plant for tests: pumps and wells, and devices `new-*` that can be provisioned.

use super::directory::{DeviceShape, Directory, Metrics, Provisioned};
use crate::model::{DataType, Duration, Kind, NewDocument};
use std::sync::Arc;

/// `pump-*`: pressure (double), starts (integer), running (bool), state (string). `well-*`: P-TPT.
pub(crate) struct Plant {
    pub pump: Arc<Metrics>,
    pub well: Arc<Metrics>,
}

impl Default for Plant {
    fn default() -> Self {
        Self {
            pump: Metrics::new([
                ("pressure", DataType::Double),
                ("starts", DataType::Integer),
                ("running", DataType::Bool),
                ("state", DataType::String),
            ]),
            well: Metrics::new([("P-TPT", DataType::Double)]),
        }
    }
}

impl Directory for Plant {
    fn device(&self, key: &str) -> Option<DeviceShape> {
        let metrics = match key {
            _ if key.starts_with("pump-") => &self.pump,
            _ if key.starts_with("well-") => &self.well,
            _ => return None,
        };
        Some(DeviceShape { metrics: Arc::clone(metrics), max_future_skew: Duration(60_000_000) })
    }

    fn provision(&self, key: &str) -> Option<Provisioned> {
        key.strip_prefix("new-")?;
        let document =
            NewDocument { kind: Kind::Devices, key: key.into(), body: Some("{}".into()) };
        Some(Provisioned { documents: vec![document], shape: self.device("pump-0")? })
    }
}
