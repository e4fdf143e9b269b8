//! The tables of a query `AS OF SYSTEM TIME`, all as they were at one epoch.

use super::as_of;
use super::error::Error;
use super::part::PartTable;
use super::session;
use super::source::ToldAgain;
use super::statement::Asked;
use super::tables::{Known, Named, Table, Tables};
use super::told::Told;
use crate::model::Epoch;
use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
use std::sync::Arc;

/// Views over many assets, by SQL over the views of single assets.
pub(super) const FLEET: [(&str, &str); 2] = [
    (
        "fleet_health",
        "SELECT asset_type AS type, coalesce(band, 'unknown') AS band, count(*) AS assets, \
         min(score) AS worst_score FROM asset_health GROUP BY 1, 2",
    ),
    (
        "fleet_thresholds",
        "SELECT rule, level, count(*) AS assets FROM threshold_states GROUP BY 1, 2",
    ),
];
const OF_FLEET: [&str; 2] = ["asset_health", "threshold_states"];

/// The epoch in the past that the query asks about.
pub(super) fn epoch(
    tables: &Tables,
    named: &Named<'_>,
    asked: &Asked,
) -> Result<Option<Epoch>, Error> {
    let Some(time) = &asked.as_of else { return Ok(None) };
    let kept = tables.views.told_again().map_or_else(Vec::new, |again| again.kept());
    let fleet = |name: &String| FLEET.iter().any(|(of_fleet, _)| of_fleet == name);
    let is_known = |name: &String| kept.contains(name) || (fleet(name) && !kept.is_empty());
    let unknown = named.views.iter().map(|(name, _)| name).find(|name| !is_known(name));
    let unknown = unknown.or(named.system.first().map(|(name, _)| name));
    if let Some(name) = unknown.or(asked.database.first()) {
        let hint = "it is only known as it is now: ask for it in a query of its own";
        return Err(Error::refused(format!("AS OF SYSTEM TIME of {name}"), hint));
    }
    if named.is_empty() {
        let hint = "name telemetry, the table of an asset type, or a view";
        return Err(Error::refused("AS OF SYSTEM TIME without a table", hint));
    }
    let now = tables.views.snapshot(&[]).map_err(Error::failed)?.epoch;
    as_of::epoch(time, now).map(Some)
}

/// Registers the tables as they were.
pub(super) async fn register(
    context: &SessionContext,
    tables: &Tables,
    known: &Known,
    named: &Named<'_>,
    epoch: Epoch,
) -> Result<(), Error> {
    let assets = named.assets(known)?;
    if named.telemetry || assets.is_some() {
        let as_it_was = tables.historian.as_of(epoch).map_err(Error::failed)?;
        let assets = assets.map(|assets| table(tables, assets, epoch)).transpose()?;
        let points = Arc::new(as_of::table(&as_it_was)?);
        session::register_points(context, named, points, assets)?;
    }
    let is_of_fleet = |name: &str| FLEET.iter().find(|(of_fleet, _)| *of_fleet == name);
    let of_assets = |view: &&&Table| is_of_fleet(&view.0).is_none();
    for view in named.views.iter().filter(of_assets).chain(&named.told) {
        register_told(context, tables, view, epoch)?;
    }
    let fleet: Vec<_> = named.views.iter().filter_map(|(name, _)| is_of_fleet(name)).collect();
    for name in OF_FLEET.iter().filter(|_| !fleet.is_empty()) {
        if let Some(view) = known.view(name)
            && !named.views.iter().any(|(named, _)| named == name)
        {
            register_told(context, tables, view, epoch)?;
        }
    }
    for (name, sql) in fleet {
        let rows = context.sql(sql).await.map_err(|error| Error::from_datafusion(&error))?;
        session::register(context, name, rows.into_view())?;
    }
    Ok(())
}

/// Registers a view as it was at an epoch.
pub(super) fn register_told(
    context: &SessionContext,
    tables: &Tables,
    view: &Table,
    epoch: Epoch,
) -> Result<(), Error> {
    session::register(context, &view.0, table(tables, view, epoch)?)
}

fn table(
    tables: &Tables,
    (view, schema): &Table,
    as_of: Epoch,
) -> Result<Arc<dyn TableProvider>, Error> {
    let source: Option<Arc<dyn ToldAgain>> = tables.views.told_again();
    let source = source.ok_or_else(|| Error::failed("nobody tells views as they were"))?;
    let told = Told { source, view: view.clone(), schema: Arc::clone(schema), as_of };
    Ok(Arc::new(PartTable(told)))
}
