//! `/health`, `/metrics`, `/api/v1/verify` and the page at `/`.

use super::body::{parse_json, read_text};
use super::doors::{Conservation, DoorError, Health, HealthStatus, Report, Retention};
use super::limits::SQL_BYTES;
use super::problem::Problem;
use super::server::State;
use axum::Json;
use axum::body::Body;
use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to be verified.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Verify {
    /// Names of views; all when left out.
    views: Option<Vec<String>>,
}

/// How the runtime is.
#[utoipa::path(
    get,
    path = "/health",
    tag = "system",
    responses(
        (status = 200, description = "It works, or is starting", body = Health),
        (status = 503, description = "Something is broken", body = Health),
    )
)]
pub(super) async fn health(
    extract::State(state): extract::State<State>,
) -> (StatusCode, Json<Health>) {
    let health = state.doors.health().await;
    let status = match health.status {
        HealthStatus::Ok | HealthStatus::Starting => StatusCode::OK,
        HealthStatus::Failing => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health))
}

/// Metrics in Prometheus' text form.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "system",
    responses((status = 200, description = "The metrics", content_type = "text/plain", body = String))
)]
pub(super) async fn metrics_text(
    extract::State(state): extract::State<State>,
) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], state.doors.metrics_text())
}

/// Recomputes views from telemetry and compares.
#[utoipa::path(
    post,
    path = "/api/v1/verify",
    tag = "system",
    request_body = Verify,
    responses(
        (status = 200, description = "Compared; `equal` says how it went", body = Report),
        (status = 400, description = "Not readable", body = Problem),
        (status = 404, description = "No such view", body = Problem),
    )
)]
pub(super) async fn verify(
    extract::State(state): extract::State<State>,
    body: Body,
) -> Result<Json<Report>, DoorError> {
    let text = read_text(body, "request", SQL_BYTES).await?;
    let wanted: Verify = match text.trim() {
        "" => Verify::default(),
        text => {
            let hint = r#"send {"views": ["asset_health"]}, or nothing for all views"#;
            parse_json(text, "list of views", hint)?
        }
    };
    Ok(Json(state.doors.verify(wanted.views).await?))
}

/// Recounts from the log that every accepted point is in telemetry exactly once.
#[utoipa::path(
    post,
    path = "/api/v1/verify/conservation",
    tag = "system",
    responses(
        (status = 200, description = "Recounted; `holds` says how it went", body = Conservation),
    )
)]
pub(super) async fn conservation(
    extract::State(state): extract::State<State>,
) -> Result<Json<Conservation>, DoorError> {
    Ok(Json(state.doors.conservation().await?))
}

/// How long telemetry is kept, and what is older.
#[utoipa::path(
    get,
    path = "/api/v1/retention",
    tag = "system",
    responses((status = 200, description = "What would be removed now", body = Retention))
)]
pub(super) async fn retention(
    extract::State(state): extract::State<State>,
) -> Result<Json<Retention>, DoorError> {
    Ok(Json(state.doors.retention().await?))
}

/// Removes telemetry that is older than it is to be kept.
#[utoipa::path(
    post,
    path = "/api/v1/retention",
    tag = "system",
    responses((status = 200, description = "Removed, or `held_by` says why not", body = Retention))
)]
pub(super) async fn retain(
    extract::State(state): extract::State<State>,
) -> Result<Json<Retention>, DoorError> {
    Ok(Json(state.doors.retain().await?))
}

/// A page for people: health, raised thresholds and events, live.
#[utoipa::path(
    get,
    path = "/",
    tag = "system",
    responses((status = 200, description = "The page", content_type = "text/html", body = String))
)]
pub(super) async fn page() -> impl IntoResponse {
    // What devices and documents say is shown as text; should that ever fail, it runs no script.
    let policy = [(header::CONTENT_SECURITY_POLICY, "default-src 'self'; img-src data:")];
    (policy, Html(include_str!("page.html")))
}

/// The page's script.
pub(super) async fn page_script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page.js"))
}

/// The page's looks.
pub(super) async fn page_style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page.css"))
}
