//! Rows of views in PostgreSQL's binary form, whatever their columns are.

use super::error::Error;
use super::rows::{At, STORABLE, plain};
use super::tables::Table;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use bytes::BytesMut;
use std::borrow::Cow;
use std::pin::{Pin, pin};
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Sends batches of the same columns to the session's own table until there are `enough` rows.
/// Says how many were sent, how many have a time that PostgreSQL has not, and whether there are
/// more batches.
pub(super) async fn send(
    transaction: &Transaction<'_>,
    table: &Table,
    batches: &mut dyn Iterator<Item = Result<RecordBatch, Error>>,
    enough: u64,
) -> Result<Copied, Error> {
    let mut copied = Copied { rows: 0, left_out: 0, more: false };
    let Some(first) = batches.next().transpose()? else { return Ok(copied) };
    let schema = first.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let types: Vec<Type> = schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Timestamp(..) => Type::TIMESTAMPTZ,
            DataType::Float64 => Type::FLOAT8,
            DataType::Int64 | DataType::UInt64 => Type::INT8,
            _ if table.json == Some(field.name()) => Type::JSON,
            _ => Type::TEXT,
        })
        .collect();
    let statement =
        format!("COPY incoming_{} ({}) FROM STDIN BINARY", table.name, names.join(", "));
    let sink = transaction.copy_in(&statement).await.map_err(Error::database("send rows"))?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    let mut next = Some(first);
    while let Some(batch) = next {
        rows(writer.as_mut(), &batch, &mut copied).await?;
        if copied.rows >= enough {
            copied.more = true;
            break;
        }
        next = batches.next().transpose()?;
    }
    let found = writer.finish().await.map_err(Error::database("send rows"))?;
    match found == copied.rows {
        true => Ok(copied),
        false => Err(Error::Rows { table: table.name, expected: copied.rows, found }),
    }
}

/// What was sent.
pub(super) struct Copied {
    pub rows: u64,
    pub left_out: u64,
    /// Whether there may be more.
    pub more: bool,
}

async fn rows(
    mut writer: Pin<&mut BinaryCopyInWriter>,
    batch: &RecordBatch,
    copied: &mut Copied,
) -> Result<(), Error> {
    let columns: Vec<Column<'_>> = batch.columns().iter().map(Column::of).collect();
    let mut cells: Vec<Cell<'_>> = Vec::with_capacity(columns.len());
    for i in 0..batch.num_rows() {
        cells.clear();
        cells.extend(columns.iter().map(|column| column.cell(i)));
        let storable =
            |cell: &Cell<'_>| !matches!(cell, Cell::Time(At(at)) if !STORABLE.contains(at));
        if !cells.iter().all(storable) {
            copied.left_out += 1;
            continue;
        }
        let row = cells.iter().map(|cell| cell as &(dyn ToSql + Sync));
        writer.as_mut().write_raw(row).await.map_err(Error::database("send rows"))?;
        copied.rows += 1;
    }
    Ok(())
}

/// A column of a view.
enum Column<'a> {
    Text(&'a arrow::array::StringArray),
    Time(&'a arrow::array::PrimitiveArray<TimestampMicrosecondType>),
    Float(&'a arrow::array::Float64Array),
    Int(&'a arrow::array::Int64Array),
    Epoch(&'a arrow::array::UInt64Array),
    /// Of a type that no view has.
    Nothing,
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef) -> Self {
        match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string::<i32>()),
            DataType::Timestamp(..) => Self::Time(array.as_primitive::<TimestampMicrosecondType>()),
            DataType::Float64 => Self::Float(array.as_primitive::<Float64Type>()),
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>()),
            DataType::UInt64 => Self::Epoch(array.as_primitive::<UInt64Type>()),
            _ => Self::Nothing,
        }
    }

    fn cell(&self, i: usize) -> Cell<'a> {
        match self {
            Self::Text(array) if array.is_valid(i) => Cell::Text(plain(array.value(i))),
            Self::Time(array) if array.is_valid(i) => Cell::Time(At(array.value(i))),
            Self::Float(array) if array.is_valid(i) => Cell::Float(array.value(i)),
            Self::Int(array) if array.is_valid(i) => Cell::Int(array.value(i)),
            Self::Epoch(array) if array.is_valid(i) => Cell::Int(array.value(i) as i64),
            _ => Cell::Null,
        }
    }
}

#[derive(Debug)]
enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    Time(At),
    Float(f64),
    Int(i64),
}

impl ToSql for Cell<'_> {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            // The binary form of JSON is its text.
            Self::Text(text) => (&**text).to_sql(&Type::TEXT, out),
            Self::Time(at) => at.to_sql(of, out),
            Self::Float(float) => float.to_sql(of, out),
            Self::Int(int) => int.to_sql(of, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
