//! One value of a public row, and rows of them on their way into an Arrow batch.

use super::view::{Column, ColumnType};
use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int8Builder, Int64Builder, RecordBatch,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType as Arrow, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use std::borrow::Cow;
use std::sync::Arc;

/// One value. Floats are bits, so that equal cells are equal to the last bit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    Time(i64),
    Float(u64),
    Int(i64),
    Bool(bool),
    /// `1` or `-1`.
    Diff(i8),
}

impl<'a> Cell<'a> {
    pub fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// A number; null when it is not finite, because no door may show such a one.
    pub fn number(number: f64) -> Self {
        if number.is_finite() { Self::Float(number.to_bits()) } else { Self::Null }
    }

    pub fn time(micros: Option<i64>) -> Self {
        micros.map_or(Self::Null, Self::Time)
    }
}

/// What stands behind the columns of the view in a batch of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Nothing,
    Diff,
    Op,
    /// The epoch at which the row changed last.
    Epoch,
}

/// The schema of a view's columns.
pub(super) fn schema(columns: &[Column], tail: Tail) -> SchemaRef {
    let mut fields: Vec<Field> = columns
        .iter()
        .map(|column| {
            let data_type = match column.column_type {
                ColumnType::Text => Arrow::Utf8,
                ColumnType::Time => Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                ColumnType::Float => Arrow::Float64,
                ColumnType::Int => Arrow::Int64,
                ColumnType::Bool => Arrow::Boolean,
            };
            Field::new(column.name, data_type, !column.key)
        })
        .collect();
    match tail {
        Tail::Nothing => {}
        Tail::Diff => fields.push(Field::new("diff", Arrow::Int8, false)),
        Tail::Op => fields.push(Field::new("op", Arrow::Utf8, false)),
        Tail::Epoch => fields.push(Field::new("epoch", Arrow::Int64, false)),
    }
    Arc::new(Schema::new(fields))
}

enum Builder {
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
    Float(Float64Builder),
    Int(Int64Builder),
    Bool(BooleanBuilder),
    Diff(Int8Builder),
}

/// Rows that become batches of at most [`Batches::ROWS`] rows.
pub(super) struct Batches {
    schema: SchemaRef,
    builders: Vec<Builder>,
    waiting: usize,
    left: usize,
    done: Vec<RecordBatch>,
}

impl Batches {
    /// Rows of one batch.
    pub const ROWS: usize = 65_536;

    /// No rows yet; takes at most `limit`.
    pub fn new(schema: SchemaRef, limit: usize) -> Self {
        // Small batches must be small: builders of the default capacity take 64 KiB a row.
        let builders = schema
            .fields()
            .iter()
            .map(|field| match field.data_type() {
                Arrow::Timestamp(..) => Builder::Time(
                    TimestampMicrosecondBuilder::with_capacity(0).with_timezone("UTC"),
                ),
                Arrow::Float64 => Builder::Float(Float64Builder::with_capacity(0)),
                Arrow::Int64 => Builder::Int(Int64Builder::with_capacity(0)),
                Arrow::Boolean => Builder::Bool(BooleanBuilder::with_capacity(0)),
                Arrow::Int8 => Builder::Diff(Int8Builder::with_capacity(0)),
                _ => Builder::Text(StringBuilder::with_capacity(0, 0)),
            })
            .collect();
        Self { schema, builders, waiting: 0, left: limit, done: Vec::new() }
    }

    /// Whether the limit is reached.
    pub fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Appends a row; nothing happens when the limit is reached.
    pub fn push(&mut self, row: &[Cell<'_>]) -> Result<(), ArrowError> {
        if self.left == 0 {
            return Ok(());
        }
        debug_assert_eq!(row.len(), self.builders.len());
        for (builder, cell) in self.builders.iter_mut().zip(row) {
            builder.push(cell);
        }
        self.left -= 1;
        self.waiting += 1;
        if self.waiting == Self::ROWS {
            self.cut()?;
        }
        Ok(())
    }

    /// The batches that are full, in the order their rows came; the other rows stay.
    pub fn full(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.done)
    }

    /// All rows, in the order they came. No rows give no batch.
    pub fn finish(mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        if self.waiting > 0 {
            self.cut()?;
        }
        Ok(self.done)
    }

    fn cut(&mut self) -> Result<(), ArrowError> {
        let columns = self.builders.iter_mut().map(Builder::finish).collect();
        self.done.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        self.waiting = 0;
        Ok(())
    }
}

impl Builder {
    fn push(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Self::Text(builder), Cell::Text(text)) => builder.append_value(text),
            (Self::Time(builder), Cell::Time(micros)) => builder.append_value(*micros),
            (Self::Float(builder), Cell::Float(bits)) => {
                builder.append_value(f64::from_bits(*bits));
            }
            (Self::Int(builder), Cell::Int(value)) => builder.append_value(*value),
            (Self::Bool(builder), Cell::Bool(value)) => builder.append_value(*value),
            (Self::Diff(builder), Cell::Diff(value)) => builder.append_value(*value),
            (builder, cell) => {
                debug_assert_eq!(*cell, Cell::Null, "a cell of another type than its column");
                builder.push_null();
            }
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Text(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::Float(builder) => builder.append_null(),
            Self::Int(builder) => builder.append_null(),
            Self::Bool(builder) => builder.append_null(),
            Self::Diff(builder) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Diff(builder) => Arc::new(builder.finish()),
        }
    }
}
