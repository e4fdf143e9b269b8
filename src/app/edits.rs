//! Deletions and corrections from a door to their answer: name, commit, wait, say what became of
//! them.

use super::doors::{RuntimeDoors, asked};
use super::intake::{ended, refused};
use crate::catalog::{AssetEntry, AssetTypeEntry, Catalog, Slot};
use crate::ingest::commit::Submission;
use crate::model::{Action, Corrected, DataType, Edit, EditRefusal, Quality, Timestamp, Value};
use crate::serve::{CorrectedPoint, Correction, Deletion, DoorError, EditAnswer, ErrorKind};
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType as Arrow, TimestampMicrosecondType};
use futures::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Points of one correction.
const POINTS_MAX: usize = 100;
/// Bytes of a reason, and of a user's name.
const TEXT_BYTES: usize = 1000;

/// How long an edit, or a document, may wait for rows to be looked at again before it is answered,
/// and how often that is looked for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// The asset that an edit is about.
struct Target {
    asset: AssetEntry,
    asset_type: Arc<AssetTypeEntry>,
}

impl RuntimeDoors {
    /// Deletes points; returns when that is durable and visible.
    pub(super) async fn delete(&self, wanted: Deletion) -> Result<EditAnswer, DoorError> {
        let target = self.target(wanted.asset.as_deref(), wanted.device.as_deref())?;
        let slots = || &target.asset_type.layout.slots[..target.asset_type.layout.measured];
        let metrics: Vec<Arc<str>> = match &wanted.metrics {
            None => slots().iter().map(|slot| slot.name.as_str().into()).collect(),
            Some(names) => {
                let mut names: Vec<&str> = names.split(',').map(str::trim).collect();
                names.sort_unstable();
                names.dedup();
                let named = names.into_iter().map(|name| target.slot(name));
                let named = named.map(|slot| slot.map(|slot| slot.name.as_str().into()));
                named.collect::<Result<_, _>>()?
            }
        };
        let (from, to) = match (&wanted.at, &wanted.from, &wanted.to) {
            (Some(at), None, None) => {
                let at = time("at", at)?;
                (at, Timestamp(at.0.saturating_add(1)))
            }
            (None, Some(from), Some(to)) => (time("from", from)?, time("to", to)?),
            _ => {
                let detail = "which event times: give either 'at', or both 'from' and 'to'";
                return Err(DoorError::new(ErrorKind::Malformed, detail));
            }
        };
        if from >= to {
            let detail = format!("the range is empty: from {from} is not before to {to}");
            return Err(DoorError::new(ErrorKind::Invalid, detail));
        }
        let action = Action::Delete { metrics, from, to };
        self.edit(&target, (&wanted.reason, wanted.user.as_deref()), action).await
    }

    /// Corrects points; returns when that is durable and visible.
    pub(super) async fn correct(&self, wanted: Correction) -> Result<EditAnswer, DoorError> {
        let target = self.target(wanted.asset.as_deref(), wanted.device.as_deref())?;
        if wanted.points.is_empty() || wanted.points.len() > POINTS_MAX {
            let count = wanted.points.len();
            let detail = format!("{count} points: a correction has 1 to {POINTS_MAX}");
            return Err(DoorError::new(ErrorKind::Invalid, detail));
        }
        let mut points = Vec::with_capacity(wanted.points.len());
        for point in &wanted.points {
            points.push(corrected(target.slot(&point.metric)?, point)?);
        }
        let senders = self.senders(&target.asset.key, &points).await?;
        for point in &mut points {
            let sender = senders.get(&(point.metric.to_string(), point.event_time.0));
            let sender = sender.ok_or_else(|| {
                let missing = EditRefusal::NoPoint(Arc::clone(&point.metric), point.event_time.0);
                told(&missing)
            })?;
            let catalog = self.catalog();
            // A device that is gone leaves its name to nobody.
            let device = catalog.device_named(sender).ok_or_else(|| {
                let detail = format!("the device '{sender}' that had sent the point is gone");
                DoorError::new(ErrorKind::Conflict, detail)
            })?;
            point.device = device.id.0;
        }
        let action = Action::Correct { points };
        self.edit(&target, (&wanted.reason, wanted.user.as_deref()), action).await
    }

