//! Which series an answer has.

use super::plans;
use super::request::{Retrieval, SERIES_MAX, Source};
use super::rows::Series;
use crate::query::error::Error;
use datafusion::prelude::SessionContext;

/// The series in the order of the answer: as metrics are named, else by name.
///
/// Metrics of an asset that are named are all there, points or not; without names, and for a
/// device, those are that have points.
pub(super) async fn wanted(
    context: &SessionContext,
    retrieval: &Retrieval,
) -> Result<Vec<Series>, Error> {
    let (source, metrics) = (&retrieval.source, &retrieval.metrics);
    if let (Source::Asset(asset), false) = (source, metrics.is_empty()) {
        let series = |metric: &String| Series { asset: asset.clone(), metric: metric.clone() };
        return Ok(metrics.iter().map(series).collect());
    }
    let most = Some(SERIES_MAX + 1);
    let found = plans::series(context, source, metrics, retrieval.range(), most).await;
    let mut found = found.map_err(|error| Error::from_datafusion(&error))?;
    if found.len() > SERIES_MAX {
        let message = format!("more than {SERIES_MAX} metrics of assets");
        return Err(Error::limit(message, "name some with metricKey"));
    }
    if !metrics.is_empty() {
        let place = |series: &Series| metrics.iter().position(|name| *name == series.metric);
        found.sort_by_key(place);
    }
    Ok(found)
}
