//! `DELETE` and `PATCH /api/v1/telemetry`: deletions and corrections of accepted points.

use super::body::{parse_json, read_text};
use super::doors::DoorError;
use super::limits::EDIT_BYTES;
use super::problem::Problem;
use super::server::State;
use axum::Json;
use axum::body::Body;
use axum::extract::{self, Query};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

/// Which points are to be deleted.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Deletion {
    /// The asset; or name a device.
    pub asset: Option<String>,
    /// A device that feeds one asset.
    pub device: Option<String>,
    /// Names of the asset's metrics with commas between them; all measured ones when left out.
    pub metrics: Option<String>,
    /// The one event time of the points; or give a range.
    pub at: Option<String>,
    /// The first event time of the range.
    pub from: Option<String>,
    /// The first event time behind the range.
    pub to: Option<String>,
    /// Why; kept in view `corrections`.
    pub reason: String,
    /// Who asks; kept in view `corrections`.
    pub user: Option<String>,
}

/// Points of one asset as they are to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// The asset; or name a device.
    pub asset: Option<String>,
    /// A device that feeds one asset.
    pub device: Option<String>,
    /// The points, at most 100.
    pub points: Vec<CorrectedPoint>,
    /// Why; kept in view `corrections`.
    pub reason: String,
    /// Who asks; kept in view `corrections`.
    pub user: Option<String>,
}

/// A point as it is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrectedPoint {
    /// One of the asset's measured metrics.
    pub metric: String,
    /// The event time of the point, which must be there.
    pub time: String,
    /// The value, in the asset's unit.
    #[schema(value_type = serde_json::Value)]
    pub value: Box<RawValue>,
    /// `Good`, `Uncertain`, `Bad` or a status code; `Good` when left out.
    pub quality: Option<String>,
}

/// What was done, durable and visible.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct EditAnswer {
    /// What view `corrections` has it under.
    pub id: String,
    /// The epoch at which it became visible.
    pub epoch: u64,
    /// How many points were deleted or corrected.
    pub points: u64,
}

/// Deletes accepted points; answers after they are gone from every view and from `telemetry`.
///
/// Nothing to delete is 0 points and no error; nothing is ever deleted in part. What is not in
/// memory is read from the archive first.
#[utoipa::path(
    delete,
    path = "/api/v1/telemetry",
    tag = "telemetry",
    params(Deletion),
    responses(
        (status = 200, description = "Durable and visible", body = EditAnswer),
        (status = 400, description = "Not understood", body = Problem),
        (status = 404, description = "No such asset or device", body = Problem),
        (status = 409, description = "Earlier than views can be recomputed", body = Problem),
        (status = 422, description = "No such metric, or a limit", body = Problem),
        (status = 503, description = "Nothing can be made durable now", body = Problem),
    )
)]
pub(super) async fn delete(
    extract::State(state): extract::State<State>,
    Query(wanted): Query<Deletion>,
) -> Result<Json<EditAnswer>, DoorError> {
    Ok(Json(state.doors.delete_points(wanted).await?))
}

/// Gives accepted points of one asset other values; answers when every view has them.
///
/// All of the points are corrected, or none: each must be there.
#[utoipa::path(
    patch,
    path = "/api/v1/telemetry",
    tag = "telemetry",
    request_body = Correction,
    responses(
        (status = 200, description = "Durable and visible", body = EditAnswer),
        (status = 400, description = "Not understood", body = Problem),
        (status = 404, description = "No such asset, device or point", body = Problem),
        (status = 409, description = "Earlier than views can be recomputed", body = Problem),
        (status = 413, description = "Longer than the limit", body = Problem),
        (status = 422, description = "No such metric, or no value of it", body = Problem),
        (status = 503, description = "Nothing can be made durable now", body = Problem),
    )
)]
pub(super) async fn correct(
    extract::State(state): extract::State<State>,
    body: Body,
) -> Result<Json<EditAnswer>, DoorError> {
    let text = read_text(body, "correction", EDIT_BYTES).await?;
    let hint = r#"send {"asset": "...", "points": [{"metric": "...", "time": "...", "value": 1.5}], "reason": "..."}"#;
    let wanted: Correction = parse_json(&text, "correction", hint)?;
    Ok(Json(state.doors.correct_points(wanted).await?))
}
