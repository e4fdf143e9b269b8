//! A table for each asset type: a row for each event time of an asset, a column for each metric.

use super::error::Error;
use super::source::{TypeShape, WideColumn};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{
    ExprFunctionExt, JoinType, LogicalPlan, LogicalPlanBuilder, col, ident, lit,
};
use std::sync::Arc;

/// The view that says of which type an asset is.
pub(super) const ASSETS: &str = "assets";
const EVENT_TIME: &str = "event_time";
const ASSET: &str = "asset";

/// The columns: `event_time`, `asset`, and the metrics that are measured, by name. A metric is null
/// where it has no point at that time.
pub(super) fn schema(shape: &TypeShape) -> SchemaRef {
    let time = crate::historian::schema();
    let mut fields = vec![time.field(0).clone(), time.field(1).clone()];
    fields.extend(shape.columns.iter().map(|(name, column)| {
        let data_type = match column {
            WideColumn::Number => DataType::Float64,
            WideColumn::Bool => DataType::Boolean,
            WideColumn::Text => DataType::Utf8,
        };
        Field::new(name, data_type, true)
    }));
    Arc::new(Schema::new(fields))
}

/// The table of a type over telemetry. `assets` is the view `assets`.
pub(super) fn table(
    shape: &TypeShape,
    telemetry: Arc<dyn TableProvider>,
    assets: Arc<dyn TableProvider>,
) -> Result<ViewTable, Error> {
    let plan = || -> Result<LogicalPlan> {
        let assets = LogicalPlanBuilder::scan(ASSETS, provider_as_source(assets), None)?
            .filter(col("assets.asset_type").eq(lit(shape.key.as_str())))?
            .project([col("assets.key")])?
            .build()?;
        let metrics = shape.columns.iter().map(|(name, _)| lit(name.as_str())).collect();
        let points = LogicalPlanBuilder::scan("telemetry", provider_as_source(telemetry), None)?
            .filter(col("telemetry.metric").in_list(metrics, false))?
            .join_on(assets, JoinType::LeftSemi, [col("telemetry.asset").eq(col("assets.key"))])?;
        // There is one point of a metric at a time, so that its greatest value is its value.
        let values = shape.columns.iter().map(|(name, column)| {
            let value = match column {
                WideColumn::Text => max(col("telemetry.text")),
                WideColumn::Number | WideColumn::Bool => max(col("telemetry.value")),
            };
            let own = col("telemetry.metric").eq(lit(name.as_str()));
            Ok(value.filter(own).build()?.alias(name))
        });
        let keys = [col("telemetry.event_time"), col("telemetry.asset")];
        let values = values.collect::<Result<Vec<_>>>()?;
        let shown = shape.columns.iter().map(|(name, column)| match column {
            WideColumn::Bool => ident(name).eq(lit(1.0)).alias(name),
            WideColumn::Number | WideColumn::Text => ident(name),
        });
        let keys_shown = [col(EVENT_TIME), col(ASSET)];
        points.aggregate(keys, values)?.project(keys_shown.into_iter().chain(shown))?.build()
    };
    let plan = plan().map_err(|error| Error::from_datafusion(&error))?;
    Ok(ViewTable::new(plan, None))
}
