//! Wide batches: columns move as they are; only devices are looked up row by row.

use super::detect::{Columns, Error, is_text, plain_type};
use super::refused::{Fault, Refused};
use super::times::{Times, times};
use super::values::{convert, mismatch};
use crate::ingest::route::{Known, Router};
use crate::model::{Batch, Quality, Reason, Timestamp};
use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, UInt32Type};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Marks rows that were refused.
const REFUSED: u32 = u32::MAX;

pub(super) fn route(
    columns: &Columns,
    metrics: &[usize],
    batch: &RecordBatch,
    router: &mut Router,
) -> Result<(), Error> {
    let (ordinal, first) = router.start_batch(batch.num_rows());
    let mut refused = Refused::default();
    let keys = Keys::read(columns, batch)?;
    let groups = assign(&keys, router, &mut refused);
    let mut used: Vec<u32> = Vec::new();
    for group in &groups {
        if used.last() != Some(group) && *group != REFUSED && !used.contains(group) {
            used.push(*group);
        }
    }
    let whole = used.len() == 1 && groups.iter().all(|group| *group != REFUSED);
    for group in used {
        let rows = (!whole).then(|| {
            let rows = (0..groups.len()).filter(|row| groups[*row] == group);
            UInt32Array::from_iter_values(rows.map(|row| row as u32))
        });
        let part = Part { rows, group: group as usize, ordinal };
        let batch = part.build(columns, metrics, batch, &keys, router, &mut refused)?;
        router.push_batch(batch);
    }
    refused.bury(batch, first, router);
    Ok(())
}

/// The columns that tell whose values they are.
pub(super) struct Keys {
    pub devices: StringArray,
    pub times: Times,
    /// None: good everywhere.
    pub qualities: Option<UInt32Array>,
}

impl Keys {
    pub fn read(columns: &Columns, batch: &RecordBatch) -> Result<Self, Error> {
        let name = |column: usize| batch.schema_ref().field(column).name().clone();
        let failed = |column: usize| {
            let column = name(column);
            move |e: ArrowError| Error::Convert { column, message: e.to_string() }
        };
        let times = times(&name(columns.time), batch.column(columns.time))?;
        let devices =
            cast(batch.column(columns.device), &DataType::Utf8).map_err(failed(columns.device))?;
        let qualities = match columns.quality {
            Some(column) => Some(qualities(batch.column(column)).map_err(failed(column))?),
            None => None,
        };
        Ok(Self { devices: devices.as_string().clone(), times, qualities })
    }

    pub fn quality(&self, row: usize) -> u32 {
        self.qualities.as_ref().map_or(Quality::GOOD.0, |qualities| qualities.value(row))
    }

    /// The device of a row, or what is wrong with the row as a whole. `last` is the row before.
    pub fn check<'k>(
        &'k self,
        row: usize,
        last: &mut Option<(&'k str, Known)>,
        router: &mut Router,
    ) -> Result<Known, Fault> {
        let fault = |reason, device: Option<&str>, detail: String| {
            let device = device.map(str::to_owned);
            Fault { reason, device, metric: None, detail, columns: None }
        };
        let device = self.devices.value(row);
        if self.devices.is_null(row) || device.is_empty() {
            return Err(fault(Reason::Schema, None, "the row has no device".into()));
        }
        let known = match last {
            Some((before, known)) if *before == device => *known,
            _ => match router.known(device) {
                Ok(known) => known,
                Err(refusal) => return Err(fault(refusal.reason, Some(device), refusal.detail)),
            },
        };
        *last = Some((device, known));
        if !self.times.is_valid(row) {
            let detail = "the row's time is missing or cannot be read".into();
            return Err(fault(Reason::Ts, Some(device), detail));
        }
        let event_time = self.times.micros[row];
        if event_time > known.latest {
            let detail = router.future(Timestamp(event_time));
            return Err(fault(Reason::FutureTs, Some(device), detail));
        }
        Ok(known)
    }
}

/// Qualities as codes. What cannot be read is uncertain: a value is better than none.
fn qualities(column: &ArrayRef) -> Result<UInt32Array, ArrowError> {
    if is_text(column.data_type()) {
        let texts = cast(column, &DataType::Utf8)?;
        let read = |text: Option<&str>| match text {
            Some(text) => Quality::parse(text).unwrap_or(Quality::UNCERTAIN).0,
            None => Quality::GOOD.0,
        };
        return Ok(UInt32Array::from_iter_values(texts.as_string::<i32>().iter().map(read)));
    }
    if !plain_type(column.data_type()).is_numeric() {
        return Err(ArrowError::CastError(format!(
            "a quality is a text or a status code, not {}",
            column.data_type()
        )));
    }
    let codes = cast(column, &DataType::UInt32)?;
    let codes = codes.as_primitive::<UInt32Type>();
    let read = |(row, code): (usize, Option<u32>)| match code {
        Some(code) => code,
        None if column.is_null(row) => Quality::GOOD.0,
        None => Quality::UNCERTAIN.0,
    };
    Ok(UInt32Array::from_iter_values(codes.iter().enumerate().map(read)))
}

