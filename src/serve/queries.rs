//! `GET /api/v1/queries` and `GET /api/v1/queries/{name}`: SQL with a name and parameters.

use super::doors::{DoorError, ListedQuery};
use super::formats::{Format, parameters};
use super::problem::Problem;
use super::server::State;
use super::sql::{begin, columns_and_rows, named, query_id, unless_ended, until_ended};
use axum::Json;
use axum::extract::{self, Path, Query};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

/// All named queries.
#[derive(Serialize, ToSchema)]
pub(super) struct QueryList {
    /// The queries by name.
    queries: Vec<ListedQuery>,
}

/// Lists the named queries and their parameters.
#[utoipa::path(
    get,
    path = "/api/v1/queries",
    tag = "sql",
    responses((status = 200, description = "All named queries", body = QueryList))
)]
pub(super) async fn list(extract::State(state): extract::State<State>) -> Json<QueryList> {
    Json(QueryList { queries: state.doors.queries() })
}

/// Runs a named query and streams its rows.
///
/// Values of its parameters are query parameters of the address, as `?asset=pump-7&from=-1h`. Those
/// that have a default may be left out.
#[utoipa::path(
    get,
    path = "/api/v1/queries/{name}",
    tag = "sql",
    params(
        ("name" = String, Path, description = "The query's name"),
        ("format" = Option<String>, Query, description = "json, csv, arrow, ndjson, parquet or xlsx; else what Accept says"),
        ("millstream-query-id" = Option<String>, Header, description = "As of `/api/v1/sql`"),
    ),
    responses(
        (status = 200, description = "`{query, columns, rows}`; or another form by `format` or Accept", content(
            (serde_json::Value = "application/json"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 400, description = "A parameter is missing, unknown or ill-typed", body = Problem),
        (status = 404, description = "No such query", body = Problem),
        (status = 406, description = "No acceptable form", body = Problem),
        (status = 422, description = "The query cannot be answered", body = Problem),
    )
)]
pub(super) async fn run(
    extract::State(state): extract::State<State>,
    Path(name): Path<String>,
    Query(given): Query<Vec<(String, String)>>,
    format: Format,
    headers: HeaderMap,
) -> Result<Response, DoorError> {
    let id = query_id(&headers)?;
    let run = begin(&state, &id)?;
    let rows = unless_ended(&run, state.doors.query(&name, parameters(given))).await?;
    let head = format!("\"query\":{},", serde_json::Value::from(name));
    columns_and_rows(format, &head, until_ended(rows, run)).await.map(|answer| named(answer, &id))
}
