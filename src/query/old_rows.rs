//! A view as a table: the rows in memory, and those in files.

use super::error::Error;
use super::files::Files;
use super::part::PartTable;
use super::source::Archived;
use crate::historian::old_rows_schema;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, col};
use std::sync::Arc;

const BEFORE: &str = "before_epoch";

/// A table over both: a plan that is planned together with the query, so that filters, columns and
/// limits go down to the files.
pub(super) fn table(
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    archived: Archived,
) -> Result<ViewTable, Error> {
    let plan = || -> Result<LogicalPlan> {
        let hot = MemTable::try_new(Arc::clone(&schema), vec![batches])?;
        let hot = LogicalPlanBuilder::scan("hot", provider_as_source(Arc::new(hot)), None)?;
        let files = Files::of_view(archived.files, old_rows_schema(&schema), archived.time);
        let files = provider_as_source(Arc::new(PartTable(files)));
        let mut plan = LogicalPlanBuilder::scan("archive", files, None)?;
        for but in &archived.but {
            plan = without(plan.build()?, but)?;
        }
        let columns = schema.fields().iter().map(|field| col(format!("archive.{}", field.name())));
        plan.project(columns)?.union(hot.build()?)?.build()
    };
    let plan = plan().map_err(|error| Error::from_datafusion(&error))?;
    Ok(ViewTable::new(plan, None))
}

/// Leaves out what does not count any more. The short list is built into a hash table and the files
/// stream past it.
fn without(files: LogicalPlan, but: &RecordBatch) -> Result<LogicalPlanBuilder> {
    let table = MemTable::try_new(but.schema(), vec![vec![but.clone()]])?;
    let list = LogicalPlanBuilder::scan("but", provider_as_source(Arc::new(table)), None)?;
    let columns = but.schema();
    let names = columns.fields().iter().filter(|field| field.name() != BEFORE);
    let same = names.map(|field| -> Expr {
        let (listed, read) = (format!("but.{}", field.name()), format!("archive.{}", field.name()));
        let same = col(&listed).eq(col(read));
        match field.is_nullable() {
            true => same.or(col(listed).is_null()),
            false => same,
        }
    });
    let older = col("archive.epoch").lt(col(format!("but.{BEFORE}")));
    let on: Vec<Expr> = same.chain([older]).collect();
    list.join_on(files, JoinType::RightAnti, on)
}
