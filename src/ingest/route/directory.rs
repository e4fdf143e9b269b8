//! What routing needs to know about devices.

use crate::model::{Batch, DataType, Duration, NewDocument};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;
use std::sync::Arc;

/// Who the devices are. Asked once for each device and body, so an answer may cost a lock.
///
/// ```
/// use millstream::ingest::route::{DeviceShape, Directory, Metrics, Provisioned};
/// use millstream::model::{DataType, Duration};
/// use std::sync::Arc;
///
/// /// A plant in which every device is a thermometer.
/// struct Thermometers(Arc<Metrics>);
///
/// impl Directory for Thermometers {
///     fn device(&self, _key: &str) -> Option<DeviceShape> {
///         let max_future_skew = Duration(60_000_000);
///         Some(DeviceShape { metrics: Arc::clone(&self.0), max_future_skew })
///     }
///
///     fn provision(&self, _key: &str) -> Option<Provisioned> {
///         None
///     }
/// }
///
/// let plant = Thermometers(Metrics::new([("temperature", DataType::Double)]));
/// assert!(plant.device("t-1").is_some());
/// ```
pub trait Directory: Send + Sync {
    /// The shape of a device that the catalog has.
    fn device(&self, key: &str) -> Option<DeviceShape>;

    /// The documents that make an unknown device known, and the shape that it then has. `None`
    /// when no device type takes the key.
    fn provision(&self, key: &str) -> Option<Provisioned>;
}

/// What a device may send.
#[derive(Clone, Debug)]
pub struct DeviceShape {
    /// The metrics of its type. Devices of one type share one `Arc`: routing makes one batch for
    /// each.
    pub metrics: Arc<Metrics>,
    /// How far ahead of the receiving clock its event times may be.
    pub max_future_skew: Duration,
}

/// How an unknown device becomes known.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// To be committed with the first message, references first.
    pub documents: Vec<NewDocument>,
    /// What the device may send from then on.
    pub shape: DeviceShape,
}

/// The metrics of a device type, and the schema of its batches.
#[derive(Debug)]
pub struct Metrics {
    schema: SchemaRef,
    columns: HashMap<Box<str>, (usize, DataType)>,
    types: Vec<DataType>,
}

impl Metrics {
    /// Metrics with unique names, in the order of their columns.
    pub fn new<'a>(metrics: impl IntoIterator<Item = (&'a str, DataType)>) -> Arc<Self> {
        let metrics: Vec<_> = metrics.into_iter().collect();
        let mut columns = HashMap::with_capacity(metrics.len());
        for (column, (name, data_type)) in metrics.iter().enumerate() {
            columns.insert(Box::from(*name), (column, *data_type));
        }
        let types = metrics.iter().map(|(_, data_type)| *data_type).collect();
        Arc::new(Self { schema: Batch::schema(metrics), columns, types })
    }

    /// The schema of the type's batches: the same pointer each time.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Where a metric stands, counted from the first metric, and its type.
    pub fn column(&self, name: &str) -> Option<(usize, DataType)> {
        self.columns.get(name).copied()
    }

    /// The types of the metrics, in the order of their columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }
}
