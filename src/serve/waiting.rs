//! The doors while there is nothing behind them: every request is told why.

use super::doors::{DoorError, ErrorKind, Health, HealthStatus};
use super::hosts::Hosts;
use super::middleware::around;
use crate::base::shutdown::Shutdown;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Json, Router};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What the engine waits for, in words.
pub type Reason = Arc<dyn Fn() -> String + Send + Sync>;

/// Refuses requests with 503 and the reason until the shutdown; `/health` says the same.
pub async fn refuse(
    listener: TcpListener,
    hosts: Hosts,
    reason: Reason,
    shutdown: Shutdown,
) -> io::Result<()> {
    let of_health = Arc::clone(&reason);
    let health = async move || {
        let details = BTreeMap::from([("failure".to_owned(), of_health().into())]);
        let health = Health { status: HealthStatus::Failing, epoch: 0, details };
        (StatusCode::SERVICE_UNAVAILABLE, Json(health))
    };
    let refused = async move || {
        DoorError::new(ErrorKind::Unavailable, reason())
            .hint("send it again later: what was acknowledged is kept")
    };
    let router = Router::new().route("/health", get(health)).fallback(refused);
    let router = router.layer(from_fn_with_state(hosts, around));
    axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.wait().await }).await
}
