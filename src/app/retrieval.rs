//! History over REST from a door to its answer: who and which metrics are meant, as the catalog
//! knows them, or telemetry when the catalog has forgotten them.

use super::doors::{RuntimeDoors, asked, rows};
use super::limits;
use crate::catalog::{AssetEntry, Catalog};
use crate::expr::nearest;
use crate::model::{DataType, Timestamp};
use crate::query::{Mode, Range, Retrieval, Source};
use crate::serve::{DoorError, ErrorKind, History, Owner};
use serde_json::{Map, Value};
use std::sync::PoisonError;

/// Names that a hint lists.
const LISTED: usize = 20;

/// A metric as the catalog knows it.
struct Known {
    name: String,
    data_type: DataType,
    derived: bool,
}

impl RuntimeDoors {
    /// Points of an asset, or of what a device has sent.
    pub(super) async fn history(
        &self,
        owner: Owner,
        key: &str,
        given: &[(String, String)],
    ) -> Result<History, DoorError> {
        let found = self.with_catalog(|catalog| find(catalog, owner, key));
        let is_known = found.is_some();
        let (source, known) = found.unwrap_or_else(|| match owner {
            Owner::Asset => (Source::Asset(key.into()), Vec::new()),
            Owner::Device => (Source::Device { key: key.into(), assets: Vec::new() }, Vec::new()),
        });
        let (now, most) = self.now_and_rows();
        let mut retrieval = Retrieval::read(source, given, now, most).map_err(asked)?;
        self.check(&mut retrieval, &known, (owner, key, is_known)).await?;
        let about = about(&retrieval, owner, key);
        let answer = self.runtime().query.retrieve(retrieval).await.map_err(asked)?;
        Ok(History { about, rows: rows(answer) })
    }

    /// What was measured in a range, side by side.
    pub(super) async fn side_by_side(
        &self,
        given: &[(String, String)],
    ) -> Result<History, DoorError> {
        let (now, most) = self.now_and_rows();
        let mut range = Range::read(given, now, most).map_err(asked)?;
        let known = match &range.asset {
            Some(key) => match self.with_catalog(|catalog| find(catalog, Owner::Asset, key)) {
                Some((_, known)) => known,
                None => return Err(self.nobody(Owner::Asset, key)),
            },
            None => self.with_catalog(all),
        };
        let measured = || known.iter().filter(|known| !known.derived);
        if range.metrics.is_empty() {
            range.metrics = measured().map(|known| (known.name.clone(), false)).collect();
        }
        for (name, is_text) in &mut range.metrics {
            let found = measured().find(|known| known.name == *name);
            *is_text = found.ok_or_else(|| no_metric(name, &known))?.data_type == DataType::String;
        }
        let mut about = Map::new();
        about.insert("start".into(), range.start.to_string().into());
        about.insert("end".into(), range.end.to_string().into());
        let answer = self.runtime().query.range(range).await.map_err(asked)?;
        Ok(History { about, rows: rows(answer) })
    }

    /// Refuses names that neither the catalog nor telemetry knows, and completes what is asked by
    /// what the catalog says.
    async fn check(
        &self,
        retrieval: &mut Retrieval,
        known: &[Known],
        (owner, key, is_known): (Owner, &str, bool),
    ) -> Result<(), DoorError> {
        let is_measured =
            |name: &&String| known.iter().any(|known| known.name == **name && !known.derived);
        let foreign: Vec<String> =
            retrieval.metrics.iter().filter(|name| !is_measured(name)).cloned().collect();
        if !is_known || !foreign.is_empty() {
            let among = if is_known { foreign.clone() } else { Vec::new() };
            let query = &self.runtime().query;
            let found = query.metrics(retrieval.source.clone(), among).await.map_err(asked)?;
            if !is_known && found.is_empty() {
                return Err(self.nobody(owner, key));
            }
            if let Some(name) = foreign.iter().find(|name| !found.contains(name)) {
                return Err(no_metric(name, known));
            }
        }
        if retrieval.metrics.is_empty() && owner == Owner::Asset {
            let measured = known.iter().filter(|known| !known.derived);
            retrieval.metrics = measured.map(|known| known.name.clone()).collect();
        }
        let is_discrete = |known: &&Known| !known.data_type.is_number();
        let discrete = known.iter().filter(is_discrete).map(|known| known.name.clone());
        retrieval.discrete = discrete.collect();
        Ok(())
    }

