//! Notes what verification has to know of telemetry that is about to be removed.

use super::base::{Base, Bases};
use super::plant::Plant;
use super::read::Reader;
use super::run::ASSETS_AT_ONCE;
use crate::historian::Telemetry;
use crate::model::{Document, Epoch, Expiry, Timestamp};
use crate::query::error::Error;
use crate::query::limits::Limits;
use crate::query::session::{self, Environment};
use crate::query::source::Contents;
use crate::query::tables::Tables;
use crate::query::telemetry;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Bases {
    /// What was noted when telemetry was removed last. Blocks.
    pub(super) fn read(telemetry: &Telemetry) -> Result<Self, Error> {
        match telemetry.carried().map_err(Error::failed)? {
            Some(bytes) => bincode::deserialize(&bytes).map_err(Error::failed),
            None => Ok(Self { before: Timestamp::MIN, epoch: Epoch(0), assets: BTreeMap::new() }),
        }
    }
}

/// What is to be noted of the assets of which telemetry expires, of those before included. Reads all
/// telemetry before that time.
pub(in crate::query) async fn carry(
    tables: &Tables,
    env: &Environment,
    limits: &Limits,
    expiry: Expiry,
    documents: &[Document],
) -> Result<Vec<u8>, Error> {
    let (contents, snapshot) = session::snapshot(tables, &[], true).await?;
    let Some(snapshot) = snapshot else { return Err(Error::failed("telemetry got lost")) };
    let Contents { epoch, removed, .. } = contents;
    let known = snapshot.clone();
    let bases = tokio::task::spawn_blocking(move || Bases::read(&known)).await;
    let bases = bases.map_err(Error::failed)??;
    let before = Timestamp(expiry.before.0.max(bases.before.0));
    let context = session::empty(env, limits)?;
    session::register(&context, telemetry::NAME, Arc::new(telemetry::table(&snapshot)?))?;
    let mut reader = Reader::new(context, Plant::of(documents), removed, bases);
    (reader.end, reader.received) = (Some(before), expiry.received);
    let mut noted = BTreeMap::new();
    for some in reader.assets().await?.chunks(ASSETS_AT_ONCE) {
        for (asset, points) in reader.read(some).await? {
            let old = reader.bases.assets.get(&asset);
            if old.is_none() && !reader.met.contains(&asset) {
                // Nothing of it expires yet.
                continue;
            }
            let base = match (reader.plant.history(&asset), old) {
                (Some(history), None) => Base::of(history, points, before.0, None),
                (Some(history), Some(Some(old))) => Base::of(history, points, before.0, Some(old)),
                _ => None,
            };
            noted.insert(asset, base);
            tokio::task::yield_now().await;
        }
    }
    bincode::serialize(&Bases { before, epoch, assets: noted }).map_err(Error::failed)
}
