//! Names of types that PostgreSQL has and DataFusion has not.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast;
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use std::sync::Arc;

/// Knows the types of the catalog, and those that are texts here.
#[derive(Debug, Default)]
pub(super) struct Types {
    of_catalog: PgOidTypePlanner,
}

impl TypePlanner for Types {
    fn plan_type_field(&self, kind: &ast::DataType) -> Result<Option<FieldRef>> {
        match kind {
            ast::DataType::JSON | ast::DataType::JSONB | ast::DataType::Uuid => {
                Ok(Some(Arc::new(Field::new("", DataType::Utf8, true))))
            }
            other => self.of_catalog.plan_type_field(other),
        }
    }
}
