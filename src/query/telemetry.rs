//! The table `telemetry`: files without replaced points, and hot points.

use super::error::Error;
use super::files::Files;
use super::hot::Hot;
use super::part::PartTable;
use crate::historian::Telemetry;
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::logical_expr::{JoinType, LogicalPlan, LogicalPlanBuilder, col};
use std::sync::Arc;

/// The name of the table.
pub(super) const NAME: &str = "telemetry";

/// A table over the snapshot: a plan that is planned together with the query, so that filters,
/// columns and limits go down to files and hot points.
pub(super) fn table(telemetry: &Telemetry) -> Result<ViewTable, Error> {
    let replaced = telemetry.replaced().map_err(Error::failed)?;
    let plan = || -> datafusion::error::Result<LogicalPlan> {
        let hot = provider_as_source(Arc::new(PartTable(Hot::new(telemetry.clone()))));
        let hot = LogicalPlanBuilder::scan("hot", hot, None)?;
        if telemetry.files().is_empty() {
            return hot.build();
        }
        let files = provider_as_source(Arc::new(PartTable(Files::of(telemetry))));
        let mut files = LogicalPlanBuilder::scan("archive", files, None)?;
        if let Some(replaced) = replaced {
            let table = MemTable::try_new(replaced.schema(), vec![vec![replaced]])?;
            let replaced =
                LogicalPlanBuilder::scan("replaced", provider_as_source(Arc::new(table)), None)?;
            // The short list is built into a hash table and the files stream past it.
            let same = ["asset", "metric", "event_time"]
                .map(|name| col(format!("replaced.{name}")).eq(col(format!("archive.{name}"))));
            let older = col("archive.epoch").lt(col("replaced.before_epoch"));
            let on = same.into_iter().chain([older]);
            files = replaced.join_on(files.build()?, JoinType::RightAnti, on)?;
        }
        files.union(hot.build()?)?.build()
    };
    let plan = plan().map_err(|error| Error::from_datafusion(&error))?;
    Ok(ViewTable::new(plan, None))
}
