//! Errors on the wire: problem documents (RFC 9457) with a hint.

use super::doors::{DocumentProblem, DoorError, ErrorKind};
use crate::query;
use crate::views;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of problem documents.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// An error as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of error it is, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Single faults, where a document has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<DocumentProblem>,
}

impl ErrorKind {
    fn status_and_title(self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed request"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not acceptable"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too large"),
            Self::UnsupportedMedia => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported media type")
            }
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid contents"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too many requests"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }

    /// The kind of a status that another layer chose.
    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::Method,
            406 => Self::NotAcceptable,
            409 => Self::Conflict,
            413 => Self::TooLarge,
            415 => Self::UnsupportedMedia,
            422 => Self::Invalid,
            429 => Self::TooMany,
            408 | 503 | 504 => Self::Unavailable,
            500..=599 => Self::Internal,
            _ => Self::Malformed,
        }
    }
}

impl From<DoorError> for Problem {
    fn from(error: DoorError) -> Self {
        let (status, title) = error.kind.status_and_title();
        Self {
            title: title.into(),
            status: status.as_u16(),
            detail: error.detail,
            hint: error.hint,
            problems: error.problems,
        }
    }
}

impl From<views::Error> for DoorError {
    fn from(error: views::Error) -> Self {
        let kind = match &error {
            views::Error::UnknownView { .. } => ErrorKind::NotFound,
            views::Error::Filter { .. } | views::Error::Envelope(_) | views::Error::NoKey(_) => {
                ErrorKind::Malformed
            }
            views::Error::Encode { .. } | views::Error::Image(_) => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string()).hint("GET /api/v1/views lists views and their filters")
    }
}

impl From<query::Error> for DoorError {
    fn from(error: query::Error) -> Self {
        use query::Kind;
        let kind = match error.kind() {
            Kind::Refused | Kind::Syntax | Kind::Parameter => ErrorKind::Malformed,
            Kind::UnknownTable | Kind::UnknownColumn | Kind::Limit => ErrorKind::Invalid,
            Kind::Failed => ErrorKind::Internal,
        };
        let hint = error.hint().map(str::to_owned);
        Self { hint, ..Self::new(kind, error.to_string()) }
    }
}

impl IntoResponse for DoorError {
    fn into_response(self) -> Response {
        if self.kind == ErrorKind::Internal {
            tracing::error!(detail = %self.detail, "request failed");
        }
        let problem = Problem::from(self);
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let content_type = HeaderValue::from_static(PROBLEM_JSON);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        if matches!(problem.status, 429 | 503) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
