//! Takes the calls out of the plan.

use super::calls::{Gapfill, InGaps, USAGE};
use super::node::GapFill;
use super::range::{constant, range};
use crate::query::functions::time_bucket::TimeBucket;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{Aggregate, Expr, Extension, LogicalPlan, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;
use std::sync::Arc;

/// The rule of the analyzer. Types must have been coerced before.
#[derive(Debug)]
pub(in crate::query::functions) struct FillGaps;

impl AnalyzerRule for FillGaps {
    fn name(&self) -> &str {
        "fill_gaps"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Aggregate(aggregate) => filled(aggregate),
            plan => with_fills(plan),
        })?;
        Ok(plan.data)
    }
}

/// An aggregate that groups by `time_bucket` instead, with its gaps filled.
fn filled(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut calls = (0..aggregate.group_expr.len())
        .filter(|at| Gapfill::arguments(&aggregate.group_expr[*at]).is_some());
    let Some(bucket) = calls.next() else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    if calls.next().is_some() {
        return plan_err!("one time_bucket_gapfill is enough for a GROUP BY");
    }
    let keys = aggregate.group_expr.len();
    let group = &aggregate.group_expr[bucket];
    let (width, time, others) = match Gapfill::arguments(group) {
        Some([width, time, others @ ..]) => (width, time, others),
        _ => return plan_err!("write {USAGE}"),
    };
    let (start, finish) = match others {
        [start, finish, ..] => (start.clone(), finish.clone()),
        _ => range(time, &aggregate.input).ok_or_else(|| {
            plan_datafusion_err!(
                "the range to fill is not known: write {USAGE}, \
                 or WHERE time >= ... AND time < ... with one constant each"
            )
        })?,
    };
    let zone = others.get(2);
    let mut constants = vec![width.clone(), start, finish];
    constants.extend(zone.cloned());
    if !constants.iter().all(constant) {
        return plan_err!("width, start, finish and timezone are constants: write {USAGE}");
    }
    let mut arguments = vec![width.clone(), time.clone()];
    arguments.extend(zone.cloned());
    let call = ScalarUDF::new_from_impl(TimeBucket::new()).call(arguments);
    let name = group.schema_name().to_string();
    let mut groups = aggregate.group_expr.clone();
    groups[bucket] = call.alias(name);
    let plain = Aggregate::try_new(aggregate.input, groups, aggregate.aggr_expr)?;
    let node = GapFill::new(LogicalPlan::Aggregate(plain), bucket, keys, constants)?;
    Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(node) })))
}

/// A plan whose `locf` and `interpolate` are columns of the node that fills gaps below it.
fn with_fills(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut calls = Vec::new();
    for expr in plan.expressions() {
        expr.apply(|expr| {
            if InGaps::of(expr).is_some() && !calls.contains(expr) {
                calls.push(expr.clone());
            }
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })?;
    }
    let [input] = plan.inputs()[..] else { return Ok(Transformed::no(plan)) };
    if calls.is_empty() {
        return Ok(Transformed::no(plan));
    }
    let Some((input, columns)) = attach(input, &calls)? else {
        return Ok(Transformed::no(plan));
    };
    let replaced = |expr: Expr| -> Result<Expr> {
        let name = expr.schema_name().to_string();
        let expr = expr.transform_down(|expr| {
            Ok(match calls.iter().position(|call| *call == expr) {
                Some(at) => Transformed::yes(columns[at].clone()),
                None => Transformed::no(expr),
            })
        })?;
        match expr.transformed && matches!(plan, LogicalPlan::Projection(_)) {
            true => expr.data.alias_if_changed(name),
            false => Ok(expr.data),
        }
    };
    let exprs = plan.expressions().into_iter().map(replaced).collect::<Result<Vec<Expr>>>()?;
    Ok(Transformed::yes(plan.with_new_exprs(exprs, vec![input])?))
}

/// The plan with these calls as columns, if gaps are filled in it; only filters may stand above.
fn attach(plan: &LogicalPlan, calls: &[Expr]) -> Result<Option<(LogicalPlan, Vec<Expr>)>> {
    match plan {
        LogicalPlan::Extension(extension) => {
            let Some(node) = extension.node.as_any().downcast_ref::<GapFill>() else {
                return Ok(None);
            };
            let (node, columns) = node.with_fills(calls)?;
            let node = LogicalPlan::Extension(Extension { node: Arc::new(node) });
            Ok(Some((node, columns)))
        }
        LogicalPlan::Filter(filter) => match attach(&filter.input, calls)? {
            Some((input, columns)) => {
                let plan = plan.with_new_exprs(vec![filter.predicate.clone()], vec![input])?;
                Ok(Some((plan, columns)))
            }
            None => Ok(None),
        },
        _ => Ok(None),
    }
}
