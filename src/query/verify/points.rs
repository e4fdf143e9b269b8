//! Points as telemetry has them.

use crate::model::{DataType, Quality, Value};
use std::sync::Arc;

/// A point that was archived. Its metric goes by name: which place it has in a row, and whether
/// it has one at all, is a matter of the version in force.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub event_time: i64,
    pub metric: Arc<str>,
    pub number: Option<f64>,
    pub text: Option<Arc<str>>,
    pub quality: Quality,
}

impl Accepted {
    /// The value as one of this type; `None` when it is none.
    pub(super) fn value(&self, data_type: DataType) -> Option<Value> {
        Some(match data_type {
            DataType::Double => Value::Double(self.number?),
            DataType::Integer => Value::Integer(self.number? as i64),
            DataType::Bool => Value::Bool(self.number? != 0.0),
            DataType::String => Value::String(self.text.as_deref()?.into()),
        })
    }
}
