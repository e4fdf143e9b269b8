//! Runs a plan's expressions over the rows that need it: one column a metric, all assets at once.

use super::columns::{Columns, Results};
use super::plan::{DerivedPlan, Input, Plan};
use super::row::RowLayout;
use super::series::Series;
use crate::model::{Quality, mask_words};
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
    /// Metrics with a point that came, changed or went, as a mask; anything while the row is staged.
    pub touched: Vec<u64>,
    /// The only row, when it is not yet behind the newest one of the series: its number among the
    /// staged rows.
    pub staged: Option<usize>,
    /// Whether that row has points of good quality of all metrics that were looked at so far.
    pub is_plain: bool,
}

/// The rows of all spans. Staged ones lie side by side, and so most rows of an epoch do: those of
/// the series are far from each other.
pub struct SpanRows<'a> {
    pub series: &'a mut [Series],
    pub staged: &'a mut [u64],
}

impl SpanRows<'_> {
    /// Row `i` of a span's asset.
    #[inline]
    pub fn row(&self, layout: &RowLayout, span: &Span, i: usize) -> &[u64] {
        match span.staged {
            Some(at) => &self.staged[at * layout.stride..(at + 1) * layout.stride],
            None => self.series[span.asset].row(layout, i),
        }
    }

    #[inline]
    fn row_mut(&mut self, layout: &RowLayout, span: &Span, i: usize) -> &mut [u64] {
        match span.staged {
            Some(at) => &mut self.staged[at * layout.stride..(at + 1) * layout.stride],
            None => self.series[span.asset].row_mut(layout, i),
        }
    }

    /// What a metric without a point in row `i` holds from the row before.
    fn held(
        &self,
        layout: &RowLayout,
        span: &Span,
        i: usize,
        slot: usize,
    ) -> Option<(u64, Quality)> {
        let series = &self.series[span.asset];
        match i {
            0 if series.base => layout.as_of(series.row(layout, 0), slot),
            0 => None,
            _ => layout.as_of(series.row(layout, i - 1), slot),
        }
    }
}

/// The rules' conditions of all rows, as they stand in a row: which are known, and which are true.
struct Conditions {
    /// Words a row of each.
    width: usize,
    known: Vec<u64>,
    are_true: Vec<u64>,
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
pub fn evaluate(plan: &Plan, spans: &mut [Span], rows: &mut SpanRows, failures: &mut Vec<Failure>) {
    if plan.derived.is_empty() && plan.hidden.is_empty() {
        return;
    }
    let mut columns = Columns::gather(plan, &plan.read, spans, rows);
    for (index, derived) in plan.derived.iter().enumerate() {
        if derive(plan, (index, derived), &mut columns, spans, rows, failures) {
            // Spans became longer: late values are held by rows that were not looked at.
            let known = plan.derived[..=index].iter().map(|derived| derived.slot);
            let slots: Vec<usize> = plan.read.iter().copied().chain(known).collect();
            columns = Columns::gather(plan, &slots, spans, rows);
        }
    }
    let results: Vec<Results> =
        plan.hidden.iter().map(|hidden| columns.evaluate(&hidden.expr)).collect();
    let conditions = Conditions::of(plan, &results, columns.rows());
    let mut failed: Vec<usize> = results.iter().flat_map(Results::failed).collect();
    failed.sort_unstable();
    failed.dedup();
    let (mut failed, mut at) = (failed.into_iter().peekable(), 0);
    let mut numbers = Vec::new();
    for (hidden, results) in plan.hidden.iter().zip(&results) {
        if let Input::Number(index) = hidden.to {
            numbers.push((index, results));
        }
    }
    for span in spans.iter() {
        for i in span.start..span.end {
            let row = rows.row_mut(&plan.rows, span, i);
            conditions.put(plan, row, at);
            for (index, results) in &numbers {
                plan.rows.set_number(row, *index, results.value(at));
            }
            if failed.next_if_eq(&at).is_some() || plan.rows.errors(row) != 0 {
                for (index, (hidden, results)) in plan.hidden.iter().zip(&results).enumerate() {
                    let place = (span.asset, plan.derived.len() + index);
                    report(plan, row, place, &hidden.source, results.failure(at), failures);
                }
            }
            at += 1;
        }
    }
}

impl Conditions {
    fn of(plan: &Plan, results: &[Results], rows: usize) -> Self {
        let width = mask_words(plan.rows.conditions);
        let (mut known, mut are_true) = (vec![0; rows * width], vec![0; rows * width]);
        for (hidden, results) in plan.hidden.iter().zip(results) {
            if let Input::Condition(index) = hidden.to {
                results.mark(index, width, &mut known, &mut are_true);
            }
        }
        Self { width, known, are_true }
    }