    fn now_and_rows(&self) -> (Timestamp, usize) {
        let now = Timestamp(self.runtime().clock.now_micros());
        (now, limits::query(&self.runtime().memory).rows)
    }

    fn with_catalog<T>(&self, read: impl FnOnce(&Catalog) -> T) -> T {
        read(&self.runtime().catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Neither the catalog nor telemetry knows the key.
    fn nobody(&self, owner: Owner, key: &str) -> DoorError {
        let (what, list) = match owner {
            Owner::Asset => ("asset", "assets"),
            Owner::Device => ("device", "devices"),
        };
        let near = self.with_catalog(|catalog| match owner {
            Owner::Asset => {
                nearest(key, catalog.assets().map(|asset| &*asset.key)).map(str::to_owned)
            }
            Owner::Device => {
                nearest(key, catalog.devices().map(|device| &*device.key)).map(str::to_owned)
            }
        });
        let near = near.map_or(String::new(), |near| format!("did you mean '{near}'? "));
        DoorError::new(ErrorKind::NotFound, format!("there is no {what} '{key}'"))
            .hint(format!("{near}GET /api/v1/views/{list} lists the {list}"))
    }
}

/// Who is asked for, and the metrics of the asset, or of those that the device feeds.
fn find(catalog: &Catalog, owner: Owner, key: &str) -> Option<(Source, Vec<Known>)> {
    match owner {
        Owner::Asset => {
            let asset = catalog.asset_named(key)?;
            Some((Source::Asset(key.into()), of_assets(catalog, [asset])))
        }
        Owner::Device => {
            catalog.device_named(key)?;
            let fed = || catalog.links_of(key).filter_map(|link| catalog.asset(link.asset));
            let assets = fed().map(|asset| asset.key.to_string()).collect();
            Some((Source::Device { key: key.into(), assets }, of_assets(catalog, fed())))
        }
    }
}

fn of_assets<'a>(
    catalog: &Catalog,
    assets: impl IntoIterator<Item = &'a AssetEntry>,
) -> Vec<Known> {
    let mut known = Vec::new();
    for asset_type in assets.into_iter().filter_map(|asset| catalog.asset_type(asset.asset_type)) {
        add(&mut known, &asset_type.layout.slots);
    }
    known
}

/// The metrics of all types.
fn all(catalog: &Catalog) -> Vec<Known> {
    let mut known = Vec::new();
    for asset_type in catalog.asset_types() {
        add(&mut known, &asset_type.layout.slots);
    }
    known
}

fn add(known: &mut Vec<Known>, slots: &[crate::catalog::Slot]) {
    for slot in slots {
        match known.iter_mut().find(|known| known.name == slot.name) {
            // Measured by one type, and computed by another.
            Some(known) => known.derived &= slot.derived,
            None => known.push(Known {
                name: slot.name.clone(),
                data_type: slot.data_type,
                derived: slot.derived,
            }),
        }
    }
}

fn no_metric(name: &str, known: &[Known]) -> DoorError {
    let measured = || known.iter().filter(|known| !known.derived).map(|known| known.name.as_str());
    let near = nearest(name, measured());
    let near = near.map_or(String::new(), |near| format!("did you mean '{near}'? "));
    let what = match known.iter().any(|known| known.name == name) {
        true => "is computed, so that it has no points of its own",
        false => "is not there",
    };
    let names: Vec<&str> = measured().take(LISTED).collect();
    let more = if measured().count() > LISTED { ", ..." } else { "" };
    DoorError::new(ErrorKind::Invalid, format!("the metric '{name}' {what}"))
        .hint(format!("{near}measured: {}{more}", names.join(", ")))
}

/// What was understood, for the head of the answer.
fn about(retrieval: &Retrieval, owner: Owner, key: &str) -> Map<String, Value> {
    let mut about = Map::new();
    let owner = match owner {
        Owner::Asset => "asset",
        Owner::Device => "device",
    };
    about.insert(owner.into(), key.into());
    about.insert("mode".into(), retrieval.mode.name().into());
    if retrieval.mode == Mode::Recorded {
        about.insert("boundary".into(), retrieval.boundary.name().into());
    }
    let start = retrieval.start.map(|start| start.to_string());
    about.insert("startTime".into(), start.into());
    about.insert("endTime".into(), retrieval.end.to_string().into());
    about
}
