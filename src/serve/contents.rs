//! `GET /api/v1/views` and `GET /api/v1/views/{name}`: what there is, and what it holds now.

use super::doors::{DoorError, ErrorKind};
use super::formats::{Format, respond};
use super::problem::Problem;
use super::server::State;
use super::wire::WireFilter;
use crate::views::{Filter, View, ViewInfo};
use axum::Json;
use axum::extract::{self, Path, Query};
use axum::response::Response;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A view and how much it holds.
#[derive(Serialize, ToSchema)]
pub(super) struct ListedView {
    /// The name to ask for.
    name: String,
    /// What it holds.
    description: String,
    /// Its columns, in order.
    columns: Vec<ListedColumn>,
    /// The columns that tell rows apart.
    key: Vec<String>,
    /// What it can be filtered by.
    filters: Vec<String>,
    /// The number of rows.
    rows: usize,
    /// About how many bytes it takes.
    bytes: usize,
}

/// A column of a view.
#[derive(Serialize, ToSchema)]
pub(super) struct ListedColumn {
    /// Its name.
    name: String,
    /// Its Arrow type.
    #[serde(rename = "type")]
    data_type: String,
}

/// All views at one epoch.
#[derive(Serialize, ToSchema)]
pub(super) struct ViewList {
    /// The newest visible epoch.
    epoch: u64,
    /// The views.
    views: Vec<ListedView>,
}

/// Which rows are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Rows of the asset with this key.
    asset: Option<String>,
    /// Rows of assets of this type.
    #[serde(rename = "type")]
    asset_type: Option<String>,
    /// Rows of this metric.
    metric: Option<String>,
    /// At most so many rows.
    limit: Option<usize>,
    /// `json`, `csv`, `arrow`, `ndjson`, `parquet` or `xlsx`; else what `Accept` says.
    #[serde(rename = "format")]
    _format: Option<String>,
}

/// Lists the views.
#[utoipa::path(
    get,
    path = "/api/v1/views",
    tag = "views",
    responses((status = 200, description = "All views", body = ViewList))
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
) -> Result<Json<ViewList>, DoorError> {
    let views = state.views.clone();
    let epoch = views.epoch().0;
    let infos = blocking(move || Ok(views.list())).await?;
    Ok(Json(ViewList { epoch, views: infos.into_iter().map(ListedView::from).collect() }))
}

/// The rows of a view now, all of one epoch.
#[utoipa::path(
    get,
    path = "/api/v1/views/{name}",
    tag = "views",
    params(("name" = String, Path, description = "The view's name"), Wanted),
    responses(
        (status = 200, description = "`{view, epoch, rows}`; or CSV or Arrow by Accept", content(
            (serde_json::Value = "application/json"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 400, description = "A filter that does not fit the view", body = Problem),
        (status = 404, description = "No such view", body = Problem),
        (status = 406, description = "No acceptable form", body = Problem),
    )
)]
pub(super) async fn read(
    extract::State(state): extract::State<State>,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
    format: Format,
) -> Result<Response, DoorError> {
    let view = View::parse(&name)?;
    let limit = wanted.limit.unwrap_or(usize::MAX);
    let filter = Filter::from(WireFilter {
        asset: wanted.asset,
        asset_type: wanted.asset_type,
        metric: wanted.metric,
    });
    rows(&state, view, filter, limit, format).await
}

/// An answer with the rows of a view.
pub(super) async fn rows(
    state: &State,
    view: View,
    filter: Filter,
    limit: usize,
    format: Format,
) -> Result<Response, DoorError> {
    let views = state.views.clone();
    let (epoch, batches) = blocking(move || Ok(views.first(view, &filter, limit)?)).await?;
    let head = format!("\"view\":\"{view}\",\"epoch\":{epoch},");
    respond(format, view.schema(), head, stream::iter(batches.into_iter().map(Ok)).boxed()).await
}

/// Runs what takes long off the threads that answer requests.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DoorError> + Send + 'static,
) -> Result<T, DoorError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| DoorError::new(ErrorKind::Internal, format!("reading failed: {error}")))?
}

impl From<ViewInfo> for ListedView {
    fn from(info: ViewInfo) -> Self {
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Self {
            name: info.name.into(),
            description: info.description.into(),
            columns: info
                .schema
                .fields()
                .iter()
                .map(|field| ListedColumn {
                    name: field.name().clone(),
                    data_type: field.data_type().to_string(),
                })
                .collect(),
            key: owned(info.key),
            filters: owned(info.filters),
            rows: info.rows,
            bytes: info.bytes,
        }
    }
}