    async fn edit(
        &self,
        target: &Target,
        (reason, user): (&str, Option<&str>),
        action: Action,
    ) -> Result<EditAnswer, DoorError> {
        let reason = reason.trim();
        if reason.is_empty() {
            let error = DoorError::new(ErrorKind::Invalid, "an edit must have a reason");
            return Err(error.hint("say why in 'reason': it is kept in view corrections"));
        }
        if reason.len().max(user.map_or(0, str::len)) > TEXT_BYTES {
            let detail = format!("reason and user may have {TEXT_BYTES} bytes each");
            return Err(DoorError::new(ErrorKind::Invalid, detail));
        }
        let edit = Edit {
            id: uuid::Uuid::now_v7().to_string().into(),
            received_at: Timestamp(self.runtime().clock.now_micros()),
            asset: target.asset.id.0,
            asset_type: target.asset.asset_type,
            key: Arc::clone(&target.asset.key),
            reason: reason.into(),
            user: user.map(Into::into),
            action,
        };
        let (id, received_at) = (Arc::clone(&edit.id), edit.received_at);
        let submission = Submission { edits: vec![edit], ..Submission::default() };
        let submitter = &self.runtime().submitter;
        let committed = submitter.submit(submission).await.map_err(refused)?;
        submitter.visible(committed.epoch).await.map_err(ended)?;
        let views = &self.runtime().views;
        let mut epoch = committed.epoch;
        let mut rows = views.edit(received_at, &id);
        let begun = Instant::now();
        // It may wait for archived points.
        while rows.is_empty() {
            if begun.elapsed() > PATIENCE {
                let detail = format!("the edit {id} is accepted and waits for archived points");
                let error = DoorError::new(ErrorKind::Unavailable, detail);
                return Err(error.hint("look for its id in the view corrections, do not repeat it"));
            }
            submitter.visible(epoch).await.map_err(ended)?;
            tokio::time::sleep(LOOK).await;
            epoch = views.epoch();
            rows = views.edit(received_at, &id);
        }
        if let Some(refusal) = rows.iter().find_map(|row| row.refused.as_ref()) {
            return Err(told(refusal));
        }
        let points = rows.iter().map(|row| row.points).sum();
        Ok(EditAnswer { id: id.to_string(), epoch: epoch.0, points })
    }

    fn catalog(&self) -> std::sync::RwLockReadGuard<'_, Catalog> {
        self.runtime().catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The asset of this key, or the only one that the device feeds.
    fn target(&self, asset: Option<&str>, device: Option<&str>) -> Result<Target, DoorError> {
        let catalog = self.catalog();
        let asset = match (asset, device) {
            (Some(key), None) => catalog.asset_named(key).ok_or_else(|| {
                DoorError::new(ErrorKind::NotFound, format!("there is no asset '{key}'"))
                    .hint("GET /api/v1/views/assets lists the assets")
            })?,
            (None, Some(key)) => {
                if catalog.device_named(key).is_none() {
                    let detail = format!("there is no device '{key}'");
                    return Err(DoorError::new(ErrorKind::NotFound, detail)
                        .hint("GET /api/v1/views/devices lists the devices"));
                }
                let fed: Vec<&AssetEntry> =
                    catalog.links_of(key).filter_map(|link| catalog.asset(link.asset)).collect();
                let [asset] = fed[..] else {
                    let names: Vec<&str> = fed.iter().map(|asset| &*asset.key).collect();
                    let detail = format!("the device '{key}' feeds {} assets", fed.len());
                    return Err(DoorError::new(ErrorKind::Invalid, detail)
                        .hint(format!("name one asset: {}", names.join(", "))));
                };
                asset
            }
            _ => {
                let detail = "which points: give either 'asset' or 'device'";
                return Err(DoorError::new(ErrorKind::Malformed, detail));
            }
        };
        let asset_type = catalog.asset_type(asset.asset_type).map(Arc::clone);
        let asset_type = asset_type.ok_or_else(|| {
            DoorError::new(ErrorKind::Internal, format!("the type of '{}' is gone", asset.key))
        })?;
        Ok(Target { asset: asset.clone(), asset_type })
    }

