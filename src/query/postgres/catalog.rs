//! `pg_catalog` and `information_schema`: tables that tell of tables.

use super::fit::EMPTY;
use crate::query::error::Error;
use crate::query::statement::{CATALOG, SCHEMA};
use crate::query::tables::Tables;
use crate::query::telemetry;
use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, MemorySchemaProvider, SchemaProvider};
use datafusion::common::{Result as Planned, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{TableProvider, TableType, ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast, lit};
use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::{PgCatalogSchemaProvider, PgCatalogStaticTables};
use std::fmt;
use std::sync::Arc;

/// The catalog of all sessions: a table keeps its number between two questions.
pub(super) struct Catalog {
    provider: Arc<Provider>,
    info: Info,
}

impl Catalog {
    pub fn new(tables: &Tables) -> Result<Self, Error> {
        let info = Info { tables: Arc::new(tables.clone()) };
        let failed = |error| Error::from_datafusion(&error);
        let fixed = Arc::new(PgCatalogStaticTables::try_new().map_err(failed)?);
        let provider = PgCatalogSchemaProvider::try_new(info.clone(), fixed, EmptyContextProvider);
        Ok(Self { provider: Arc::new(provider.map_err(failed)?), info })
    }

    /// Shows the catalog in a session.
    pub fn register(&self, context: &SessionContext) -> Result<(), Error> {
        let failed = |error| Error::from_datafusion(&error);
        let Some(catalog) = context.catalog(CATALOG) else {
            return Err(Error::failed("a session without its catalog"));
        };
        let whole = Whole { provider: Arc::clone(&self.provider) };
        catalog.register_schema("pg_catalog", Arc::new(whole)).map_err(failed)?;
        let about = self.about_tables().map_err(failed)?;
        catalog.register_schema("information_schema", about).map_err(failed)?;
        Ok(())
    }

    /// `information_schema`, with the types that PostgreSQL knows.
    fn about_tables(&self) -> Planned<Arc<dyn SchemaProvider>> {
        let tables: Vec<_> = self.info.tables.known().columns().collect();
        let text = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
        let same = |value: &str, times: usize| text(vec![value.to_owned(); times]);
        let schema = MemorySchemaProvider::new();
        let add = |name: &str, columns: Vec<(&str, ArrayRef)>| {
            let fields: Vec<Field> = columns
                .iter()
                .map(|(name, values)| Field::new(*name, values.data_type().clone(), true))
                .collect();
            let fields = Arc::new(Schema::new(fields));
            let values = columns.into_iter().map(|(_, values)| values).collect();
            let batch = RecordBatch::try_new(Arc::clone(&fields), values)?;
            let table = MemTable::try_new(fields, vec![vec![batch]])?;
            schema.register_table(name.into(), Arc::new(table)).map(|_| ())
        };
        let count = tables.len();
        let names = || text(tables.iter().map(|(name, _)| name.clone()).collect());
        let kinds = tables.iter().map(|(name, _)| match kind(name) {
            TableType::View => "VIEW".to_owned(),
            _ => "BASE TABLE".to_owned(),
        });
        add(
            "tables",
            vec![
                ("table_catalog", same(CATALOG, count)),
                ("table_schema", same(SCHEMA, count)),
                ("table_name", names()),
                ("table_type", text(kinds.collect())),
                ("is_insertable_into", same("NO", count)),
            ],
        )?;
        let views: Vec<String> = tables
            .iter()
            .filter(|(name, _)| kind(name) == TableType::View)
            .map(|(name, _)| name.clone())
            .collect();
        add(
            "views",
            vec![
                ("table_catalog", same(CATALOG, views.len())),
                ("table_schema", same(SCHEMA, views.len())),
                ("view_definition", same("", views.len())),
                ("table_name", text(views)),
            ],
        )?;
        let schemas = ["public", "pg_catalog", "information_schema"].map(str::to_owned);
        add(
            "schemata",
            vec![
                ("catalog_name", same(CATALOG, schemas.len())),
                ("schema_name", text(schemas.to_vec())),
                ("schema_owner", same("postgres", 3)),
            ],
        )?;
        let all: Vec<(&str, usize, &Field)> = tables
            .iter()
            .flat_map(|(table, schema)| {
                schema
                    .fields()
                    .iter()
                    .enumerate()
                    .map(move |(at, field)| (table.as_str(), at, field.as_ref()))
            })
            .collect();
        let each = |value: &dyn Fn(&Field) -> String| {
            text(all.iter().map(|(_, _, field)| value(field)).collect())
        };
        let places = all.iter().map(|(_, at, _)| i32::try_from(at + 1).unwrap_or(i32::MAX));
        add(
            "columns",
            vec![
                ("table_catalog", same(CATALOG, all.len())),
                ("table_schema", same(SCHEMA, all.len())),
                ("table_name", text(all.iter().map(|(table, ..)| (*table).to_owned()).collect())),
                ("column_name", each(&|field| field.name().clone())),
                ("ordinal_position", Arc::new(Int32Array::from_iter_values(places))),
                ("column_default", Arc::new(StringArray::new_null(all.len()))),
                (
                    "is_nullable",
                    each(&|field| if field.is_nullable() { "YES" } else { "NO" }.into()),
                ),
                ("data_type", each(&|field| type_name(field.data_type()).0.into())),
                ("udt_schema", same("pg_catalog", all.len())),
                ("udt_name", each(&|field| type_name(field.data_type()).1.into())),
                ("is_updatable", same("NO", all.len())),
            ],
        )?;
        Ok(Arc::new(schema))
    }
}

/// Views change by themselves; `telemetry` is what came in.
fn kind(table: &str) -> TableType {
    match table {
        telemetry::NAME => TableType::Base,
        _ => TableType::View,
    }
}

/// What PostgreSQL calls the type of a column, in full and in short.
fn type_name(data_type: &DataType) -> (&'static str, &'static str) {
    match data_type {
        DataType::Boolean => ("boolean", "bool"),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => ("smallint", "int2"),
        DataType::Int32 | DataType::UInt16 => ("integer", "int4"),
        DataType::Int64 | DataType::UInt32 => ("bigint", "int8"),
        DataType::UInt64 | DataType::Decimal128(..) => ("numeric", "numeric"),
        DataType::Float32 => ("real", "float4"),
        DataType::Float64 => ("double precision", "float8"),
        DataType::Timestamp(_, Some(_)) => ("timestamp with time zone", "timestamptz"),
        DataType::Timestamp(_, None) => ("timestamp without time zone", "timestamp"),
        DataType::Date32 | DataType::Date64 => ("date", "date"),
        DataType::Dictionary(_, values) => type_name(values),
        _ => ("text", "text"),
    }
}

/// `pg_catalog` with the columns that clients ask for besides.
#[derive(Debug)]
struct Whole {
    provider: Arc<Provider>,
}

type Provider = PgCatalogSchemaProvider<Info, EmptyContextProvider>;

#[async_trait]
impl SchemaProvider for Whole {
    fn table_names(&self) -> Vec<String> {
        self.provider.table_names()
    }

    async fn table(&self, name: &str) -> Planned<Option<Arc<dyn TableProvider>>> {
        let Some(table) = self.provider.table(name).await? else { return Ok(None) };
        if EMPTY.contains(&name) {
            return Ok(Some(Arc::new(EmptyTable::new(with_arrays(&table.schema())))));
        }
        if name != "pg_class" {
            return Ok(Some(table));
        }
        let scan = LogicalPlanBuilder::scan(name, provider_as_source(table), None)?;
        let texts = DataType::new_list(DataType::Utf8, true);
        let none = |name: &str| cast(lit(ScalarValue::Null), texts.clone()).alias(name);
        let mut columns: Vec<Expr> =
            scan.schema().columns().into_iter().map(Expr::Column).collect();
        columns.extend([none("reloptions"), none("relacl")]);
        Ok(Some(Arc::new(ViewTable::new(scan.project(columns)?.build()?, None))))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.provider.table_exist(name)
    }
}

/// The same columns; those that are lists of numbers in PostgreSQL are lists.
fn with_arrays(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.name().as_str() {
        "conkey" | "confkey" | "indkey" | "indclass" | "indoption" | "indcollation" => Arc::new(
            Field::new_list(field.name(), Field::new_list_field(DataType::Int32, true), true),
        ),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What the catalog is made of.
#[derive(Clone)]
struct Info {
    tables: Arc<Tables>,
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Info")
    }
}

#[async_trait]
impl CatalogInfo for Info {
    async fn catalog_names(&self) -> Planned<Vec<String>> {
        Ok(vec![CATALOG.into()])
    }

    async fn schema_names(&self, _catalog: &str) -> Planned<Option<Vec<String>>> {
        Ok(Some(vec![SCHEMA.into(), "pg_catalog".into(), "information_schema".into()]))
    }

    async fn table_names(&self, _catalog: &str, schema: &str) -> Planned<Option<Vec<String>>> {
        let names = self.tables.known();
        let names = names.columns().map(|(name, _)| name);
        Ok(Some(if schema == SCHEMA { names.collect() } else { Vec::new() }))
    }

    async fn table_schema(
        &self,
        _catalog: &str,
        schema: &str,
        table: &str,
    ) -> Planned<Option<SchemaRef>> {
        let known = self.tables.known();
        let found = known.columns().find(|(name, _)| name == table);
        Ok(found.filter(|_| schema == SCHEMA).map(|(_, columns)| columns))
    }

    async fn table_type(
        &self,
        _catalog: &str,
        _schema: &str,
        table: &str,
    ) -> Planned<Option<TableType>> {
        Ok(Some(kind(table)))
    }
}
