//! The time range of a query, from its `WHERE`.

use crate::query::functions::arguments::instant;
use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, BinaryExpr};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, cast, lit};

/// The start and the finish that filters directly on `input` give to `time`: one constant each.
pub(super) fn range(time: &Expr, input: &LogicalPlan) -> Option<(Expr, Expr)> {
    let (mut starts, mut finishes) = (Vec::new(), Vec::new());
    let mut plan = input;
    while let LogicalPlan::Filter(filter) = plan {
        for part in split_conjunction(&filter.predicate) {
            let (start, finish) = bounds(time, part);
            starts.extend(start);
            finishes.extend(finish);
        }
        plan = &filter.input;
    }
    match (starts.as_slice(), finishes.as_slice()) {
        ([start], [finish]) => Some((start.clone(), finish.clone())),
        _ => None,
    }
}

/// The first instant that a condition lets through, and the first that it does not any more.
fn bounds(time: &Expr, condition: &Expr) -> (Option<Expr>, Option<Expr>) {
    let at = |bound: &Expr| cast(bound.clone(), instant());
    let tick = lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, 1_000))));
    let after = |bound: &Expr| at(bound) + tick.clone();
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, bound) = match (is(left, time), is(right, time)) {
                (true, false) => (*op, right),
                (false, true) => match op.swap() {
                    Some(op) => (op, left),
                    None => return (None, None),
                },
                _ => return (None, None),
            };
            match op {
                _ if !constant(bound) => (None, None),
                Operator::GtEq => (Some(at(bound)), None),
                Operator::Gt => (Some(after(bound)), None),
                Operator::Lt => (None, Some(at(bound))),
                Operator::LtEq => (None, Some(after(bound))),
                _ => (None, None),
            }
        }
        Expr::Between(Between { expr, negated: false, low, high })
            if is(expr, time) && constant(low) && constant(high) =>
        {
            (Some(at(low)), Some(after(high)))
        }
        _ => (None, None),
    }
}

fn is(expr: &Expr, time: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => is(&cast.expr, time),
        expr => expr == time,
    }
}

/// Whether an expression is the same for all rows.
pub(super) fn constant(expr: &Expr) -> bool {
    expr.column_refs().is_empty() && !expr.contains_outer()
}