    /// Which devices had sent points, by metric and event time. Points that are not there are not
    /// in the answer.
    async fn senders(
        &self,
        asset: &str,
        points: &[Corrected],
    ) -> Result<HashMap<(String, i64), String>, DoorError> {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let at = |time: i64| format!("arrow_cast({time}, 'Timestamp(Microsecond, Some(\"UTC\"))')");
        let times = points.iter().map(|point| point.event_time.0);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else {
            return Ok(HashMap::new());
        };
        let metrics: Vec<String> = points.iter().map(|point| quoted(&point.metric)).collect();
        let query = format!(
            "SELECT metric, event_time, device FROM telemetry WHERE asset = {} AND metric IN ({}) \
             AND event_time >= {} AND event_time <= {}",
            quoted(asset),
            metrics.join(", "),
            at(first),
            at(last),
        );
        let answer = self.runtime().query.sql(&query).await.map_err(asked)?;
        let mut batches = std::pin::pin!(answer.into_stream());
        let mut senders = HashMap::new();
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(asked)?;
            let text = |i: usize| {
                let column = cast(batch.column(i), &Arrow::Utf8);
                column.map_err(|e| DoorError::new(ErrorKind::Internal, e.to_string()))
            };
            let (metrics, devices) = (text(0)?, text(2)?);
            let (metrics, devices) = (metrics.as_string::<i32>(), devices.as_string::<i32>());
            let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
            for i in 0..times.len() {
                let key = (metrics.value(i).to_owned(), times.value(i));
                if points.iter().any(|p| *p.metric == *key.0 && p.event_time.0 == key.1) {
                    senders.insert(key, devices.value(i).to_owned());
                }
            }
        }
        Ok(senders)
    }
}

impl Target {
    /// A measured metric of the asset.
    fn slot(&self, name: &str) -> Result<&Slot, DoorError> {
        let layout = &self.asset_type.layout;
        let found = layout.position(name).filter(|slot| *slot < layout.measured);
        found.map(|slot| &layout.slots[slot]).ok_or_else(|| {
            let what = match layout.position(name) {
                Some(_) => "is computed, so that it has no points of its own",
                None => "is not there",
            };
            let measured = layout.slots[..layout.measured].iter().map(|slot| slot.name.as_str());
            let detail = format!("the metric '{name}' of '{}' {what}", self.asset.key);
            DoorError::new(ErrorKind::Invalid, detail)
                .hint(format!("measured: {}", measured.collect::<Vec<_>>().join(", ")))
        })
    }
}

fn corrected(slot: &Slot, point: &CorrectedPoint) -> Result<Corrected, DoorError> {
    let text = point.value.get();
    // From its digits: the nearest float.
    let value = match slot.data_type {
        DataType::Double => text.parse().ok().filter(|x: &f64| x.is_finite()).map(Value::Double),
        DataType::Integer => text.parse().ok().map(Value::Integer),
        DataType::Bool => text.parse().ok().map(Value::Bool),
        DataType::String => {
            serde_json::from_str::<String>(text).ok().map(|text| Value::String(text.into()))
        }
    };
    let value = value.ok_or_else(|| {
        let (metric, wanted) = (&slot.name, slot.data_type);
        let detail = format!("the value of '{metric}' is to be a {wanted}, not {text}");
        DoorError::new(ErrorKind::Invalid, detail)
    })?;
    let quality = point.quality.as_deref().unwrap_or_default();
    let quality = Quality::parse(quality).ok_or_else(|| {
        let detail = format!("'{quality}' is no quality");
        DoorError::new(ErrorKind::Invalid, detail)
            .hint("Good, Uncertain, Bad or a status code as a number")
    })?;
    let event_time = time("time", &point.time)?;
    Ok(Corrected { metric: slot.name.as_str().into(), event_time, value, quality, device: 0 })
}

fn time(name: &str, text: &str) -> Result<Timestamp, DoorError> {
    Timestamp::parse(text).map_err(|error| {
        DoorError::new(ErrorKind::Malformed, format!("'{name}' is no time: {error}"))
            .hint("for example 2026-03-01T12:00:00Z; in an address, write + as %2B")
    })
}

/// A refusal by the dataflow for the one who asked.
fn told(refusal: &EditRefusal) -> DoorError {
    let (kind, hint) = match refusal {
        EditRefusal::TooEarly(earliest) => {
            (ErrorKind::Conflict, format!("the earliest possible time is {}", Timestamp(*earliest)))
        }
        EditRefusal::NoPoint(..) => (
            ErrorKind::NotFound,
            "only points that are there can be corrected; new ones are sent to \
             /api/v1/telemetry/ingest"
                .into(),
        ),
        EditRefusal::UnknownMetric(_) => {
            (ErrorKind::Invalid, "its asset type was changed: look at the current one".into())
        }
        EditRefusal::TooMany(_) => (ErrorKind::Invalid, "delete a shorter range at once".into()),
    };
    DoorError::new(kind, format!("nothing was changed: {refusal}")).hint(hint)
}
