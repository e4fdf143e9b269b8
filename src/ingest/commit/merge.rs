//! Many submissions become the batches of one frame.

use crate::model::{Batch, MESSAGE};
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use hashbrown::HashMap;
use std::sync::Arc;

/// Batches by schema, in the order in which the schemas came first.
#[derive(Default)]
pub(super) struct Merge {
    groups: Vec<(SchemaRef, Vec<Part>)>,
    by_schema: HashMap<SchemaRef, usize>,
    newest: usize,
}

/// A batch, and what is added to its message ordinals.
struct Part {
    batch: Batch,
    shift: u32,
}

impl Merge {
    /// Adds a batch. Batches without rows are left out.
    pub(super) fn push(&mut self, batch: Batch, shift: u32) {
        if batch.is_empty() {
            return;
        }
        let schema = batch.rows().schema_ref();
        // Decoders share schemas, so most batches have the very schema of the one before.
        let known =
            self.groups.get(self.newest).is_some_and(|(known, _)| Arc::ptr_eq(known, schema));
        if !known {
            let next = self.groups.len();
            self.newest = *self.by_schema.entry(Arc::clone(schema)).or_insert(next);
            if self.newest == next {
                self.groups.push((Arc::clone(schema), Vec::new()));
            }
        }
        self.groups[self.newest].1.push(Part { batch, shift });
    }

    /// One batch a schema; inside, rows stand in the order of the pushes.
    pub(super) fn finish(self) -> Result<Vec<Batch>, ArrowError> {
        let mut batches = Vec::with_capacity(self.groups.len());
        for (schema, mut parts) in self.groups {
            let alone = parts.len() == 1 && parts[0].shift == 0;
            match parts.pop() {
                Some(only) if alone => batches.push(only.batch),
                Some(last) => {
                    parts.push(last);
                    batches.push(concatenate(schema, &parts)?);
                }
                None => {}
            }
        }
        Ok(batches)
    }
}

fn concatenate(schema: SchemaRef, parts: &[Part]) -> Result<Batch, ArrowError> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    let mut pieces: Vec<&dyn Array> = Vec::with_capacity(parts.len());
    for i in 0..schema.fields().len() {
        if i == MESSAGE {
            columns.push(Arc::new(shifted(parts)));
        } else if let [only] = parts {
            columns.push(Arc::clone(only.batch.rows().column(i)));
        } else {
            pieces.clear();
            pieces.extend(parts.iter().map(|part| part.batch.rows().column(i).as_ref()));
            columns.push(arrow::compute::concat(&pieces)?);
        }
    }
    let rows = RecordBatch::try_new(schema, columns)?;
    Batch::try_new(rows).map_err(|error| ArrowError::SchemaError(error.to_string()))
}

fn shifted(parts: &[Part]) -> UInt32Array {
    let mut ordinals = Vec::with_capacity(parts.iter().map(|part| part.batch.len()).sum());
    for part in parts {
        ordinals.extend(part.batch.messages().iter().map(|ordinal| ordinal + part.shift));
    }
    ordinals.into()
}
