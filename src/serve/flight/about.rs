//! What there is to ask: catalogs, schemas, tables, and keys, of which there are none.

use super::info;
use super::rows::told;
use crate::query::{Query, Table};
use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::GetCatalogsBuilder;
use arrow_flight::sql::{Command, CommandGetDbSchemas, CommandGetTables};
use std::sync::Arc;
use tonic::Status;

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

/// The answer to a question about what there is.
pub(super) enum About {
    /// Its rows.
    Rows(RecordBatch),
    /// It is not one that is answered here.
    Unknown(&'static str),
}

/// Answers a question about what there is.
pub(super) fn about(query: &Query, command: Command) -> Result<About, Status> {
    let rows = match command {
        Command::CommandGetCatalogs(_) => catalogs(),
        Command::CommandGetDbSchemas(wanted) => schemas(wanted),
        Command::CommandGetTables(wanted) => tables(query, wanted),
        Command::CommandGetTableTypes(_) => table_types(),
        Command::CommandGetPrimaryKeys(_) => Ok(primary_keys()),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Ok(foreign_keys()),
        Command::CommandGetSqlInfo(wanted) => info::sql_info(wanted),
        Command::CommandGetXdbcTypeInfo(wanted) => info::types(wanted),
        Command::CommandStatementSubstraitPlan(_) => return Ok(About::Unknown("Substrait")),
        _ => return Ok(About::Unknown("this command")),
    };
    rows.map(About::Rows).map_err(|error| Status::internal(error.to_string()))
}

type Rows = Result<RecordBatch, FlightError>;

fn catalogs() -> Rows {
    let mut catalogs = GetCatalogsBuilder::new();
    catalogs.append(Table::CATALOG);
    catalogs.build()
}

fn schemas(command: CommandGetDbSchemas) -> Rows {
    let mut schemas = command.into_builder();
    schemas.append(Table::CATALOG, Table::SCHEMA);
    schemas.build()
}

fn tables(query: &Query, command: CommandGetTables) -> Rows {
    let mut tables = command.into_builder();
    for table in query.tables() {
        let kind = if table.is_view { VIEW } else { TABLE };
        let columns = told(&table.columns);
        tables.append(Table::CATALOG, Table::SCHEMA, &table.name, kind, &columns)?;
    }
    tables.build()
}

fn table_types() -> Rows {
    let columns = Schema::new(vec![Field::new("table_type", DataType::Utf8, false)]);
    let types = StringArray::from(vec![TABLE, VIEW]);
    Ok(RecordBatch::try_new(Arc::new(columns), vec![Arc::new(types)])?)
}

fn primary_keys() -> RecordBatch {
    none(&[
        ("catalog_name", DataType::Utf8, true),
        ("db_schema_name", DataType::Utf8, true),
        ("table_name", DataType::Utf8, false),
        ("column_name", DataType::Utf8, false),
        ("key_name", DataType::Utf8, true),
        ("key_sequence", DataType::Int32, false),
    ])
}

/// Those that a table has, those that refer to it, and those between two of them.
fn foreign_keys() -> RecordBatch {
    none(&[
        ("pk_catalog_name", DataType::Utf8, true),
        ("pk_db_schema_name", DataType::Utf8, true),
        ("pk_table_name", DataType::Utf8, false),
        ("pk_column_name", DataType::Utf8, false),
        ("fk_catalog_name", DataType::Utf8, true),
        ("fk_db_schema_name", DataType::Utf8, true),
        ("fk_table_name", DataType::Utf8, false),
        ("fk_column_name", DataType::Utf8, false),
        ("key_sequence", DataType::Int32, false),
        ("fk_key_name", DataType::Utf8, true),
        ("pk_key_name", DataType::Utf8, true),
        ("update_rule", DataType::UInt8, false),
        ("delete_rule", DataType::UInt8, false),
    ])
}

/// No rows of these columns.
fn none(columns: &[(&str, DataType, bool)]) -> RecordBatch {
    let field = |(name, kind, nullable): &(&str, DataType, bool)| {
        Field::new(*name, kind.clone(), *nullable)
    };
    let columns: Vec<Field> = columns.iter().map(field).collect();
    RecordBatch::new_empty(Arc::new(Schema::new(columns)))
}
