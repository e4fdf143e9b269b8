//! Plans over `telemetry`: the points of one series, and which series there are.

use super::point::{COLUMNS, Edges, Nearest, Point, Usable, points};
use super::request::Source;
use super::rows::Series;
use crate::query::telemetry::NAME;
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, col, ident, lit};
use datafusion::prelude::SessionContext;

const HOUR: i64 = 3_600_000_000;
/// How far from a time its neighbours are looked for, before they are looked for everywhere.
const LOOKS: [i64; 2] = [HOUR, 30 * 24 * HOUR];

/// An instant as a literal.
pub(super) fn at(time: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(time), Some("UTC".into())))
}

/// From a time to before another; `i64::MIN` and `i64::MAX` are no bounds.
pub(super) fn within(from: i64, to: i64) -> Vec<Expr> {
    let from = (from > i64::MIN).then(|| col("event_time").gt_eq(at(from)));
    let to = (to < i64::MAX).then(|| col("event_time").lt(at(to)));
    from.into_iter().chain(to).collect()
}

/// Telemetry that all of these let through.
pub(super) async fn filtered(context: &SessionContext, filters: Vec<Expr>) -> Result<DataFrame> {
    let table = context.table(NAME).await?;
    match filters.into_iter().reduce(Expr::and) {
        Some(filter) => table.filter(filter),
        None => Ok(table),
    }
}

/// The points of one series.
pub(super) struct OfSeries<'a> {
    pub context: &'a SessionContext,
    pub source: &'a Source,
    pub series: &'a Series,
    pub usable: Usable,
}

impl OfSeries<'_> {
    async fn points(&self, mut filters: Vec<Expr>) -> Result<DataFrame> {
        filters.push(col("asset").eq(lit(self.series.asset.as_str())));
        filters.push(col("metric").eq(lit(self.series.metric.as_str())));
        if let Source::Device { key, .. } = self.source {
            filters.push(col("device").eq(lit(key.as_str())));
        }
        filtered(self.context, filters).await?.select(COLUMNS.map(ident))
    }

    /// Those from a time to before another by their times, the first or the last so many of them.
    pub async fn range(&self, from: i64, to: i64, limit: Limit) -> Result<DataFrame> {
        let points = self.points(within(from, to)).await?;
        let by_time = |forth: bool| vec![col("event_time").sort(forth, false)];
        match limit {
            Limit::None => points.sort(by_time(true)),
            Limit::First(most) => points.sort(by_time(true))?.limit(0, Some(most)),
            Limit::Newest(most) => {
                points.sort(by_time(false))?.limit(0, Some(most))?.sort(by_time(true))
            }
        }
    }

    /// What is before a time, and at it or behind.
    pub async fn edges(&self, before: i64, after: i64) -> Result<Edges> {
        Ok(Edges {
            before: self.nearest(before, false).await?,
            after: self.nearest(after, true).await?,
        })
    }

    async fn nearest(&self, time: i64, forth: bool) -> Result<Nearest> {
        let any = self.one(time, forth, None).await?;
        let usable = match &any {
            None => None,
            Some(point) if self.usable.is(point) => any.clone(),
            Some(_) => {
                let below = col("quality").lt(lit(self.usable.below().0));
                self.one(time, forth, Some(below)).await?
            }
        };
        Ok(Nearest { any, usable })
    }

    /// The nearest point on one side of a time.
    async fn one(&self, time: i64, forth: bool, filter: Option<Expr>) -> Result<Option<Point>> {
        for look in LOOKS.into_iter().chain([i64::MAX]) {
            let (from, to) = match (forth, look) {
                (true, i64::MAX) => (time, i64::MAX),
                (false, i64::MAX) => (i64::MIN, time),
                (true, look) => (time, time.saturating_add(look)),
                (false, look) => (time.saturating_sub(look), time),
            };
            let filters = within(from, to).into_iter().chain(filter.clone()).collect();
            let nearest = vec![col("event_time").sort(forth, false)];
            let found = self.points(filters).await?.sort(nearest)?.limit(0, Some(1))?;
            for batch in found.collect().await? {
                if let Some(point) = points(&batch)?.pop() {
                    return Ok(Some(point));
                }
            }
        }
        Ok(None)
    }
}

/// Which points of a range.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    None,
    First(usize),
    Newest(usize),
}

/// The series that have points of a source before the end of a range, by name, at most so many if
/// a number is given.
///
/// For a device those that it has fed in the range, and of the assets that it feeds now those that
/// it has ever fed.
pub(super) async fn series(
    context: &SessionContext,
    source: &Source,
    metrics: &[String],
    (start, end): (i64, i64),
    most: Option<usize>,
) -> Result<Vec<Series>> {
    let texts = |names: &[String]| names.iter().map(|name| lit(name.as_str())).collect();
    let mut filters = within(i64::MIN, end);
    match source {
        Source::Asset(key) => filters.push(col("asset").eq(lit(key.as_str()))),
        Source::Device { key, assets } => {
            filters.push(col("device").eq(lit(key.as_str())));
            if start > i64::MIN {
                let in_range = col("event_time").gt_eq(at(start));
                filters.push(match assets.is_empty() {
                    true => in_range,
                    false => in_range.or(col("asset").in_list(texts(assets), false)),
                });
            }
        }
    }
    if !metrics.is_empty() {
        filters.push(col("metric").in_list(texts(metrics), false));
    }
    let keys = vec![col("asset"), col("metric")];
    let by_name = keys.iter().map(|key| key.clone().sort(true, false)).collect();
    let found = filtered(context, filters).await?.aggregate(keys, vec![])?.sort(by_name)?;
    let mut series = Vec::new();
    for batch in found.limit(0, most)?.collect().await? {
        let [assets, metrics] = [0, 1].map(|column| cast(batch.column(column), &DataType::Utf8));
        let (assets, metrics) = (assets?, metrics?);
        let (assets, metrics) = (assets.as_string::<i32>(), metrics.as_string::<i32>());
        series.extend((0..batch.num_rows()).map(|row| Series {
            asset: assets.value(row).into(),
            metric: metrics.value(row).into(),
        }));
    }
    Ok(series)
}
