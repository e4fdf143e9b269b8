//! Tables of the database behind the archive, in the schema `timescale`: read there, with filters,
//! limits and aggregates that the database answers itself.

mod filters;
mod table;
mod aggregates;

use super::error::Error;
use super::statement::CATALOG;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::MemorySchemaProvider;
use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;
use futures::stream::BoxStream;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use aggregates::PushAggregates;

/// The schema in which the tables are.
pub(super) const SCHEMA: &str = "timescale";

/// A database that understands PostgreSQL's SQL.
#[async_trait]
pub trait Database: Send + Sync {
    /// Its tables and views with their columns: texts, doubles, integers of 64 bits, booleans and
    /// times in UTC. The error says what failed.
    async fn tables(&self) -> Result<BTreeMap<String, SchemaRef>, String>;
    /// The rows of a query, which has these columns.
    async fn read(
        &self,
        sql: &str,
        schema: SchemaRef,
    ) -> Result<BoxStream<'static, Result<RecordBatch, String>>, String>;
}

/// Registers tables of the database. Asks it which there are.
pub(super) async fn register(
    context: &SessionContext,
    database: Option<&Arc<dyn Database>>,
    names: &[String],
) -> Result<(), Error> {
    let Some(first) = names.first() else { return Ok(()) };
    let Some(database) = database else {
        let hint = "start the server with --database-url";
        return Err(Error::refused(format!("table {SCHEMA}.{first}: there is no database"), hint));
    };
    let known = database.tables().await.map_err(Error::failed)?;
    let failed = |error| Error::from_datafusion(&error);
    if let Some(catalog) = context.catalog(CATALOG) {
        let schema = Arc::new(MemorySchemaProvider::new());
        catalog.register_schema(SCHEMA, schema).map_err(failed)?;
    }
    for name in names {
        let Some(schema) = known.get(name) else {
            let known: Vec<String> = known.keys().map(|name| format!("{SCHEMA}.{name}")).collect();
            return Err(Error::unknown_table(&format!("{SCHEMA}.{name}"), &known));
        };
        let table = table::Remote::new(Arc::clone(database), name, Arc::clone(schema));
        let reference = TableReference::partial(SCHEMA, name.as_str());
        context.register_table(reference, Arc::new(table)).map_err(failed)?;
    }
    Ok(())
}

/// A name as PostgreSQL takes it literally.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
