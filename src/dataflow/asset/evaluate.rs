//! Runs a plan's expressions over the rows that need it: one column a metric, all assets at once.

use super::plan::Plan;
use super::series::Series;
use crate::expr::Compiled;
use crate::model::{DataType, Quality, Symbol};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder,
};
use arrow::datatypes::{Float64Type, Int64Type};
use std::sync::Arc;

/// A run of rows of one asset whose expressions must be evaluated.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// Index of the asset in the type's state.
    pub asset: usize,
    /// The first row.
    pub start: usize,
    /// One behind the last row; grows where a derived value is held further.
    pub end: usize,
    /// Metrics with a point that came, changed or went, as a mask.
    pub touched: Vec<u64>,
}

/// A failed evaluation that came or went.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Index of the asset in the type's state.
    pub asset: usize,
    /// The derived metric or rule.
    pub source: Arc<str>,
    /// Event time of the row.
    pub time: i64,
    /// What went wrong; `None`: it is well again.
    pub message: Option<Arc<str>>,
}

/// Evaluates derived metrics, inputs first, and then the rules' expressions, into the rows.
pub fn evaluate(
    plan: &Plan,
    spans: &mut [Span],
    series: &mut [Series],
    failures: &mut Vec<Failure>,
) {
    for (index, derived) in plan.derived.iter().enumerate() {
        let results = run(plan, &derived.expr, spans, series);
        let source: Arc<str> = plan.layout.slots[derived.slot].name.as_str().into();
        let mut at = 0;
        for span in spans.iter_mut() {
            let rows = &mut series[span.asset];
            let first = at;
            at += span.end - span.start;
            let (mut changed, mut reach) = (false, span.end);
            for i in span.start..span.end {
                let result = &results[first + i - span.start];
                changed |= put(
                    plan,
                    derived.slot,
                    &derived.trigger,
                    rows,
                    i,
                    result,
                    derived.expr.inputs(),
                );
                let failure = result.as_ref().err();
                report(
                    plan,
                    rows.row_mut(&plan.rows, i),
                    (span.asset, index),
                    &source,
                    failure,
                    failures,
                );
            }
            if span.end < rows.len(&plan.rows) {
                reach = reach.max(rows.hold(&plan.rows, span.end - 1, derived.slot));
            }
            if changed {
                span.touched[derived.slot / 64] |= 1 << (derived.slot % 64);
                span.end = reach;
            }
        }
    }
    for (index, hidden) in plan.hidden.iter().enumerate() {
        let results = run(plan, &hidden.expr, spans, series);
        let mut results = results.into_iter();
        for span in spans.iter() {
            let rows = &mut series[span.asset];
            for i in span.start..span.end {
                let result = results.next().unwrap_or(Ok(None));
                let row = rows.row_mut(&plan.rows, i);
                plan.rows.set_hidden(row, index, result.as_ref().copied().unwrap_or(None));
                let at = (span.asset, plan.derived.len() + index);
                report(plan, row, at, &hidden.source, result.as_ref().err(), failures);
            }
        }
    }
}

/// The result of an expression in one row: a word, nothing, or why it failed.
type Cell = Result<Option<u64>, Arc<str>>;

/// Puts a derived value into row `i`. Returns whether the row's own point changed.
fn put(
    plan: &Plan,
    slot: usize,
    trigger: &[u64],
    rows: &mut Series,
    i: usize,
    result: &Cell,
    inputs: &[usize],
) -> bool {
    let layout = &plan.rows;
    let row = rows.row(layout, i);
    let was = layout.is_fresh(row, slot).then(|| layout.as_of(row, slot));
    let triggered = layout.fresh(row).iter().zip(trigger).any(|(fresh, want)| fresh & want != 0);
    let value = result.as_ref().ok().copied().flatten().filter(|_| triggered);
    let now = value.map(|value| {
        let qualities = inputs.iter().map(|input| layout.quality(row, *input));
        (value, qualities.fold(Quality::GOOD, Quality::worst))
    });
    match now {
        Some((value, quality)) => {
            layout.set_point(rows.row_mut(layout, i), slot, value, quality);
        }
        None => {
            let held = match i {
                0 if rows.base => layout.as_of(row, slot),
                0 => None,
                _ => layout.as_of(rows.row(layout, i - 1), slot),
            };
            layout.set_held(rows.row_mut(layout, i), slot, held);
        }
    }
    was.flatten() != now
}

