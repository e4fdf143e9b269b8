//! What happens to every request: refused when it is not meant for this server, counted, and every
//! error turned into a problem document.

use super::doors::{DoorError, ErrorKind};
use super::hosts::Hosts;
use super::problem::PROBLEM_JSON;
use super::series::{REQUEST_SECONDS, REQUESTS};
use axum::body::to_bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use metrics::SharedString;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::time::Instant;

/// The longest text of another layer's refusal that is passed on.
const DETAIL_BYTES: usize = 4096;

/// Stands around every route, as one layer because each costs every request: refuses requests that
/// are not meant for this server, answers for handlers that panic, and counts.
pub(super) async fn around(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| Arc::from(path.as_str()));
    let route = route.map_or(SharedString::const_str("unknown"), SharedString::from_shared);
    let refusal = hosts.refusal(&request).or_else(|| other_site(request.headers()));
    let response = match refusal {
        Some(refusal) => refusal.into_response(),
        None => AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(panicked),
    };
    let status = response.status().as_str().to_owned();
    metrics::histogram!(REQUEST_SECONDS, "method" => method, "route" => route.clone())
        .record(begun.elapsed().as_secs_f64());
    metrics::counter!(REQUESTS, "method" => method, "route" => route, "status" => status)
        .increment(1);
    response
}

/// The method as a label: whatever clients make up is one.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Refuses what a browser sends on behalf of a page of another site: such a page could write
/// telemetry or open the socket of a server that only the user can reach.
fn other_site(headers: &HeaderMap) -> Option<DoorError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(header::ORIGIN)?;
    let site = origin.split_once("://").map_or(origin, |(_, site)| site);
    (text(header::HOST) != Some(site)).then(|| {
        DoorError::new(ErrorKind::Forbidden, format!("a page of {site} may not use this server"))
            .hint("serve the page from here, or ask without a browser")
    })
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

/// Answers for a handler that panicked: the others go on.
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let what = (panic.downcast_ref::<String>().map(String::as_str))
        .or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown panic");
    tracing::error!(what, "request handler panicked");
    DoorError::new(ErrorKind::Internal, "the request hit a fault of this program")
        .hint("please report it with the server's log")
        .into_response()
}
