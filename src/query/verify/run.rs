//! Reads telemetry back, some assets at a time, recomputes, and compares.

use super::cell::{As, Shape};
use super::compare::Side;
use super::recompute::{SHAPES, recompute};
use super::report::{Finding, Report};
use super::rules::Rules;
use super::series::{Accepted, Point, Series, drop_late};
use crate::catalog::asset_type::AssetType;
use crate::model::{DataType, Document, Kind, Quality, Value};
use crate::query::error::Error;
use crate::query::limits::Limits;
use crate::query::session::{self, Tables};
use crate::query::telemetry;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use datafusion::datasource::MemTable;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionContext, col, lit};
use futures::StreamExt;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Assets whose series are in memory at the same time.
const ASSETS_AT_ONCE: usize = 200;

/// Views over many assets, by SQL over the views of single assets.
const FLEET: [(&str, &str, Shape); 2] = [
    (
        "fleet_health",
        "SELECT asset_type AS type, coalesce(band, 'unknown') AS band, count(*) AS assets, \
         min(score) AS worst_score FROM asset_health GROUP BY 1, 2",
        Shape {
            columns: &[
                ("type", As::Text),
                ("band", As::Text),
                ("assets", As::Int),
                ("worst_score", As::Number),
            ],
            key: 2,
        },
    ),
    (
        "fleet_thresholds",
        "SELECT rule, level, count(*) AS assets FROM threshold_states GROUP BY 1, 2",
        Shape { columns: &[("rule", As::Text), ("level", As::Text), ("assets", As::Int)], key: 2 },
    ),
];

#[derive(Deserialize)]
struct AssetBody {
    asset_type: String,
}

/// The plant as the documents say: types by key, and each asset's type.
struct Plant {
    types: HashMap<String, Rules>,
    assets: HashMap<String, String>,
    notes: Vec<String>,
}

/// Compares every view that is there with what telemetry says of it, at one epoch.
///
/// `documents` are the current versions of the catalog's documents.
pub(in crate::query) async fn verify(
    tables: &Tables,
    env: &RuntimeEnv,
    limits: &Limits,
    documents: &[Document],
) -> Result<Report, Error> {
    let plant = Plant::of(documents);
    let there: Vec<String> = tables.views.list().into_iter().map(|(name, _)| name).collect();
    let wanted = SHAPES.iter().map(|(name, _)| *name).chain(FLEET.iter().map(|(name, ..)| *name));
    let names: Vec<&str> = wanted.filter(|name| there.iter().any(|known| known == name)).collect();
    let (epoch, contents, snapshot) = session::snapshot(tables, &names, true).await?;
    let Some(snapshot) = snapshot else { return Err(Error::failed("telemetry got lost")) };
    let contents: HashMap<&str, Vec<RecordBatch>> = names.iter().copied().zip(contents).collect();

    let mut sides: Vec<Option<Result<Side, String>>> = Vec::new();
    for (name, shape) in SHAPES {
        sides.push(contents.get(name).map(|batches| Side::new(shape, batches)));
    }
    let context = session::empty(env, limits)?;
    session::register(&context, telemetry::NAME, Arc::new(telemetry::table(&snapshot)?))?;
    let mut reader = Reader { context, plant, points: 0, late: BTreeMap::new() };
    reader.plant.skip_changed(&mut sides);
    let assets = reader.assets().await?;
    for some in assets.chunks(ASSETS_AT_ONCE) {
        for (asset, points) in reader.read(some).await? {
            let Some(rules) = reader.plant.rules(&asset) else { continue };
            let series = Series::of(points, rules);
            for (side, rows) in sides.iter_mut().zip(recompute(rules, &asset, series)) {
                if let Some(Ok(side)) = side {
                    side.compare(&asset, rows);
                }
            }
            // Lets go of the thread between assets: others have questions too.
            tokio::task::yield_now().await;
        }
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
        if let Some(batches) = contents.get(name) {
            let finding = fleet(env, limits, sql, shape, batches, &contents).await?;
            views.push((name.to_string(), finding));
        }
    }
    let (points, mut notes) = (reader.points, reader.plant.notes);
    let late: usize = reader.late.values().sum();
    if late > 0 {
        notes.push(format!(
            "{late} points of {} assets came beyond the hot horizon and count in no view; where \
             one replaced a point that views still hold, rows differ.",
            reader.late.len()
        ));
    }
    Ok(Report { epoch, points, views, notes })
}

async fn fleet(
    env: &RuntimeEnv,
    limits: &Limits,
    sql: &str,
    shape: Shape,
    batches: &[RecordBatch],
    contents: &HashMap<&str, Vec<RecordBatch>>,
) -> Result<Finding, Error> {
    let failed = |error| Error::from_datafusion(&error);
    let context = session::empty(env, limits)?;
    for name in ["asset_health", "threshold_states"] {
        // A view without rows may come without batches, and then without columns.
        if let Some(batches) = contents.get(name).filter(|batches| !batches.is_empty()) {
            let table = MemTable::try_new(batches[0].schema(), vec![batches.clone()]);
            session::register(&context, name, Arc::new(table.map_err(failed)?))?;
        } else if sql.contains(name) {
            let mut side = match Side::new(shape, batches) {
                Ok(side) => side,
                Err(reason) => return Ok(Finding::NotCompared { reason }),
            };
            side.compare("", Vec::new());
            return Ok(side.finish());
        }
    }
    let recomputed = context.sql(sql).await.map_err(failed)?.collect().await.map_err(failed)?;
    let (mut side, expected) = match (Side::new(shape, batches), Side::rows(shape, &recomputed)) {
        (Ok(side), Ok(expected)) => (side, expected),
        (Err(reason), _) | (_, Err(reason)) => return Ok(Finding::NotCompared { reason }),
    };
    for (first, rows) in expected {
        side.compare(&first, rows);
    }
    Ok(side.finish())
}