/// The group of each row.
fn assign(keys: &Keys, router: &mut Router, refused: &mut Refused) -> Vec<u32> {
    let mut last = None;
    let mut groups = Vec::with_capacity(keys.devices.len());
    for row in 0..keys.devices.len() {
        groups.push(match keys.check(row, &mut last, router) {
            Ok(known) => known.group as u32,
            Err(fault) => {
                refused.push(fault, row);
                REFUSED
            }
        });
    }
    groups
}

/// The rows of one device type.
struct Part {
    /// None: all rows.
    rows: Option<UInt32Array>,
    group: usize,
    ordinal: u32,
}

impl Part {
    fn build(
        &self,
        columns: &Columns,
        metrics: &[usize],
        batch: &RecordBatch,
        keys: &Keys,
        router: &Router,
        refused: &mut Refused,
    ) -> Result<Batch, Error> {
        let fields = batch.schema_ref().fields();
        let failed = |column: &str, e: ArrowError| Error::Convert {
            column: column.into(),
            message: e.to_string(),
        };
        let rows = self.rows.as_ref().map_or(batch.num_rows(), |rows| rows.len());
        let shape = router.metrics(self.group);
        let mut taken: Vec<Option<ArrayRef>> = vec![None; shape.types().len()];
        for column in metrics {
            let name = fields[*column].name();
            let source = self.pick(batch.column(*column)).map_err(|e| failed(name, e))?;
            let fault = |reason, detail: String| Fault {
                reason,
                device: None,
                metric: Some(name.clone()),
                detail: format!("column '{name}': {detail}"),
                columns: Some(vec![columns.time, columns.device, *column]),
            };
            let Some((place, data_type)) = shape.column(name) else {
                let detail = "the device's type has no such metric".into();
                refused.push_all(fault(Reason::UnknownMetric, detail), self.present(&source));
                continue;
            };
            if let Some(detail) = mismatch(source.data_type(), data_type) {
                refused.push_all(fault(Reason::Value, detail), self.present(&source));
                continue;
            }
            let converted = convert(&source, data_type).map_err(|e| failed(name, e))?;
            let bad = converted.bad.iter().map(|row| self.original(*row)).collect();
            let detail = format!("not a value that a metric of type {data_type} can have");
            refused.push_all(fault(Reason::Value, detail), bad);
            taken[place].get_or_insert(converted.column);
        }
        let devices: ArrayRef = Arc::new(keys.devices.clone());
        let devices = self.pick(&devices).map_err(|e| failed("device", e))?;
        let micros = TimestampMicrosecondArray::new(keys.times.micros.clone(), None);
        let times: ArrayRef = Arc::new(micros.with_timezone("UTC"));
        let times = self.pick(&times).map_err(|e| failed("time", e))?;
        let qualities: ArrayRef = match &keys.qualities {
            Some(qualities) => {
                let qualities: ArrayRef = Arc::new(qualities.clone());
                self.pick(&qualities).map_err(|e| failed("quality", e))?
            }
            None => Arc::new(UInt32Array::from(vec![Quality::GOOD.0; rows])),
        };
        let messages: ArrayRef = Arc::new(UInt32Array::from(vec![self.ordinal; rows]));
        let mut arrays = vec![without_nulls(devices), times, qualities, messages];
        for (place, column) in taken.into_iter().enumerate() {
            let none = || new_null_array(&shape.types()[place].arrow(), rows);
            arrays.push(column.unwrap_or_else(none));
        }
        let built = RecordBatch::try_new(Arc::clone(shape.schema()), arrays)
            .map_err(|e| failed("device", e))?;
        Ok(Batch::try_new(built).expect("the schema is a batch's schema"))
    }

    fn pick(&self, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match &self.rows {
            Some(rows) => take(column, rows, None),
            None => Ok(Arc::clone(column)),
        }
    }

    /// The number in the whole batch of a row of the part.
    fn original(&self, row: u32) -> u32 {
        self.rows.as_ref().map_or(row, |rows| rows.value(row as usize))
    }

    /// Rows of the whole batch that have a value in a column of the part.
    fn present(&self, column: &ArrayRef) -> Vec<u32> {
        let nulls = column.logical_nulls();
        let there = |row: &u32| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row as usize));
        (0..column.len() as u32).filter(there).map(|row| self.original(row)).collect()
    }
}

/// The same texts without a null buffer: rows without a device are gone by now.
fn without_nulls(column: ArrayRef) -> ArrayRef {
    let (offsets, values, _) = column.as_string::<i32>().clone().into_parts();
    Arc::new(StringArray::new(offsets, values, None))
}