    /// Puts those of row `at` of all rows into the row.
    #[inline]
    fn put(&self, plan: &Plan, row: &mut [u64], at: usize) {
        for word in 0..self.width {
            let from = at * self.width + word;
            plan.rows.set_conditions(row, word, (self.known[from], self.are_true[from]));
        }
    }
}

/// Evaluates a derived metric. Returns whether a span grew.
fn derive(
    plan: &Plan,
    (index, derived): (usize, &DerivedPlan),
    columns: &mut Columns,
    spans: &mut [Span],
    rows: &mut SpanRows,
    failures: &mut Vec<Failure>,
) -> bool {
    let layout = &plan.rows;
    let results = columns.evaluate(&derived.expr);
    let (mut words, mut missing) = (Vec::with_capacity(columns.rows()), Vec::new());
    let mut grew = false;
    // Whether points of the measured metrics alone cause a value.
    let triggers = plan.measured_mask().iter().zip(&derived.trigger).any(|(a, b)| a & b != 0);
    for span in spans {
        let mut changed = false;
        for i in span.start..span.end {
            let at = words.len();
            if let (true, Some(value), true) = (span.is_plain, results.value(at), triggers) {
                let row = rows.row_mut(layout, span, i);
                layout.set_good_point(row, derived.slot, value);
                words.push(value);
                changed = true;
                continue;
            }
            span.is_plain = false;
            changed |= put(plan, derived, rows, (span, i), results.value(at));
            let row = rows.row_mut(layout, span, i);
            let source = &plan.names[derived.slot];
            report(plan, row, (span.asset, index), source, results.failure(at), failures);
            let usable = layout.usable(row, derived.slot);
            if usable.is_none() {
                missing.push(words.len());
            }
            words.push(usable.unwrap_or(0));
        }
        // Nobody holds anything of a row that is the newest.
        if span.staged.is_none() && span.end < rows.series[span.asset].len() {
            let series = &mut rows.series[span.asset];
            let reach = series.hold(layout, span.end - 1, derived.slot);
            if changed && reach > span.end {
                span.end = reach;
                grew = true;
            }
        }
        if changed && span.staged.is_none() {
            span.touched[derived.slot / 64] |= 1 << (derived.slot % 64);
        }
    }
    columns.put(plan, derived.slot, words, &missing);
    grew
}

/// Puts a derived value into row `i`. Returns whether the row's own point changed.
#[inline]
fn put(
    plan: &Plan,
    derived: &DerivedPlan,
    rows: &mut SpanRows,
    (span, i): (&Span, usize),
    value: Option<u64>,
) -> bool {
    let (layout, slot) = (&plan.rows, derived.slot);
    let row = rows.row_mut(layout, span, i);
    let was = layout.is_fresh(row, slot).then(|| layout.as_of(row, slot)).flatten();
    let fresh = layout.fresh(row).iter().zip(&derived.trigger);
    let triggered = fresh.into_iter().any(|(fresh, wanted)| fresh & wanted != 0);
    let now = value.filter(|_| triggered).map(|value| {
        let inputs = derived.expr.inputs().iter();
        let qualities = inputs.map(|input| layout.quality(row, *input));
        (value, qualities.fold(Quality::GOOD, Quality::worst))
    });
    match now {
        Some((value, quality)) => layout.set_point(row, slot, value, quality),
        None => {
            let held = rows.held(layout, span, i, slot);
            layout.set_held(rows.row_mut(layout, span, i), slot, held);
        }
    }
    was != now
}

/// Books a failure that came, or one that went.
#[inline]
fn report(
    plan: &Plan,
    row: &mut [u64],
    (asset, expression): (usize, usize),
    source: &Arc<str>,
    failure: Option<Arc<str>>,
    failures: &mut Vec<Failure>,
) {
    let was = plan.rows.errors(row) >> expression.min(63) & 1 == 1;
    if was != failure.is_some() {
        plan.rows.set_error(row, expression, failure.is_some());
        failures.push(Failure {
            asset,
            source: Arc::clone(source),
            time: plan.rows.time(row),
            message: failure,
        });
    }
}
