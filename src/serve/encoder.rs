//! Rows as bytes, piece by piece: JSON, CSV and Arrow.

use super::formats::json_array;
use crate::query::Form;
use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use std::sync::Arc;

/// Writes rows piece by piece.
pub(super) enum Encoder {
    Json { waiting: Vec<u8>, any: bool },
    Csv { waiting: Vec<u8>, header: bool, schema: SchemaRef },
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Encoder {
    pub fn new(form: Form, schema: &Schema, head: &str) -> Result<Self, ArrowError> {
        Ok(match form {
            Form::Csv => {
                Self::Csv { waiting: Vec::new(), header: true, schema: Arc::new(schema.clone()) }
            }
            Form::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
            _ => Self::Json { waiting: format!("{{{head}\"rows\":[").into_bytes(), any: false },
        })
    }

    pub fn rows(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json { waiting, any } => {
                let text = json_array(rows)?;
                // Without the brackets of the array.
                let inner = &text[1..text.len() - 1];
                if !inner.is_empty() {
                    if *any {
                        waiting.push(b',');
                    }
                    *any = true;
                    waiting.extend_from_slice(inner.as_bytes());
                }
            }
            Self::Csv { waiting, header, .. } => {
                let mut writer = csv::WriterBuilder::new().with_header(*header).build(waiting);
                writer.write(rows)?;
                *header = false;
            }
            Self::Arrow(writer) => writer.write(rows)?,
        }
        Ok(self.take())
    }

    pub fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json { waiting, .. } => waiting.extend_from_slice(b"]}\n"),
            Self::Csv { header: false, .. } => {}
            Self::Csv { schema, .. } => {
                let none = RecordBatch::new_empty(Arc::clone(schema));
                return self.rows(&none);
            }
            Self::Arrow(writer) => writer.finish()?,
        }
        Ok(self.take())
    }

    pub fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Json { waiting, .. } | Self::Csv { waiting, .. } => std::mem::take(waiting),
            Self::Arrow(writer) => std::mem::take(writer.get_mut()),
        }
    }
}
