//! A first look at a recording's times, before it is played.

use super::error::Error;
use super::open::Recording;
use crate::ingest::format::columns::{Times, times};
use crate::model::Timestamp;
use arrow::array::ArrayRef;

/// What the times of a recording are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Number of rows.
    pub rows: u64,
    /// Rows whose time is less than that of a row before.
    pub late: u64,
    /// Least and greatest event time; `None` when no row has one.
    pub span: Option<(Timestamp, Timestamp)>,
}

impl Scan {
    /// Reads the time column of a file.
    pub fn of(recording: &Recording) -> Result<Self, Error> {
        let column = recording.columns().time();
        let mut scan = Self::default();
        for batch in recording.batches(Some(column))? {
            let times = read(recording, batch?.column(0))?;
            for (row, micros) in times.micros.iter().enumerate() {
                if times.is_valid(row) {
                    scan.add(*micros);
                }
            }
            scan.rows += times.micros.len() as u64;
        }
        Ok(scan)
    }

    fn add(&mut self, micros: i64) {
        let (first, last) = self.span.get_or_insert((Timestamp(micros), Timestamp(micros)));
        self.late += u64::from(micros < last.0);
        first.0 = first.0.min(micros);
        last.0 = last.0.max(micros);
    }
}

/// The times of a file's time column.
pub(super) fn read(recording: &Recording, column: &ArrayRef) -> Result<Times, Error> {
    let name = recording.schema().field(recording.columns().time()).name();
    times(name, column).map_err(Error::columns(recording.path()))
}

/// Times as sort keys: a row without one goes with the row before it. `last` is the key of the
/// row before the first.
pub(super) fn keys(times: &Times, last: &mut i64) -> Vec<i64> {
    let mut keys = times.micros.to_vec();
    for (row, key) in keys.iter_mut().enumerate() {
        if !times.is_valid(row) {
            *key = *last;
        }
        *last = *key;
    }
    keys
}
