//! The slots of an asset type: which metric stands where in a row, settled once per version.

use super::asset_type::AssetType;
use crate::model::DataType;
use serde::{Deserialize, Serialize};

/// One metric's place in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// The metric's name.
    pub name: String,
    /// The type of its values.
    pub data_type: DataType,
    /// Its unit, a UCUM code.
    pub unit: Option<String>,
    /// Its range in that unit.
    pub range: Option<(f64, f64)>,
    /// Whether an expression makes it.
    pub derived: bool,
}

/// All metrics of an asset type: the measured ones first, then the derived ones, each in the
/// order of the document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// The metrics.
    pub slots: Vec<Slot>,
    /// How many of them are measured.
    pub measured: usize,
}

impl Layout {
    /// The layout of a document.
    pub fn of(document: &AssetType) -> Self {
        let measured = document.metric_definitions.iter().map(|(name, metric)| Slot {
            name: name.clone(),
            data_type: metric.data_type,
            unit: metric.unit.clone(),
            range: metric.range,
            derived: false,
        });
        let derived = document.transformation_engine.derived.iter().map(|(name, metric)| Slot {
            name: name.clone(),
            data_type: metric.data_type,
            unit: metric.unit.clone(),
            range: None,
            derived: true,
        });
        Self {
            slots: measured.chain(derived).collect(),
            measured: document.metric_definitions.len(),
        }
    }

    /// The place of a metric.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.name == name)
    }

    /// Places of the metrics that roll-ups are made of, in order.
    pub fn numeric(&self) -> Vec<usize> {
        (0..self.slots.len()).filter(|i| self.slots[*i].data_type.is_number()).collect()
    }
}
