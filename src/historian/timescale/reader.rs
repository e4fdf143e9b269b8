//! Reads the database for SQL: whatever tables and views are there, not only those that the sink
//! writes.

use super::error::Error;
use super::settings::Settings;
use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Row, RowStream};

/// Connections that wait for the next question.
const IDLE: usize = 4;
const BATCH_ROWS: usize = 8_192;
/// Nothing is changed, and an answer takes no longer than a question of SQL may.
const OPTIONS: &str = "-c default_transaction_read_only=on -c statement_timeout=600s";
/// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
const COLUMNS: &str = "\
SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position";

/// Reads the database. Connections are made when they are needed.
pub struct Reader {
    settings: Settings,
    idle: Mutex<Vec<Client>>,
}

/// Microseconds since 1970.
struct Micros(i64);

impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        Ok(Self(micros.saturating_add(POSTGRES_EPOCH)))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }
}

impl Reader {
    /// That of a database which the sink writes to.
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.reading(OPTIONS), idle: Mutex::default() }
    }

    /// Tables and views of the schema that is searched first, with their columns as they are read:
    /// numbers as doubles or integers of 64 bits, times in UTC, what else there is as texts.
    pub async fn tables(&self) -> Result<BTreeMap<String, SchemaRef>, Error> {
        let client = self.connect().await?;
        let rows = client.query(COLUMNS, &[]).await;
        let rows = rows.map_err(Error::database("list the tables"))?;
        self.put_back(client);
        let mut tables: BTreeMap<String, Vec<Field>> = BTreeMap::new();
        for row in rows {
            let (table, name, kind): (String, String, String) =
                (row.get(0), row.get(1), row.get(2));
            let field = Field::new(name, data_type(&kind), true);
            tables.entry(table).or_default().push(field);
        }
        Ok(tables.into_iter().map(|(name, fields)| (name, Arc::new(Schema::new(fields)))).collect())
    }

    /// The rows of a query whose columns are those of the schema, in its order. Ends on the server
    /// too when it is dropped.
    pub async fn read(
        self: Arc<Self>,
        sql: &str,
        schema: SchemaRef,
    ) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
        let client = self.connect().await?;
        let none: [&str; 0] = [];
        let rows = client.query_raw(sql, none).await.map_err(Error::database("read"))?;
        let reading = Reading { reader: self, client: Some(client), rows: Box::pin(rows), schema };
        let batches = futures::stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|batch| (batch, reading)))
        });
        Ok(batches.boxed())
    }

    async fn connect(&self) -> Result<Client, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle.filter(|client| !client.is_closed()) {
            Some(client) => Ok(client),
            None => self.settings.connect().await,
        }
    }

    fn put_back(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(client);
        }
    }
}

/// A query that is being read.
struct Reading {
    reader: Arc<Reader>,
    /// `None` when all rows were read.
    client: Option<Client>,
    rows: Pin<Box<RowStream>>,
    schema: SchemaRef,
}

impl Reading {
    /// Some more rows; `None` when there are none.
    async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        if self.client.is_none() {
            return Ok(None);
        }
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        while rows.len() < BATCH_ROWS {
            match self.rows.next().await {
                Some(row) => rows.push(row.map_err(Error::database("read"))?),
                None => {
                    self.client.take().into_iter().for_each(|client| self.reader.put_back(client));
                    break;
                }
            }
        }
        let columns = self.schema.fields().iter().enumerate();
        let columns = columns.map(|(at, field)| column(&rows, at, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(Error::database("read"))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        let batch = batch.map_err(crate::historian::Error::from)?;
        Ok((batch.num_rows() > 0).then_some(batch))
    }
}

impl Drop for Reading {
    /// What nobody reads any more is not made any more.
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let (cancel, tls) = (client.cancel_token(), self.reader.settings.tls());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { cancel.cancel_query(tls).await });
        }
    }
}

fn column(rows: &[Row], at: usize, kind: &DataType) -> Result<ArrayRef, tokio_postgres::Error> {
    macro_rules! build {
        ($builder:ident, $type:ty, $of:expr) => {{
            let mut builder = $builder::new();
            for row in rows {
                builder.append_option(row.try_get::<_, Option<$type>>(at)?.map($of));
            }
            builder.finish()
        }};
    }
    Ok(match kind {
        DataType::Float64 => Arc::new(build!(Float64Builder, f64, |value| value)),
        DataType::Int64 => Arc::new(build!(Int64Builder, i64, |value| value)),
        DataType::Boolean => Arc::new(build!(BooleanBuilder, bool, |value| value)),
        DataType::Timestamp(..) => {
            let times = build!(TimestampMicrosecondBuilder, Micros, |Micros(value)| value);
            Arc::new(times.with_timezone("UTC"))
        }
        _ => Arc::new(build!(StringBuilder, &str, |value| value)),
    })
}

fn data_type(kind: &str) -> DataType {
    match kind {
        "double precision" | "real" | "numeric" => DataType::Float64,
        "bigint" | "integer" | "smallint" => DataType::Int64,
        "boolean" => DataType::Boolean,
        kind if kind.starts_with("timestamp") => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        _ => DataType::Utf8,
    }
}
