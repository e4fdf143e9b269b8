//! `/api/v1/catalog/{kind}` and `/api/v1/catalog/{kind}/{key}`: documents.

use super::body::read_text;
use super::contents::rows;
use super::doors::{DocumentForm, DoorError, ErrorKind, StoredDocument};
use super::formats::Format;
use super::limits::DOCUMENT_BYTES;
use super::problem::Problem;
use super::server::State;
use super::telemetry::{media_type, not_read};
use crate::model::Kind;
use crate::views::{Filter, View};
use axum::Json;
use axum::body::Body;
use axum::extract::{self, Path};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

/// Which document.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Place {
    /// asset_types, device_types, assets, devices or links
    kind: String,
    /// The document's key
    key: String,
}

/// The documents of a kind.
#[utoipa::path(
    get,
    path = "/api/v1/catalog/{kind}",
    tag = "catalog",
    params(("kind" = String, Path, description = "asset_types, device_types, assets, devices or links")),
    responses(
        (status = 200, description = "`{view, epoch, rows}`", body = serde_json::Value),
        (status = 404, description = "No such kind", body = Problem),
    )
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    Path(kind): Path<String>,
    format: Format,
) -> Result<Response, DoorError> {
    let view = View::Catalog(parse_kind(&kind)?);
    rows(&state, view, Filter::default(), usize::MAX, format).await
}

/// The current version of a document.
#[utoipa::path(
    get,
    path = "/api/v1/catalog/{kind}/{key}",
    tag = "catalog",
    params(Place),
    responses(
        (status = 200, description = "The document", body = StoredDocument),
        (status = 404, description = "No such kind or document", body = Problem),
    )
)]
pub(super) async fn get(
    extract::State(state): extract::State<State>,
    Path(Place { kind, key }): Path<Place>,
) -> Result<Json<StoredDocument>, DoorError> {
    Ok(Json(state.doors.get_document(parse_kind(&kind)?, &key).await?))
}

/// Publishes a document, as YAML or JSON. It takes effect everywhere at one epoch.
#[utoipa::path(
    put,
    path = "/api/v1/catalog/{kind}/{key}",
    tag = "catalog",
    params(Place),
    request_body(content((String = "application/yaml"), (serde_json::Value = "application/json"))),
    responses(
        (status = 200, description = "In effect", body = StoredDocument),
        (status = 404, description = "No such kind", body = Problem),
        (status = 409, description = "Contradicts what is there", body = Problem),
        (status = 413, description = "Larger than the limit", body = Problem),
        (status = 415, description = "Neither YAML nor JSON", body = Problem),
        (status = 422, description = "Wrong: `problems` say where", body = Problem),
    )
)]
pub(super) async fn put(
    extract::State(state): extract::State<State>,
    Path(Place { kind, key }): Path<Place>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<StoredDocument>, DoorError> {
    let kind = parse_kind(&kind)?;
    let form = match media_type(&headers).as_str() {
        "application/json" => DocumentForm::Json,
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" | "text/plain"
        | "" => DocumentForm::Yaml,
        other => {
            let hint = "send application/yaml or application/json";
            return Err(not_read("a document", other, hint));
        }
    };
    let body = read_text(body, "document", DOCUMENT_BYTES).await?;
    Ok(Json(state.doors.put_document(kind, &key, &body, form).await?))
}

/// Deletes a document.
#[utoipa::path(
    delete,
    path = "/api/v1/catalog/{kind}/{key}",
    tag = "catalog",
    params(Place),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "No such kind or document", body = Problem),
        (status = 409, description = "Others refer to it", body = Problem),
    )
)]
pub(super) async fn delete(
    extract::State(state): extract::State<State>,
    Path(Place { kind, key }): Path<Place>,
) -> Result<StatusCode, DoorError> {
    state.doors.delete_document(parse_kind(&kind)?, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse_kind(name: &str) -> Result<Kind, DoorError> {
    Kind::parse(name).ok_or_else(|| {
        let kinds = Kind::ALL.map(Kind::name).join(", ");
        DoorError::new(ErrorKind::NotFound, format!("no kind of documents is called '{name}'"))
            .hint(format!("the kinds are {kinds}"))
    })
}
