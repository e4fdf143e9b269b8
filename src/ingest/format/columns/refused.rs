//! Refused rows of a batch, gathered by fault, and written down as JSON lines.

use crate::ingest::route::{KeepRaw, RAW_BYTES_MAX, Refusal, Router};
use crate::model::Reason;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::json::LineDelimitedWriter;
use indexmap::IndexMap;

/// Rows that are written at once.
const ROWS_AT_ONCE: usize = 256;

/// What is wrong with some rows. Rows with equal faults share a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fault {
    pub reason: Reason,
    pub device: Option<String>,
    pub metric: Option<String>,
    /// What is wrong with each row.
    pub detail: String,
    /// The columns that show it.
    pub columns: Option<Vec<usize>>,
}

/// Refused rows of one batch.
#[derive(Default)]
pub(super) struct Refused {
    faults: IndexMap<Fault, Vec<u32>>,
}

impl Refused {
    pub fn push(&mut self, fault: Fault, row: usize) {
        self.faults.entry(fault).or_default().push(row as u32);
    }

    pub fn push_all(&mut self, fault: Fault, rows: Vec<u32>) {
        if !rows.is_empty() {
            self.faults.entry(fault).or_default().extend(rows);
        }
    }

    /// Hands the faults to the router. `first` is the index of the batch's first row.
    pub fn bury(self, batch: &RecordBatch, first: u32, router: &mut Router) {
        for (fault, rows) in self.faults {
            let parts = lines(batch, &fault, &rows, router.keep_raw());
            let detail = match rows.len() {
                1 => fault.detail,
                n => format!("{} ({n} rows, the first at {})", fault.detail, first + rows[0]),
            };
            let Fault { reason, device, metric, .. } = fault;
            let raw: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let refusal = Refusal { reason, detail, device };
            router.reject(first.saturating_add(rows[0]), metric, refusal, &raw);
        }
    }
}

/// The rows as JSON lines, in parts that a dead letter can hold. At least one part.
fn lines(batch: &RecordBatch, fault: &Fault, rows: &[u32], keep: KeepRaw) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let projected = match &fault.columns {
        Some(columns) => batch.project(columns),
        None => Ok(batch.clone()),
    };
    let Ok(batch) = projected else { return parts };
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let mut text = Vec::new();
        let written = take_record_batch(&batch, &UInt32Array::from(rows.to_vec()))
            .and_then(|rows| LineDelimitedWriter::new(&mut text).write(&rows));
        // Columns of types that JSON has no form for leave the letter without bytes.
        if written.is_err() {
            return parts;
        }
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let full = parts.last().is_some_and(|part| part.len() + line.len() > RAW_BYTES_MAX);
            if full && keep == KeepRaw::Sample {
                return parts;
            }
            if full {
                parts.push(Vec::new());
            }
            if let Some(part) = parts.last_mut() {
                part.extend_from_slice(line);
            }
        }
    }
    parts
}
