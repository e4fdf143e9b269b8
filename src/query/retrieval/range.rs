//! What was measured in a range of event time, side by side: a row for each time of an asset.

use super::given::{Given, METRICS_MAX, refused};
use super::plans::{filtered, within};
use super::run::open;
use crate::model::{Quality, Timestamp};
use crate::query::answer::Answer;
use crate::query::error::Error;
use crate::query::front::{Inner, Query, Streamed, stream};
use datafusion::common::Result;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{ExprFunctionExt, LogicalPlan, col, ident, lit};
use datafusion::prelude::SessionContext;
use std::sync::Arc;

/// Rows when nothing else is said.
const ROWS: usize = 10_000;

/// Metrics side by side: columns `time`, `asset`, and one for each metric, which is null where the
/// asset has no point of it at that time, or a bad one. By time, then by asset.
#[derive(Clone, Debug)]
pub struct Range {
    /// The first event time.
    pub start: Timestamp,
    /// The first event time that does not count any more.
    pub end: Timestamp,
    /// The asset; all when there is none.
    pub asset: Option<String>,
    /// The metrics, each with whether its values are texts.
    pub metrics: Vec<(String, bool)>,
    /// Rows at the most.
    pub limit: usize,
}

impl Range {
    /// Reads the parameters of an address; times are relative to `now`. `rows` is the most that one
    /// answer has. Gives the metrics as they are named, all as numbers.
    pub fn read(pairs: &[(String, String)], now: Timestamp, rows: usize) -> Result<Self, Error> {
        let given = Given { pairs, now };
        given.check(&["start", "end", "asset", "metricKey", "limit"])?;
        let end = given.time("end")?.unwrap_or(now);
        let start = given.time("start")?.ok_or_else(|| {
            let hint = "give start, such as start=PT6H or start=now-1d";
            refused("parameter 'start' is missing".into(), hint)
        })?;
        if start >= end {
            let message = format!("start {start} is not before end {end}");
            return Err(refused(message, "the range is from start to before end"));
        }
        Ok(Self {
            start,
            end,
            asset: given.text("asset").map(str::to_owned),
            metrics: given.metrics()?.into_iter().map(|name| (name, false)).collect(),
            limit: given.number("limit", rows)?.unwrap_or(ROWS),
        })
    }

    async fn plan(&self, context: &SessionContext) -> Result<LogicalPlan> {
        let mut filters = within(self.start.0, self.end.0);
        if let Some(asset) = &self.asset {
            filters.push(col("asset").eq(lit(asset.as_str())));
        }
        let names = self.metrics.iter().map(|(name, _)| lit(name.as_str())).collect();
        filters.push(col("metric").in_list(names, false));
        // There is one point of a metric at a time, so that its greatest value is its value.
        let values = self.metrics.iter().enumerate().map(|(at, (name, is_text))| {
            let value = max(col(if *is_text { "text" } else { "value" }));
            let own = col("metric").eq(lit(name.as_str()));
            let own = own.and(col("quality").lt(lit(Quality::BAD.0)));
            Ok(value.filter(own).build()?.alias(column(at)))
        });
        let keys = vec![col("event_time"), col("asset")];
        let by_key = keys.iter().map(|key| key.clone().sort(true, false)).collect();
        let values = values.collect::<Result<Vec<_>>>()?;
        let rows = filtered(context, filters).await?.aggregate(keys, values)?;
        let rows = rows.sort(by_key)?.limit(0, Some(self.limit))?;
        let named = self.metrics.iter().enumerate();
        let named = named.map(|(at, (name, _))| ident(column(at)).alias(name));
        let keys = [col("event_time").alias("time"), col("asset")];
        Ok(rows.select(keys.into_iter().chain(named).collect::<Vec<_>>())?.into_unoptimized_plan())
    }
}

/// The name of a column while it is not told: a metric may be called like anything.
fn column(at: usize) -> String {
    format!("metric {at}")
}

impl Query {
    /// Answers with what was measured side by side. The limits are those of [`Query::sql`].
    pub async fn range(&self, range: Range) -> Result<Answer, Error> {
        if range.metrics.len() > METRICS_MAX {
            let message = format!("{} metrics, at most {METRICS_MAX}", range.metrics.len());
            return Err(Error::limit(message, "name some with metricKey, or an asset"));
        }
        let plan = move |inner: Arc<Inner>| async move { plan(&inner, &range).await };
        self.answer(self.limits().time, plan).await
    }
}

async fn plan(inner: &Inner, range: &Range) -> Result<Streamed, Error> {
    let (context, epoch, taken) = open(inner, None).await?;
    let plan = range.plan(&context).await.map_err(|error| Error::from_datafusion(&error))?;
    stream(&context, plan, epoch, taken).await
}