/// Books a failure that came, or one that went.
fn report(
    plan: &Plan,
    row: &mut [u64],
    (asset, expression): (usize, usize),
    source: &Arc<str>,
    failure: Option<&Arc<str>>,
    failures: &mut Vec<Failure>,
) {
    let was = plan.rows.errors(row) >> expression.min(63) & 1 == 1;
    if was != failure.is_some() {
        plan.rows.set_error(row, expression, failure.is_some());
        failures.push(Failure {
            asset,
            source: Arc::clone(source),
            time: plan.rows.time(row),
            message: failure.cloned(),
        });
    }
}

/// Evaluates over all spans at once; rows that cannot be computed do not spoil the others.
fn run(plan: &Plan, expr: &Compiled, spans: &[Span], series: &[Series]) -> Vec<Cell> {
    let count = spans.iter().map(|span| span.end - span.start).sum();
    let columns: Vec<ArrayRef> =
        expr.inputs().iter().map(|slot| gather(plan, *slot, spans, count, series)).collect();
    let (values, failures) = expr.evaluate_rows(&columns, count);
    let mut cells: Vec<Cell> = words(&values).map(Ok).collect();
    for (row, error) in failures {
        cells[row] = Err(error.to_string().into());
    }
    cells
}

fn gather(plan: &Plan, slot: usize, spans: &[Span], count: usize, series: &[Series]) -> ArrayRef {
    let layout = &plan.rows;
    let each = |push: &mut dyn FnMut(Option<u64>)| {
        for span in spans {
            let rows = &series[span.asset];
            for i in span.start..span.end {
                push(layout.usable(rows.row(layout, i), slot));
            }
        }
    };
    match plan.layout.slots[slot].data_type {
        DataType::Double => {
            let mut column = Float64Builder::with_capacity(count);
            each(&mut |word| column.append_option(word.map(f64::from_bits)));
            Arc::new(column.finish())
        }
        DataType::Integer => {
            let mut column = Int64Builder::with_capacity(count);
            each(&mut |word| column.append_option(word.map(|word| word as i64)));
            Arc::new(column.finish())
        }
        DataType::Bool => {
            let mut column = BooleanBuilder::with_capacity(count);
            each(&mut |word| column.append_option(word.map(|word| word != 0)));
            Arc::new(column.finish())
        }
        DataType::String => {
            let mut column = StringBuilder::with_capacity(count, count * 8);
            each(&mut |word| column.append_option(word.map(|word| Symbol(word as u32).text())));
            Arc::new(column.finish())
        }
    }
}

/// The values of a result as words.
fn words(array: &ArrayRef) -> Box<dyn Iterator<Item = Option<u64>> + '_> {
    use arrow::datatypes::DataType as Arrow;
    match array.data_type() {
        Arrow::Float64 => {
            Box::new(array.as_primitive::<Float64Type>().iter().map(|x| x.map(f64::to_bits)))
        }
        Arrow::Int64 => {
            Box::new(array.as_primitive::<Int64Type>().iter().map(|x| x.map(|x| x as u64)))
        }
        Arrow::Boolean => Box::new(array.as_boolean().iter().map(|x| x.map(u64::from))),
        Arrow::Utf8 => {
            Box::new(array.as_string::<i32>().iter().map(|x| x.map(|x| u64::from(Symbol::of(x).0))))
        }
        _ => Box::new(std::iter::repeat_n(None, array.len())),
    }
}
