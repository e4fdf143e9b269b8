//! A table of the database, or an aggregate over one: a query that the database answers.

use super::{Database, filters, quoted};
use crate::query::labelled::Labelled;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::sync::Arc;

/// What `FROM` is followed by, and its columns.
#[derive(Clone)]
pub struct Remote {
    database: Arc<dyn Database>,
    from: String,
    schema: SchemaRef,
}

impl Remote {
    /// A table by its name.
    pub fn new(database: Arc<dyn Database>, name: &str, schema: SchemaRef) -> Self {
        Self { database, from: quoted(name), schema }
    }

    /// The rows of a query, whose columns have the names of these.
    pub fn query(&self, sql: &str, schema: SchemaRef) -> Self {
        Self { database: Arc::clone(&self.database), from: format!("({sql}) AS q"), schema }
    }

    /// A query for some of the rows, as far as the filters can be told. Among those that need not be
    /// looked at again only.
    pub fn select(&self, columns: &str, filters: &[Expr]) -> String {
        let told: Vec<String> = filters.iter().filter_map(filters::told).collect();
        let filter = if told.is_empty() { String::new() } else { " WHERE ".to_owned() };
        format!("SELECT {columns} FROM {}{filter}{}", self.from, told.join(" AND "))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.from)
    }
}

#[async_trait]
impl TableProvider for Remote {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let told = |filter: &&Expr| match filters::told(filter) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(told).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let columns = schema.fields().iter().map(|field| {
            let name = quoted(field.name());
            format!("{name}::{} AS {name}", kind(field.data_type()))
        });
        let columns: Vec<String> = columns.collect();
        let mut sql = self.select(&columns.join(", "), filters);
        if let Some(limit) = limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        let (database, label) = (Arc::clone(&self.database), sql.clone());
        let asked = Arc::new(Asked { database, sql, schema: Arc::clone(&schema) });
        let exec = StreamingTableExec::try_new(schema, vec![asked], None, [], false, None)?;
        Ok(Arc::new(Labelled { name: "TimescaleExec", label, source: Arc::new(exec) }))
    }
}

/// The type by which PostgreSQL sends a column.
fn kind(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Float64 => "float8",
        DataType::Int64 => "int8",
        DataType::Boolean => "bool",
        DataType::Timestamp(..) => "timestamptz",
        _ => "text",
    }
}

/// A query for the database.
struct Asked {
    database: Arc<dyn Database>,
    sql: String,
    schema: SchemaRef,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sql)
    }
}

impl PartitionStream for Asked {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (database, sql) = (Arc::clone(&self.database), self.sql.clone());
        let schema = Arc::clone(&self.schema);
        let failed = |reason: String| DataFusionError::External(reason.into());
        let rows = async move {
            let rows = database.read(&sql, schema).await.map_err(failed)?;
            Ok::<_, DataFusionError>(rows.map_err(failed).boxed())
        };
        let rows = futures::stream::once(rows).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}
