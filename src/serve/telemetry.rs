//! `POST /api/v1/telemetry/ingest`: telemetry as JSON, as lines of JSON, or as an Arrow stream.

use super::body::read_encoded;
use super::doors::{DoorError, ErrorKind, IngestAnswer, JsonForm};
use super::formats::ARROW_STREAM;
use super::problem::Problem;
use super::server::State;
use axum::Json;
use axum::body::Body;
use axum::extract;
use axum::http::{HeaderMap, header};

/// Takes telemetry; answers after it is durable.
///
/// Bodies may be compressed with gzip or zstd. Single bad elements are told in `rejected` and kept
/// in view `dead_letters`; the others are taken.
#[utoipa::path(
    post,
    path = "/api/v1/telemetry/ingest",
    tag = "telemetry",
    request_body(content(
        (serde_json::Value = "application/json"),
        (String = "application/x-ndjson"),
        (Vec<u8> = "application/vnd.apache.arrow.stream"),
    )),
    responses(
        (status = 200, description = "Durable", body = IngestAnswer),
        (status = 400, description = "Not readable", body = Problem),
        (status = 413, description = "Larger than a limit", body = Problem),
        (status = 415, description = "A form or encoding that is not read", body = Problem),
        (status = 429, description = "Too much at once: send again later", body = Problem),
        (status = 503, description = "Nothing can be made durable now", body = Problem),
    )
)]
pub(super) async fn ingest(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<IngestAnswer>, DoorError> {
    let form = Form::of(&headers)?;
    let (body, _room) = read_encoded(&headers, body, state.doors.begin_ingest()).await?;
    let answer = match form {
        Form::Unnamed if !is_json(&body) => return Err(unread(FORM)),
        Form::Unnamed => state.doors.ingest_json(body, JsonForm::Json).await?,
        Form::Json(form) => state.doors.ingest_json(body, form).await?,
        Form::Arrow => state.doors.ingest_arrow(body).await?,
    };
    Ok(Json(answer))
}

/// What curl says of a body when it is told nothing.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

enum Form {
    Json(JsonForm),
    /// JSON, if it looks like it.
    Unnamed,
    Arrow,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, DoorError> {
        match media_type(headers).as_str() {
            "" | "application/json" => Ok(Self::Json(JsonForm::Json)),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                Ok(Self::Json(JsonForm::Lines))
            }
            FORM => Ok(Self::Unnamed),
            ARROW_STREAM => Ok(Self::Arrow),
            other => Err(unread(other)),
        }
    }
}

fn is_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn unread(media_type: &str) -> DoorError {
    let hint = format!(
        "send application/json, application/x-ndjson or {ARROW_STREAM}, for example with \
         curl -H 'content-type: application/json'"
    );
    not_read("telemetry", media_type, &hint)
}

/// The content type without its parameters, in lower case; empty when there is none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or("").trim().to_ascii_lowercase()
}

/// A body of a form that is not read here.
pub(super) fn not_read(what: &str, media_type: &str, hint: &str) -> DoorError {
    let detail = format!("{what} of content type '{media_type}' is not read here");
    DoorError::new(ErrorKind::UnsupportedMedia, detail).hint(hint)
}
