//! Reads telemetry back, some assets at a time, recomputes, and compares.

use super::base::Bases;
use super::cell::Row;
use super::compare::Side;
use super::fleet::{FLEET, fleet};
use super::plant::Plant;
use super::read::Reader;
use super::recompute::recompute;
use super::report::{Finding, Report};
use super::shapes::SHAPES;
use crate::model::Document;
use crate::query::error::Error;
use crate::query::limits::Limits;
use crate::query::session::{self, Environment};
use crate::query::source::{Contents, ViewRows};
use crate::query::tables::Tables;
use crate::query::telemetry;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::prelude::{SessionContext, col, lit};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Assets whose series are in memory at the same time.
pub(super) const ASSETS_AT_ONCE: usize = 200;

/// Compares every view that is there with what telemetry says of it, at one epoch.
///
/// `documents` are all versions of asset types in the order in which they were published, and the
/// current documents of the other kinds.
pub(in crate::query) async fn verify(
    tables: &Tables,
    env: &Environment,
    limits: &Limits,
    documents: &[Document],
) -> Result<Report, Error> {
    let plant = Plant::of(documents);
    let there: Vec<String> = tables.views.list().into_iter().map(|(name, _)| name).collect();
    let wanted = SHAPES.iter().map(|(name, _)| *name).chain(FLEET.iter().map(|(name, ..)| *name));
    let names: Vec<&str> = wanted.filter(|name| there.iter().any(|known| known == name)).collect();
    let (contents, snapshot) = session::snapshot(tables, &names, true).await?;
    let Some(snapshot) = snapshot else { return Err(Error::failed("telemetry got lost")) };
    let files = snapshot.clone();
    let checked = tokio::task::spawn_blocking(move || files.check_files()).await;
    checked.map_err(Error::failed)?.map_err(Error::failed)?;
    let Contents { epoch, clock, removed, views } = contents;
    let mut contents: HashMap<&str, ViewRows> = names.iter().copied().zip(views).collect();

    let mut sides: Vec<Option<Result<Side, String>>> = Vec::new();
    for (name, shape) in SHAPES {
        sides.push(contents.get(name).map(|rows| Side::new(shape, &rows.batches)));
    }
    let context = session::empty(env, limits)?;
    session::register(&context, telemetry::NAME, Arc::new(telemetry::table(&snapshot)?))?;
    let schemas: HashMap<String, SchemaRef> = tables.views.list().into_iter().collect();
    let mut in_files = HashSet::new();
    for name in &names {
        let archived = contents.get_mut(name).and_then(|rows| rows.archived.take());
        if let (Some(_), Some(schema)) = (&archived, schemas.get(*name)) {
            let rows = ViewRows { archived, ..ViewRows::default() };
            let table = session::view(Arc::clone(schema), rows)?;
            session::register(&context, name, table)?;
            in_files.insert(*name);
        }
    }
    for asset in plant.unreadable() {
        for side in sides.iter_mut().flatten().flatten() {
            side.skip(asset);
        }
    }
    let unreadable: Vec<String> = plant.unreadable().map(ToString::to_string).collect();
    let known = snapshot.clone();
    let bases = tokio::task::spawn_blocking(move || Bases::read(&known)).await;
    let bases = bases.map_err(Error::failed)??;
    let mut reader = Reader::new(context.clone(), plant, removed, bases);
    let mut left_out = 0;
    let assets = reader.assets().await?;
    // Rows in files are of the assets between the last ones and these, whatever telemetry says; the
    // last time of all that are left.
    let mut last: Option<&String> = None;
    for some in assets.chunks(ASSETS_AT_ONCE).chain([&[] as &[String]]) {
        for ((name, _), side) in SHAPES.iter().zip(&mut sides) {
            if let (Some(Ok(side)), true) = (side, in_files.contains(name)) {
                let batches = between(&context, name, last, some.last()).await?;
                side.add(&batches).map_err(Error::failed)?;
                unreadable.iter().for_each(|asset| side.skip(asset));
            }
        }
        last = some.last().or(last);
        for (asset, points) in reader.read(some).await? {
            let Some(history) = reader.plant.history(&asset) else { continue };
            let base = reader.bases.assets.get(&asset);
            if let Some(None) = base {
                sides.iter_mut().flatten().flatten().for_each(|side| side.skip(&asset));
                continue;
            }
            let base = base.and_then(Option::as_ref);
            let views = recompute(history, &asset, points, clock.0, base);
            for ((side, rows), (name, _)) in sides.iter_mut().zip(views).zip(SHAPES) {
                if let Some(Ok(side)) = side {
                    let is_of_before =
                        |row: &Row| base.is_some_and(|base| base.is_of_before(name, row));
                    left_out += side.compare_but(&asset, rows, is_of_before);
                }
            }
            // Lets go of the thread between assets: others have questions too.
            tokio::task::yield_now().await;
        }
        sides.iter_mut().flatten().flatten().for_each(Side::finish_added);
    }
    let mut views = Vec::new();
    for ((name, _), side) in SHAPES.iter().zip(sides) {
        match side {
            None => {}
            Some(Ok(side)) => views.push((name.to_string(), side.finish())),
            Some(Err(reason)) => views.push((name.to_string(), Finding::NotCompared { reason })),
        }
    }
    for (name, sql, shape) in FLEET {
        if let Some(rows) = contents.get(name) {
            let finding = fleet(env, limits, sql, shape, &rows.batches, &contents).await?;
            views.push((name.to_string(), finding));
        }
    }
    let (points, mut notes) = (reader.points, reader.plant.notes);
    let Bases { before, assets, .. } = &reader.bases;
    if !assets.is_empty() {
        let lost = assets.values().filter(|base| base.is_none()).count();
        let count = assets.len();
        notes.push(format!(
            "telemetry before {before} has expired: {count} assets were recomputed from what was \
             noted of them then, but {lost}; {left_out} rows of before were not compared."
        ));
    }
    Ok(Report { epoch, points, views, notes })
}

/// The rows of a view that are of the assets behind the first one, up to and with the last.
async fn between(
    context: &SessionContext,
    view: &str,
    first: Option<&String>,
    last: Option<&String>,
) -> Result<Vec<RecordBatch>, Error> {
    let failed = |error| Error::from_datafusion(&error);
    let mut frame = context.table(view).await.map_err(failed)?;
    if let Some(first) = first {
        frame = frame.filter(col("asset").gt(lit(first.as_str()))).map_err(failed)?;
    }
    if let Some(last) = last {
        frame = frame.filter(col("asset").lt_eq(lit(last.as_str()))).map_err(failed)?;
    }
    frame.collect().await.map_err(failed)
}
