//! `GET /api/v1/telemetry/device/{id}`, `GET /api/v1/telemetry/asset/{id}` and
//! `GET /api/v1/metrics/range`: history for applications. Times may be relative to now, which is the
//! wall clock when the request comes in.

use super::doors::{DoorError, History, Owner};
use super::formats::{Format, parameters};
use super::problem::Problem;
use super::server::State;
use super::sql::columns_and_rows;
use axum::extract::{self, Path, Query};
use axum::response::Response;
use serde_json::Value;
use utoipa::IntoParams;

/// What is asked of history. Read by the room of queries, which says what is wrong with them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct WantedHistory {
    /// Names of metrics with commas between them, or the parameter several times; all when left
    /// out.
    #[param(rename = "metricKey")]
    metric_key: Option<String>,
    /// The first event time: RFC 3339, a date, seconds or milliseconds since 1970, `now-6h`, or
    /// `PT6H` for as long ago. Left out with mode `recorded`: the newest points are told.
    #[param(rename = "startTime")]
    start_time: Option<String>,
    /// The first event time that does not count any more; now when left out.
    #[param(rename = "endTime")]
    end_time: Option<String>,
    /// Rows of each metric at the most; when left out 10,000 with mode `recorded`, else all.
    limit: Option<usize>,
    /// How wide intervals are: `5min`, `1hour`, `1day`, `15m`, `PT15M`. Without a mode a summary of
    /// each.
    aggregation: Option<String>,
    /// `recorded` (the default), `interpolated`, `step`, `plot` or `summary`.
    mode: Option<String>,
    /// With mode `recorded`: `inside` (the default), `outside` (also the points before and behind)
    /// or `interpolated` (also the values at start and end).
    boundary: Option<String>,
    /// With mode `plot`: on how many columns of pixels; 300 when left out.
    points: Option<usize>,
    /// The zone of days, weeks and months, as `Europe/Berlin`; UTC when left out.
    timezone: Option<String>,
    /// Whether uncertain points are left out of computations; `true` when left out.
    #[param(rename = "treatUncertainAsBad")]
    treat_uncertain_as_bad: Option<bool>,
    /// Telemetry as it was known then.
    #[param(rename = "asOf")]
    as_of: Option<String>,
    /// `json`, `csv`, `arrow`, `ndjson`, `parquet` or `xlsx`; else what `Accept` says.
    format: Option<String>,
}

/// What is asked of a range.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct WantedRange {
    /// The first event time, as above.
    start: String,
    /// The first event time that does not count any more; now when left out.
    end: Option<String>,
    /// The asset's key; all assets when left out.
    asset: Option<String>,
    /// Names of metrics, as above.
    #[param(rename = "metricKey")]
    metric_key: Option<String>,
    /// Rows at the most; 10,000 when left out.
    limit: Option<usize>,
    /// The form, as above.
    format: Option<String>,
}

/// The points that a device has sent, as recorded or as values and summaries of them.
///
/// Metrics are those of the assets that it feeds, metric after metric, each by event time. OPC UA
/// Part 13 says what values in between and their qualities are.
#[utoipa::path(
    get,
    path = "/api/v1/telemetry/device/{id}",
    tag = "telemetry",
    params(("id" = String, Path, description = "The device's key"), WantedHistory),
    responses(
        (status = 200, description = "`{device, mode, startTime, endTime, columns, rows}`; other forms by `format` or Accept", content(
            (serde_json::Value = "application/json"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 400, description = "A parameter is missing, unknown or not understood", body = Problem),
        (status = 404, description = "No such device", body = Problem),
        (status = 406, description = "No acceptable form", body = Problem),
        (status = 422, description = "No such metric, or a limit", body = Problem),
    )
)]
pub(super) async fn of_device(
    extract::State(state): extract::State<State>,
    Path(id): Path<String>,
    Query(given): Query<Vec<(String, String)>>,
    format: Format,
) -> Result<Response, DoorError> {
    history(&state, Owner::Device, &id, given, format).await
}

/// The points of an asset, as recorded or as values and summaries of them.
///
/// Metric after metric, each by event time. OPC UA Part 13 says what values in between and their
/// qualities are.
#[utoipa::path(
    get,
    path = "/api/v1/telemetry/asset/{id}",
    tag = "telemetry",
    params(("id" = String, Path, description = "The asset's key"), WantedHistory),
    responses(
        (status = 200, description = "`{asset, mode, startTime, endTime, columns, rows}`; other forms by `format` or Accept", content(
            (serde_json::Value = "application/json"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 400, description = "A parameter is missing, unknown or not understood", body = Problem),
        (status = 404, description = "No such asset", body = Problem),
        (status = 406, description = "No acceptable form", body = Problem),
        (status = 422, description = "No such metric, or a limit", body = Problem),
    )
)]
pub(super) async fn of_asset(
    extract::State(state): extract::State<State>,
    Path(id): Path<String>,
    Query(given): Query<Vec<(String, String)>>,
    format: Format,
) -> Result<Response, DoorError> {
    history(&state, Owner::Asset, &id, given, format).await
}

/// What was measured in a range of event time, side by side.
///
/// A row for each time of an asset, with a column for each metric: null where there is no point of
/// it, or a bad one.
#[utoipa::path(
    get,
    path = "/api/v1/metrics/range",
    tag = "telemetry",
    params(WantedRange),
    responses(
        (status = 200, description = "`{start, end, columns, rows}`; other forms by `format` or Accept", content(
            (serde_json::Value = "application/json"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 400, description = "A parameter is missing, unknown or not understood", body = Problem),
        (status = 404, description = "No such asset", body = Problem),
        (status = 406, description = "No acceptable form", body = Problem),
        (status = 422, description = "No such metric, or a limit", body = Problem),
    )
)]
pub(super) async fn range(
    extract::State(state): extract::State<State>,
    Query(given): Query<Vec<(String, String)>>,
    format: Format,
) -> Result<Response, DoorError> {
    answer(format, state.doors.range(parameters(given)).await?).await
}

async fn history(
    state: &State,
    owner: Owner,
    id: &str,
    given: Vec<(String, String)>,
    format: Format,
) -> Result<Response, DoorError> {
    answer(format, state.doors.retrieve(owner, id, parameters(given)).await?).await
}

async fn answer(format: Format, history: History) -> Result<Response, DoorError> {
    let member = |(name, value): (String, Value)| format!("{}:{value},", Value::from(name));
    let head: String = history.about.into_iter().map(member).collect();
    columns_and_rows(format, &head, history.rows).await
}