impl Plant {
    fn of(documents: &[Document]) -> Self {
        let (mut types, mut assets, mut notes) = (HashMap::new(), HashMap::new(), Vec::new());
        for document in documents {
            let Some(body) = &document.body else { continue };
            match document.kind {
                Kind::AssetTypes if document.version > 1 => notes.push(format!(
                    "asset type '{}' is at version {}: views hold what earlier versions made, so \
                     its assets are not compared.",
                    document.key, document.version
                )),
                Kind::AssetTypes => {
                    let parsed = serde_json::from_str::<AssetType>(body).map_err(|e| e.to_string());
                    match parsed.and_then(Rules::of) {
                        Ok(rules) => {
                            types.insert(document.key.to_string(), rules);
                        }
                        Err(reason) => {
                            notes.push(format!("asset type '{}': {reason}.", document.key));
                        }
                    }
                }
                Kind::Assets => {
                    if let Ok(asset) = serde_json::from_str::<AssetBody>(body) {
                        assets.insert(document.key.to_string(), asset.asset_type);
                    }
                }
                Kind::DeviceTypes | Kind::Devices | Kind::Links => {}
            }
        }
        Self { types, assets, notes }
    }

    fn rules(&self, asset: &str) -> Option<&Rules> {
        self.types.get(self.assets.get(asset)?)
    }

    /// Leaves out the rows of assets whose type cannot be recomputed.
    fn skip_changed(&self, sides: &mut [Option<Result<Side, String>>]) {
        for asset in self.assets.keys().filter(|asset| self.rules(asset).is_none()) {
            for side in sides.iter_mut().flatten().flatten() {
                side.skip(asset);
            }
        }
    }
}

/// Reads telemetry back.
struct Reader {
    context: SessionContext,
    plant: Plant,
    points: u64,
    /// Points that count in no view, by asset.
    late: BTreeMap<String, usize>,
}

impl Reader {
    /// All assets with telemetry, in order.
    async fn assets(&self) -> Result<Vec<String>, Error> {
        let failed = |error| Error::from_datafusion(&error);
        let frame = self.context.sql("SELECT DISTINCT asset FROM telemetry ORDER BY asset").await;
        let batches = frame.map_err(failed)?.collect().await.map_err(failed)?;
        let mut assets = Vec::new();
        for batch in batches {
            assets.extend(batch.column(0).as_string::<i32>().iter().flatten().map(String::from));
        }
        Ok(assets)
    }

    /// The points of some assets that count in views.
    async fn read(&mut self, assets: &[String]) -> Result<BTreeMap<String, Vec<Accepted>>, Error> {
        let failed = |error| Error::from_datafusion(&error);
        let (Some(first), Some(last)) = (assets.first(), assets.last()) else {
            return Ok(BTreeMap::new());
        };
        let list = assets.iter().map(|asset| lit(asset.as_str())).collect();
        let among = col("asset").in_list(list, false);
        // The range prunes files by their statistics, which a long list does not.
        let range = col("asset").between(lit(first.as_str()), lit(last.as_str()));
        let frame = self.context.table(telemetry::NAME).await.map_err(failed)?;
        let frame = frame.filter(range).and_then(|frame| frame.filter(among)).map_err(failed)?;
        let mut stream = frame.execute_stream().await.map_err(failed)?;
        let mut of_assets: BTreeMap<String, Vec<Accepted>> = BTreeMap::new();
        while let Some(batch) = stream.next().await {
            self.take(&batch.map_err(failed)?, &mut of_assets);
        }
        for (asset, points) in &mut of_assets {
            if let Some(rules) = self.plant.rules(asset) {
                let late = drop_late(points, rules.document.time.hot_horizon.0);
                if late > 0 {
                    self.late.insert(asset.clone(), late);
                }
            }
        }
        Ok(of_assets)
    }

    fn take(&mut self, batch: &RecordBatch, of_assets: &mut BTreeMap<String, Vec<Accepted>>) {
        self.points += batch.num_rows() as u64;
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let (assets, metrics) =
            (batch.column(1).as_string::<i32>(), batch.column(3).as_string::<i32>());
        let values = batch.column(4).as_primitive::<Float64Type>();
        let texts = batch.column(5).as_string::<i32>();
        let qualities = batch.column(6).as_primitive::<UInt32Type>();
        let epochs = batch.column(7).as_primitive::<UInt64Type>();
        for i in 0..batch.num_rows() {
            let asset = assets.value(i);
            let Some(rules) = self.plant.rules(asset) else { continue };
            let Some(slot) = rules.layout.position(metrics.value(i)) else { continue };
            let value = match rules.layout.slots[slot].data_type {
                DataType::Double => Value::Double(values.value(i)),
                DataType::Integer => Value::Integer(values.value(i) as i64),
                DataType::Bool => Value::Bool(values.value(i) != 0.0),
                DataType::String if texts.is_null(i) => continue,
                DataType::String => Value::String(texts.value(i).into()),
            };
            let point = Point { value, quality: Quality(qualities.value(i)) };
            let (epoch, event_time) = (epochs.value(i), times.value(i));
            let accepted = Accepted { epoch, event_time, slot, point };
            match of_assets.get_mut(asset) {
                Some(points) => points.push(accepted),
                None => {
                    of_assets.insert(asset.into(), vec![accepted]);
                }
            }
        }
    }
}
