//! Has the database aggregate what only it knows: the groups come over the line, not the rows.

use super::filters::{column, told};
use super::table::Remote;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, TableScan, col,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use std::sync::Arc;

/// An aggregate right over a table of the database becomes a query of the database, when it is one
/// of counts, sums, means, least and greatest values of columns, by columns or `date_trunc` of them.
///
/// Functions are known by name: no session has others of these names.
#[derive(Debug)]
pub struct PushAggregates;

impl OptimizerRule for PushAggregates {
    fn name(&self) -> &str {
        "push_aggregates_to_database"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        Ok(match pushed(aggregate)? {
            Some(pushed) => Transformed::yes(pushed),
            None => Transformed::no(plan),
        })
    }
}

fn pushed(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::TableScan(scan) = &*aggregate.input else { return Ok(None) };
    let Ok(provider) = source_as_provider(&scan.source) else { return Ok(None) };
    let Some(table) = provider.downcast_ref::<Remote>() else { return Ok(None) };
    if scan.fetch.is_some() || scan.filters.iter().any(|filter| told(filter).is_none()) {
        return Ok(None);
    }
    let groups: Option<Vec<String>> = aggregate.group_expr.iter().map(group).collect();
    let values: Option<Vec<String>> =
        aggregate.aggr_expr.iter().map(|value| self::value(value, scan)).collect();
    let (Some(groups), Some(values)) = (groups, values) else { return Ok(None) };
    // Columns come by number: their names here may be anything.
    let all = groups.iter().chain(&values).enumerate();
    let columns: Vec<String> = all.map(|(i, column)| format!("{column} AS c{i}")).collect();
    let mut sql = table.select(&columns.join(", "), &scan.filters);
    if !groups.is_empty() {
        let places: Vec<String> = (1..=groups.len()).map(|place| place.to_string()).collect();
        sql.push_str(&format!(" GROUP BY {}", places.join(", ")));
    }
    let fields = aggregate.schema.fields().iter().enumerate();
    let fields = fields.map(|(i, field)| field.as_ref().clone().with_name(format!("c{i}")));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let query = provider_as_source(Arc::new(table.query(&sql, schema)));
    let shown = aggregate.schema.iter().enumerate().map(|(i, (qualifier, field))| {
        col(format!("q.c{i}")).alias_qualified(qualifier.cloned(), field.name())
    });
    LogicalPlanBuilder::scan("q", query, None)?.project(shown)?.build().map(Some)
}

/// A group: a column, or the beginning of a second, minute, hour, day, week, month, quarter or year.
fn group(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Alias(alias) => group(&alias.expr),
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "date_trunc" => {
            let [Expr::Literal(ScalarValue::Utf8(Some(part)), _), time] = args.as_slice() else {
                return None;
            };
            let known = ["second", "minute", "hour", "day", "week", "month", "quarter", "year"];
            let part = known.iter().find(|known| part.eq_ignore_ascii_case(known))?;
            Some(format!("date_trunc('{part}', {})", column(time)?))
        }
        other => column(other),
    }
}

/// A value over a group, of columns of which both sides make the same of.
fn value(expr: &Expr, scan: &TableScan) -> Option<String> {
    let expr = match expr {
        Expr::Alias(alias) => &alias.expr,
        other => other,
    };
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else { return None };
    if params.distinct || params.filter.is_some() || !params.order_by.is_empty() {
        return None;
    }
    let [of] = params.args.as_slice() else { return None };
    if func.name() == "count" {
        return match of {
            Expr::Literal(value, _) if !value.is_null() => Some("count(*)".to_owned()),
            of => Some(format!("count({})", column(of)?)),
        };
    }
    let of_type = of.get_type(&scan.projected_schema).ok()?;
    let is_float = of_type == DataType::Float64;
    let is_ordered = is_float || matches!(of_type, DataType::Int64 | DataType::Timestamp(..));
    let name = func.name();
    let is_same = match name {
        "sum" | "avg" => is_float,
        "min" | "max" => is_ordered,
        _ => false,
    };
    is_same.then(|| Some(format!("{name}({})", column(of)?)))?
}
