//! Narrow batches: points become cells of wide rows.

use super::detect::{Columns, Error, is_text, plain_type};
use super::refused::{Fault, Refused};
use super::wide::Keys;
use crate::ingest::route::{Known, Router, Scalar};
use crate::model::{DataType, Reason};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType as Arrow, Float64Type, Int64Type};
use hashbrown::HashMap;

pub(super) fn route(
    columns: &Columns,
    metric: usize,
    value: usize,
    batch: &RecordBatch,
    router: &mut Router,
) -> Result<(), Error> {
    let field = batch.schema_ref().field(value);
    let values = Values::read(field.name(), batch.column(value))?;
    let keys = Keys::read(columns, batch)?;
    let metrics = cast(batch.column(metric), &Arrow::Utf8).map_err(|e| Error::Convert {
        column: batch.schema_ref().field(metric).name().clone(),
        message: e.to_string(),
    })?;
    let (ordinal, first) = router.start_batch(batch.num_rows());
    let mut pivot = Pivot {
        keys: &keys,
        metrics: metrics.as_string(),
        ordinal,
        rows: HashMap::new(),
        last_row: None,
        last_metric: None,
    };
    let mut refused = Refused::default();
    let mut last = None;
    for row in 0..batch.num_rows() {
        let known = match keys.check(row, &mut last, router) {
            Ok(known) => known,
            Err(fault) => {
                refused.push(fault, row);
                continue;
            }
        };
        let Some(scalar) = values.scalar(row) else { continue };
        if let Err(fault) = pivot.point(row, known, scalar, router) {
            refused.push(fault, row);
        }
    }
    refused.bury(batch, first, router);
    Ok(())
}

/// The column of values.
enum Values {
    Double(ArrayRef),
    Integer(ArrayRef),
    Bool(ArrayRef),
    Text(ArrayRef),
}

impl Values {
    fn read(name: &str, column: &ArrayRef) -> Result<Self, Error> {
        let found = plain_type(column.data_type());
        let to = |target: Arrow| {
            cast(column, &target)
                .map_err(|e| Error::Convert { column: name.into(), message: e.to_string() })
        };
        Ok(match found {
            Arrow::UInt64 => Self::Double(to(Arrow::Float64)?),
            number if number.is_integer() => Self::Integer(to(Arrow::Int64)?),
            number if number.is_numeric() => Self::Double(to(Arrow::Float64)?),
            Arrow::Boolean => Self::Bool(to(Arrow::Boolean)?),
            text if is_text(text) => Self::Text(to(Arrow::Utf8)?),
            other => {
                let (column, found) = (name.into(), other.to_string());
                return Err(Error::Type { column, found, expected: "a number, a bool or a text" });
            }
        })
    }

    /// The value of a row; `None` when it is null.
    fn scalar(&self, row: usize) -> Option<Scalar<'_>> {
        let (Self::Double(column)
        | Self::Integer(column)
        | Self::Bool(column)
        | Self::Text(column)) = self;
        if column.is_null(row) {
            return None;
        }
        Some(match self {
            Self::Double(column) => Scalar::Double(column.as_primitive::<Float64Type>().value(row)),
            Self::Integer(column) => Scalar::Integer(column.as_primitive::<Int64Type>().value(row)),
            Self::Bool(column) => Scalar::Bool(column.as_boolean().value(row)),
            Self::Text(column) => Scalar::Text(column.as_string::<i32>().value(row).into()),
        })
    }
}

/// A row of a device type: group, event time, quality and the row of the batch whose device it is
/// would do; the device's text tells equal devices apart.
type Key<'k> = (&'k str, i64, u32);

struct Pivot<'k> {
    keys: &'k Keys,
    metrics: &'k StringArray,
    ordinal: u32,
    /// The newest wide row of each key.
    rows: HashMap<Key<'k>, usize>,
    last_row: Option<(Key<'k>, usize)>,
    last_metric: Option<(usize, &'k str, usize, DataType)>,
}

impl<'k> Pivot<'k> {
    fn point(
        &mut self,
        row: usize,
        known: Known,
        scalar: Scalar,
        router: &mut Router,
    ) -> Result<(), Fault> {
        let device = self.keys.devices.value(row);
        let name = self.metrics.value(row);
        let fault = |reason, detail: String| Fault {
            reason,
            device: Some(device.into()),
            metric: Some(name.into()),
            detail: format!("metric '{name}': {detail}"),
            columns: None,
        };
        let (column, data_type) = self.metric(known.group, name, router).ok_or_else(|| {
            fault(Reason::UnknownMetric, "the device's type has no such metric".into())
        })?;
        let scalar = read_text(scalar, data_type);
        if let Err(detail) = scalar.fits(data_type) {
            return Err(fault(Reason::Value, detail));
        }
        let key = (device, self.keys.times.micros[row], self.keys.quality(row));
        let mut target = match self.last_row {
            Some((last, target)) if last == key => Some(target),
            _ => self.rows.get(&key).copied(),
        };
        // A point that is there twice keeps both values, in their order.
        target = target.filter(|target| !router.is_set(known.group, *target, column));
        let target = target.unwrap_or_else(|| {
            let target = router.push_row(known, device, (key.1, key.2), self.ordinal);
            self.rows.insert(key, target);
            target
        });
        self.last_row = Some((key, target));
        router.set(known.group, target, column, &scalar).map_err(|e| fault(Reason::Value, e))
    }

    fn metric(
        &mut self,
        group: usize,
        name: &'k str,
        router: &Router,
    ) -> Option<(usize, DataType)> {
        if let Some((last_group, last_name, column, data_type)) = self.last_metric
            && last_group == group
            && last_name == name
        {
            return Some((column, data_type));
        }
        let (column, data_type) = router.column(group, name)?;
        self.last_metric = Some((group, name, column, data_type));
        Some((column, data_type))
    }
}

/// Texts are read as numbers and bools where the metric is one: columns of mixed metrics have no
/// other way to say it.
fn read_text(scalar: Scalar, data_type: DataType) -> Scalar {
    let Scalar::Text(text) = &scalar else { return scalar };
    let trimmed = text.trim();
    let read = match data_type {
        DataType::String => None,
        DataType::Double => trimmed.parse().ok().map(Scalar::Double),
        DataType::Integer => match trimmed.parse() {
            Ok(number) => Some(Scalar::Integer(number)),
            Err(_) => trimmed.parse().ok().map(Scalar::Double),
        },
        DataType::Bool => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(Scalar::Bool(true)),
            "false" | "0" => Some(Scalar::Bool(false)),
            _ => None,
        },
    };
    read.unwrap_or(scalar)
}
