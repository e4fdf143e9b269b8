//! All routes, and the life of the server.

use super::doors::Doors;
use super::hosts::Hosts;
use super::limits::{ANSWER_WITHIN, SHUTDOWN_WITHIN, STREAMS, VERIFY_WITHIN};
use super::middleware::{around, explain};
use super::pages::Pages;
use super::running::Running;
use super::{
    catalog, changes, contents, edits, exports, queries, retrieval, socket, sql, system, telemetry,
};
use crate::base::shutdown::Shutdown;
use crate::views::Views;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Router, ServiceExt};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower_http::timeout::TimeoutLayer;
use tower_layer::Layer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

/// What handlers share.
#[derive(Clone)]
pub(super) struct State {
    pub doors: Arc<dyn Doors>,
    pub views: Views,
    pub shutdown: Shutdown,
    /// Room for streams of changes.
    pub streams: Arc<Semaphore>,
    /// Queries that run.
    pub running: Running,
    /// Answers that are read page by page.
    pub pages: Pages,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Millstream", description = "Live views of a plant, SQL, and the doors in."),
    tags(
        (name = "telemetry", description = "Doors in"),
        (name = "views", description = "What is true now, and what changes"),
        (name = "sql", description = "Questions over now and history"),
        (name = "catalog", description = "What the plant is"),
        (name = "system", description = "How the runtime is"),
    )
)]
struct Api;

/// Answers requests until the shutdown, then finishes those that are under way.
///
/// Requests that call the server by another name than `hosts` has are refused.
/// Streams of changes end at once; whoever is not done 10 seconds later is cut off. Errors are
/// those of the listener.
pub async fn serve(
    listener: TcpListener,
    hosts: Hosts,
    doors: Arc<dyn Doors>,
    views: Views,
    shutdown: Shutdown,
) -> io::Result<()> {
    let streams = Arc::new(Semaphore::new(STREAMS));
    let (running, pages) = (Running::default(), Pages::default());
    let state = State { doors, views, shutdown: shutdown.clone(), streams, running, pages };
    let graceful = shutdown.clone();
    // Outside of the router, because it is the router that says which methods are allowed.
    let explained = from_fn(explain).layer(router(state, hosts));
    let service = ServiceExt::<Request>::into_make_service(explained);
    let server =
        axum::serve(listener, service).with_graceful_shutdown(async move { graceful.wait().await });
    tokio::select! {
        ended = server => ended,
        () = async { shutdown.wait().await; tokio::time::sleep(SHUTDOWN_WITHIN).await } => {
            tracing::warn!("connections were cut off at shutdown");
            Ok(())
        }
    }
}

/// The OpenAPI document of all routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<State> {
    let within =
        |time: Duration| TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, time);
    let quick = OpenApiRouter::new()
        .routes(routes!(telemetry::ingest))
        .routes(routes!(edits::delete, edits::correct))
        .routes(routes!(contents::list))
        .routes(routes!(contents::read))
        .routes(routes!(changes::changes))
        .routes(routes!(socket::subscribe))
        .routes(routes!(sql::sql))
        .routes(routes!(sql::page, sql::end))
        .routes(routes!(queries::list))
        .routes(routes!(queries::run))
        .routes(routes!(exports::start, exports::list))
        .routes(routes!(exports::status, exports::remove))
        .routes(routes!(exports::file))
        .routes(routes!(retrieval::of_device))
        .routes(routes!(retrieval::of_asset))
        .routes(routes!(retrieval::range))
        .routes(routes!(catalog::list))
        .routes(routes!(catalog::get, catalog::put, catalog::delete))
        .routes(routes!(system::health))
        .routes(routes!(system::metrics_text))
        .routes(routes!(system::page))
        .layer(within(ANSWER_WITHIN));
    let slow = OpenApiRouter::new()
        .routes(routes!(system::verify))
        .routes(routes!(system::conservation))
        .routes(routes!(system::retention, system::retain))
        .layer(within(VERIFY_WITHIN));
    OpenApiRouter::with_openapi(Api::openapi()).merge(quick).merge(slow)
}

fn router(state: State, hosts: Hosts) -> Router {
    let (router, api) = routes().split_for_parts();
    router
        .with_state(state)
        .route("/page.js", get(system::page_script))
        .route("/page.css", get(system::page_style))
        .merge(SwaggerUi::new("/docs").url("/api/v1/openapi.json", api))
        .layer(from_fn_with_state(hosts, around))
}
