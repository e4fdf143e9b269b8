//! What happens to every request: counted, and every error turned into a problem document.

use super::doors::{DoorError, ErrorKind};
use super::limits::{BODY_BYTES_DRAINED, BODY_BYTES_ENCODED};
use super::problem::PROBLEM_JSON;
use super::series::{REQUEST_SECONDS, REQUESTS};
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures::StreamExt;
use std::any::Any;
use std::error::Error;
use tokio::time::Instant;

/// The longest text of another layer's refusal that is passed on.
const DETAIL_BYTES: usize = 4096;

/// Counts requests.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |matched| matched.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::histogram!(REQUEST_SECONDS, "method" => method.clone(), "route" => route.clone())
        .record(begun.elapsed().as_secs_f64());
    metrics::counter!(REQUESTS, "method" => method, "route" => route, "status" => status)
        .increment(1);
    response
}

/// Refuses what a browser sends on behalf of a page of another site: such a page could write
/// telemetry or open the socket of a server that only the user can reach.
pub(super) async fn same_site(request: Request, next: Next) -> Response {
    let Some(site) = other_site(request.headers()) else { return next.run(request).await };
    DoorError::new(ErrorKind::Forbidden, format!("a page of {site} may not use this server"))
        .hint("serve the page from here, or ask without a browser")
        .into_response()
}

/// The site of the page that asks, when it is not this server's own.
fn other_site(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(header::ORIGIN)?;
    let site = origin.split_once("://").map_or(origin, |(_, site)| site);
    (text(header::HOST) != Some(site)).then(|| site.to_owned())
}

/// Gives refusals of other layers (unknown path, wrong method, a query that cannot be read, a
/// time-out) the form that all errors have. Stands around the router as a whole: which methods are
/// allowed is said outside of its layers.
pub(super) async fn explain(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let content_type = response.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let has_own_words = matches!(content_type, Some(content_type)
        if content_type.starts_with(PROBLEM_JSON.as_bytes())
            || content_type.starts_with(b"application/json"));
    if !is_error || has_own_words {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, DETAIL_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let error = match status {
        StatusCode::NOT_FOUND => DoorError::new(ErrorKind::NotFound, format!("no route {path}"))
            .hint("GET /api/v1/openapi.json lists all routes, /docs shows them"),
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = parts.headers.get(header::ALLOW).and_then(|value| value.to_str().ok());
            DoorError::new(ErrorKind::Method, format!("no such method for {path}"))
                .hint(format!("allowed: {}", allowed.unwrap_or("see /docs")))
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE if text.is_empty() => {
            DoorError::new(ErrorKind::UnsupportedMedia, "the content encoding is not read here")
                .hint("use gzip, zstd or no content encoding")
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE if text.is_empty() => {
            DoorError::new(ErrorKind::Unavailable, "no answer in time").hint("try again later")
        }
        _ => DoorError::new(ErrorKind::of(status), text.trim()),
    };
    let mut explained = error.into_response();
    if let Some(allow) = parts.headers.get(header::ALLOW) {
        explained.headers_mut().insert(header::ALLOW, allow.clone());
    }
    explained
}

/// Buffers a body as it comes, up to [`BODY_BYTES_ENCODED`], before anything decompresses it.
pub(super) async fn limit_encoded(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let refused = || too_large("encoded body", BODY_BYTES_ENCODED).into_response();
    let length = content_length(&parts.headers).unwrap_or(0);
    let mut is_too_large = length > BODY_BYTES_ENCODED as u64;
    if is_too_large && parts.headers.contains_key(header::EXPECT) {
        // The client waits for leave to send.
        return refused();
    }
    let (mut taken, mut drained) = (BytesMut::new(), 0);
    let mut body = body.into_data_stream();
    while let Some(part) = body.next().await {
        match part {
            Ok(part) if !is_too_large && taken.len() + part.len() <= BODY_BYTES_ENCODED => {
                taken.extend_from_slice(&part);
            }
            Ok(part) => {
                is_too_large = true;
                taken = BytesMut::new();
                drained += part.len();
                if drained > BODY_BYTES_DRAINED {
                    return refused();
                }
            }
            Err(_) if is_too_large => return refused(),
            Err(error) => {
                let detail = format!("the body broke off: {error}");
                return DoorError::new(ErrorKind::Malformed, detail).into_response();
            }
        }
    }
    if is_too_large {
        return refused();
    }
    next.run(Request::from_parts(parts, Body::from(taken.freeze()))).await
}

/// Reads a whole body, up to a limit after decompression.
pub(super) async fn read_body(
    body: Body,
    what: &str,
    limit: usize,
) -> Result<bytes::Bytes, DoorError> {
    to_bytes(body, limit).await.map_err(|error| match is_length_limit(&error) {
        true => too_large(what, limit),
        false => DoorError::new(ErrorKind::Malformed, format!("the body cannot be read: {error}"))
            .hint("check the content-encoding header and the compressed bytes"),
    })
}

/// The same, as text.
pub(super) async fn read_text(body: Body, what: &str, limit: usize) -> Result<String, DoorError> {
    let bytes = read_body(body, what, limit).await?;
    String::from_utf8(bytes.into()).map_err(|error| {
        DoorError::new(ErrorKind::Malformed, format!("the {what} is not UTF-8: {error}"))
    })
}

/// Answers for a handler that panicked: the others go on.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let what = (panic.downcast_ref::<String>().map(String::as_str))
        .or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown panic");
    tracing::error!(what, "request handler panicked");
    DoorError::new(ErrorKind::Internal, "the request hit a fault of this program")
        .hint("please report it with the server's log")
        .into_response()
}

fn too_large(what: &str, limit: usize) -> DoorError {
    DoorError::new(ErrorKind::TooLarge, format!("the {what} is larger than {limit} bytes"))
        .hint("send it in smaller parts")
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Body errors come wrapped by every layer that they pass: the limit is one of their sources.
fn is_length_limit(error: &axum::Error) -> bool {
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(error) = source {
        if error.to_string() == "length limit exceeded" {
            return true;
        }
        source = error.source();
    }
    false
}
