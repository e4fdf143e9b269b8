//! Rows of an answer in PostgreSQL's types.
//!
//! Types are PostgreSQL's own where it has them: lists of plain values are arrays. What it has no
//! type for (records, lists of records, maps) is JSON.

use super::error::{asked, error};
use super::floats;
use crate::query::Answer;
use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow_pg::datatypes::field_into_pg_type;
use arrow_pg::encoder::encode_value;
use futures::{StreamExt, stream};
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;
use pgwire::types::format::FormatOptions;
use std::sync::Arc;

/// The columns of an answer as the client is told of them.
pub(super) fn columns(schema: &Schema, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    let told = |(at, field): (usize, &FieldRef)| {
        let data_type = type_of(field)?;
        Ok(FieldInfo::new(field.name().clone(), None, None, data_type, format.format_for(at)))
    };
    schema.fields().iter().enumerate().map(told).collect()
}

fn type_of(field: &FieldRef) -> PgWireResult<Type> {
    match field.data_type() {
        data_type if is_json(data_type) => Ok(Type::JSON),
        // Clients want to know a type, and know how to read this one.
        DataType::Null => Ok(Type::TEXT),
        DataType::Dictionary(_, values) => {
            field_into_pg_type(&Arc::new(Field::new(field.name(), values.as_ref().clone(), true)))
        }
        _ => field_into_pg_type(field),
    }
}

/// Whether PostgreSQL has no type for it.
fn is_json(data_type: &DataType) -> bool {
    use DataType::{FixedSizeList, LargeList, List, Map, Struct};
    match data_type {
        Struct(_) | Map(..) => true,
        List(item) | LargeList(item) | FixedSizeList(item, _) => item.data_type().is_nested(),
        other => other.is_nested(),
    }
}

/// The rows of an answer as they come. `text` is the query, for errors.
pub(super) fn response(answer: Answer, columns: Vec<FieldInfo>, text: Arc<str>) -> QueryResponse {
    let columns = Arc::new(columns);
    let told = Arc::clone(&columns);
    let rows = answer.into_stream().flat_map(move |batch| {
        let rows = batch
            .map_err(|error| asked(error, &text))
            .and_then(|batch| Rows::new(&batch, Arc::clone(&told)));
        match rows {
            Ok(rows) => stream::iter(rows).left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        }
    });
    QueryResponse::new(columns, rows)
}

/// The rows of one batch, encoded one by one.
pub(super) struct Rows {
    values: Vec<(FieldRef, ArrayRef)>,
    columns: Arc<Vec<FieldInfo>>,
    encoder: DataRowEncoder,
    at: usize,
    count: usize,
}

impl Rows {
    pub fn new(batch: &RecordBatch, columns: Arc<Vec<FieldInfo>>) -> PgWireResult<Self> {
        if batch.num_columns() != columns.len() {
            return Err(error("0A000", "the columns of the answer have changed: ask again"));
        }
        let schema = batch.schema();
        let values = schema.fields().iter().zip(batch.columns()).zip(columns.iter());
        let values = values.map(|((field, values), told)| plain(field, values, told.datatype()));
        let values = values.collect::<Result<_, ArrowError>>();
        let values = values.map_err(|wrong| error("XX000", wrong.to_string()))?;
        let encoder = DataRowEncoder::new(Arc::clone(&columns));
        Ok(Self { values, columns, encoder, at: 0, count: batch.num_rows() })
    }

    fn encode(&mut self) -> PgWireResult<DataRow> {
        for ((field, values), told) in self.values.iter().zip(self.columns.iter()) {
            let number = match told.format() {
                FieldFormat::Text if values.is_valid(self.at) => floats::text(values, self.at),
                _ => None,
            };
            if let Some(number) = number {
                let (kind, plain) = (&Type::TEXT, FormatOptions::default());
                let text = number.as_str();
                self.encoder.encode_field_with_type_and_format(
                    &text,
                    kind,
                    FieldFormat::Text,
                    &plain,
                )?;
            } else if values.is_null(self.at) {
                self.encoder.encode_field(&None::<i8>)?;
            } else {
                encode_value(&mut self.encoder, values, self.at, field, told)?;
            }
        }
        self.at += 1;
        Ok(self.encoder.take_row())
    }
}

impl Iterator for Rows {
    type Item = Result<DataRow, PgWireError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.count).then(|| self.encode())
    }
}

/// A column in a form that is encoded value by value.
fn plain(
    field: &FieldRef,
    values: &ArrayRef,
    told: &Type,
) -> Result<(FieldRef, ArrayRef), ArrowError> {
    let values = match values.data_type() {
        data_type if is_json(data_type) => Arc::new(json(values)?),
        DataType::Dictionary(_, inner) => cast(values, inner)?,
        _ if *told == Type::TEXT && !values.data_type().is_string() => {
            cast(values, &DataType::Utf8)?
        }
        _ => return Ok((Arc::clone(field), Arc::clone(values))),
    };
    let field = Field::new(field.name(), values.data_type().clone(), true);
    Ok((Arc::new(field), values))
}

/// Each value as JSON.
fn json(values: &ArrayRef) -> Result<StringArray, ArrowError> {
    let field = Field::new("v", values.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema, vec![Arc::clone(values)])?;
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let text = String::from_utf8(writer.into_inner())
        .map_err(|error| ArrowError::JsonError(error.to_string()))?;
    let texts = text.lines().enumerate().map(|(row, line)| {
        let value = line.strip_prefix("{\"v\":").and_then(|rest| rest.strip_suffix('}'));
        value.filter(|_| values.is_valid(row))
    });
    Ok(texts.collect())
}
