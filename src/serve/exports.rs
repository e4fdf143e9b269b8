//! `/api/v1/exports`: long answers as files, written in the background.

use super::body::{parse_json, read_text};
use super::doors::{DoorError, Export, ExportFile, NewExport};
use super::limits::SQL_BYTES;
use super::problem::Problem;
use super::server::State;
use axum::Json;
use axum::body::Body;
use axum::extract::{self, Path};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use utoipa::ToSchema;

/// Bytes of a file that are read in one go.
const READ_BYTES: usize = 256 << 10;

/// All exports.
#[derive(Serialize, ToSchema)]
pub(super) struct ExportList {
    /// The exports, oldest first.
    exports: Vec<Export>,
}

/// Begins to write an answer to a file.
///
/// The answer says where to ask how far it is. The question is a text in SQL or a named query; it is
/// asked when the export's turn comes, and its tables are of one epoch.
#[utoipa::path(
    post,
    path = "/api/v1/exports",
    tag = "sql",
    request_body = NewExport,
    responses(
        (status = 202, description = "It is written in the background; `Location` says where to ask", body = Export),
        (status = 400, description = "Not a query, or no format", body = Problem),
        (status = 404, description = "No such named query", body = Problem),
        (status = 413, description = "Longer than the limit", body = Problem),
        (status = 429, description = "Too many exports, or too large ones, are kept", body = Problem),
    )
)]
pub(super) async fn start(
    extract::State(state): extract::State<State>,
    body: Body,
) -> Result<Response, DoorError> {
    let text = read_text(body, "export", SQL_BYTES).await?;
    let hint = r#"send {"sql": "SELECT ...", "format": "csv"} or {"query": "NAME", "parameters": {...}, "format": "xlsx"}"#;
    let wanted: NewExport = parse_json(&text, "export", hint)?;
    let export = state.doors.start_export(wanted)?;
    let location = format!("/api/v1/exports/{}", export.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(export)).into_response())
}

/// Lists the exports that are kept.
#[utoipa::path(
    get,
    path = "/api/v1/exports",
    tag = "sql",
    responses((status = 200, description = "All exports, oldest first", body = ExportList))
)]
pub(super) async fn list(extract::State(state): extract::State<State>) -> Json<ExportList> {
    Json(ExportList { exports: state.doors.exports() })
}

/// How far an export is.
#[utoipa::path(
    get,
    path = "/api/v1/exports/{id}",
    tag = "sql",
    params(("id" = String, Path, description = "The export's id")),
    responses(
        (status = 200, description = "How far it is; `error` says why it failed", body = Export),
        (status = 404, description = "No such export", body = Problem),
    )
)]
pub(super) async fn status(
    extract::State(state): extract::State<State>,
    Path(id): Path<String>,
) -> Result<Json<Export>, DoorError> {
    Ok(Json(state.doors.export(&id)?))
}

/// The file of an export that is done.
#[utoipa::path(
    get,
    path = "/api/v1/exports/{id}/file",
    tag = "sql",
    params(("id" = String, Path, description = "The export's id")),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "No such export", body = Problem),
        (status = 409, description = "It is not done", body = Problem),
    )
)]
pub(super) async fn file(
    extract::State(state): extract::State<State>,
    Path(id): Path<String>,
) -> Result<Response, DoorError> {
    let ExportFile { file, form, bytes } = state.doors.export_file(&id)?;
    let name = format!("attachment; filename=\"export-{id}.{}\"", form.name());
    let headers = [
        (header::CONTENT_TYPE, form.media_type().to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CONTENT_DISPOSITION, name),
    ];
    let parts = stream::try_unfold(file, |file| async {
        tokio::task::spawn_blocking(|| read(file)).await.map_err(io::Error::other)?
    });
    let mut response = Body::from_stream(parts).into_response();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// The next bytes of a file; nothing at its end.
fn read(mut file: File) -> io::Result<Option<(Bytes, File)>> {
    let mut part = Vec::with_capacity(READ_BYTES);
    (&mut file).take(READ_BYTES as u64).read_to_end(&mut part)?;
    Ok((!part.is_empty()).then(|| (part.into(), file)))
}

/// Ends an export that is written, and removes it with its file.
#[utoipa::path(
    delete,
    path = "/api/v1/exports/{id}",
    tag = "sql",
    params(("id" = String, Path, description = "The export's id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such export", body = Problem),
    )
)]
pub(super) async fn remove(
    extract::State(state): extract::State<State>,
    Path(id): Path<String>,
) -> Result<StatusCode, DoorError> {
    state.doors.remove_export(&id)?;
    Ok(StatusCode::NO_CONTENT)
}
