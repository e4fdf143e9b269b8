//! `POST /api/v1/sql`: queries over views and telemetry.

use super::body::{parse_json, read_text};
use super::doors::{DoorError, ErrorKind, Rows};
use super::formats::{Format, respond};
use super::limits::SQL_BYTES;
use super::problem::Problem;
use super::server::State;
use super::telemetry::{media_type, not_read};
use axum::body::Body;
use axum::extract;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

/// A query.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SqlQuery {
    /// One SQL statement that reads.
    sql: String,
}

/// Runs a query and streams its rows.
#[utoipa::path(
    post,
    path = "/api/v1/sql",
    tag = "sql",
    request_body(content((SqlQuery = "application/json"), (String = "text/plain"))),
    responses(
        (status = 200, description = "`{columns, rows}`; or CSV or Arrow by Accept", content(
            (serde_json::Value = "application/json"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 400, description = "Not a query", body = Problem),
        (status = 406, description = "No acceptable form", body = Problem),
        (status = 413, description = "Longer than the limit", body = Problem),
        (status = 415, description = "Neither JSON nor text", body = Problem),
        (status = 422, description = "A query that cannot be answered", body = Problem),
    )
)]
pub(super) async fn sql(
    extract::State(state): extract::State<State>,
    format: Format,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, DoorError> {
    let text = read_text(body, "query", SQL_BYTES).await?;
    let text = match media_type(&headers).as_str() {
        "application/json" => {
            let query: SqlQuery = parse_json(&text, "query", r#"send {"sql": "SELECT ..."}"#)?;
            query.sql
        }
        "text/plain" | "application/sql" | "" => text,
        other => return Err(not_read("a query", other, "send application/json or text/plain")),
    };
    if text.trim().is_empty() {
        return Err(DoorError::new(ErrorKind::Malformed, "the query is empty")
            .hint("try SELECT * FROM asset_health"));
    }
    columns_and_rows(format, "", state.doors.sql(&text).await?).await
}

/// An answer with the columns of a query, and its rows while they come. `head` has the members
/// before them, each followed by a comma.
pub(super) async fn columns_and_rows(
    format: Format,
    head: &str,
    Rows { schema, batches }: Rows,
) -> Result<Response, DoorError> {
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| json!({"name": field.name(), "type": field.data_type().to_string()}))
        .collect();
    let head = format!("{head}\"columns\":{},", serde_json::Value::from(columns));
    respond(format, schema, head, batches).await
}
