//! A session that lives for one query and knows no more than the query names.

use super::database;
use super::error::Error;
use super::files::address;
use super::functions;
use super::limits::Limits;
use super::old_rows;
use super::past;
use super::pool::{Pool, Taken, Total};
use super::source::{Contents, ViewRows};
use super::statement::{AMPLIFIERS, Asked, CATALOG, SCHEMA};
use super::tables::{Known, Named, Tables};
use super::telemetry;
use super::wide;
use super::yielding::Yielding;
use crate::historian::{self, Historian, Telemetry};
use crate::model::{Epoch, Place};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use std::sync::Arc;
use std::time::Duration;

/// How often and how long a snapshot waits for the views to reach the archive's epoch.
const SNAPSHOT_TRIES: u32 = 200;
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(10);

/// What all queries share: the files' store, cached footers, and the limits on memory and spilling.
pub(super) struct Environment {
    runtime: RuntimeEnv,
    pub memory: Arc<Total>,
}

impl Environment {
    /// That of queries over an archive.
    pub fn new(historian: &Historian, limits: &Limits) -> Result<Self, Error> {
        let store = LocalFileSystem::new_with_prefix(historian.directory());
        let store = store.map_err(Error::failed)?;
        let disk = DiskManagerBuilder::default().with_max_temp_directory_size(limits.spill_bytes);
        let runtime = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(disk)
            .build()
            .map_err(|error| Error::from_datafusion(&error))?;
        let local: Arc<dyn ObjectStore> = Arc::new(store);
        let there = historian.store().map(|store| (Place::Store, store));
        for (place, store) in [(Place::Local, local)].into_iter().chain(there) {
            let url = address(place).map_err(|error| Error::from_datafusion(&error))?;
            runtime.register_object_store(url.as_ref(), store);
        }
        Ok(Self { runtime, ..Self::bare(limits) })
    }

    /// That of queries without files.
    pub fn bare(limits: &Limits) -> Self {
        let memory = Arc::new(Total::new(limits.all_memory_bytes));
        Self { runtime: RuntimeEnv::default(), memory }
    }
}

/// The session of one query with its tables, the epoch they are at, and the memory that their rows
/// take as long as the query runs.
pub(super) async fn open(
    tables: &Tables,
    env: &Environment,
    limits: &Limits,
    asked: &Asked,
) -> Result<(SessionContext, Epoch, Taken), Error> {
    let context = empty(env, limits)?;
    let known = tables.known();
    let named = known.named(&asked.tables)?;
    database::register(&context, tables.database.as_ref(), &asked.database).await?;
    let opened = match past::epoch(tables, &named, asked)? {
        Some(epoch) => {
            past::register(&context, tables, &known, &named, epoch).await?;
            (epoch, Total::hold(&env.memory, 0))
        }
        None => register_now(&context, (tables, env), &known, &named).await?,
    };
    if asked.about_tables {
        for (name, schema) in known.columns().filter(|(name, _)| !asked.tables.contains(name)) {
            register(&context, &name, Arc::new(EmptyTable::new(schema)))?;
        }
    }
    let (epoch, taken) = opened;
    Ok((context, epoch, taken.map_err(|e| Error::from_datafusion(&e))?))
}

/// Registers the tables as they are at the newest epoch.
async fn register_now(
    context: &SessionContext,
    (tables, env): (&Tables, &Environment),
    known: &Known,
    named: &Named<'_>,
) -> Result<(Epoch, datafusion::error::Result<Taken>), Error> {
    let assets = named.assets(known)?;
    let views = named.views.iter().copied().chain(assets);
    let names: Vec<&str> = views.map(|(name, _)| name.as_str()).collect();
    let of_telemetry = named.telemetry || assets.is_some();
    let (contents, points) = snapshot(tables, &names, of_telemetry).await?;
    let rows = contents.views.iter().flat_map(|view| &view.batches);
    let rows = rows.map(RecordBatch::get_array_memory_size).sum();
    let taken = Total::hold(&env.memory, rows);
    let mut rows = contents.views.into_iter();
    for ((name, schema), rows) in named.views.iter().zip(&mut rows) {
        register(context, name, view(Arc::clone(schema), rows)?)?;
    }
    if let Some(points) = points {
        let assets = assets.map(|(_, schema)| {
            memory(Arc::clone(schema), rows.flat_map(|rows| rows.batches).collect())
        });
        let assets = assets.transpose()?.map(|table| Arc::new(table) as Arc<dyn TableProvider>);
        register_points(context, named, Arc::new(telemetry::table(&points)?), assets)?;
    }
    for told in &named.told {
        past::register_told(context, tables, told, contents.epoch)?;
    }
    register_system(context, tables, named)?;
    Ok((contents.epoch, taken))
}

/// Registers telemetry and the tables of asset types, which know their assets by a table of these.
pub(super) fn register_points(
    context: &SessionContext,
    named: &Named<'_>,
    points: Arc<dyn TableProvider>,
    assets: Option<Arc<dyn TableProvider>>,
) -> Result<(), Error> {
    if let Some(assets) = assets {
        for shape in &named.types {
            let table = wide::table(shape, Arc::clone(&points), Arc::clone(&assets))?;
            register(context, &shape.key, Arc::new(table))?;
        }
    }
    match named.telemetry {
        true => register(context, telemetry::NAME, points),
        false => Ok(()),
    }
}

fn register_system(
    context: &SessionContext,
    tables: &Tables,
    named: &Named<'_>,
) -> Result<(), Error> {
    if named.system.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = named.system.iter().map(|(name, _)| name.as_str()).collect();
    let contents = tables.system.snapshot(&names).map_err(Error::failed)?;
    for ((name, schema), batches) in named.system.iter().zip(contents) {
        register(context, name, Arc::new(memory(Arc::clone(schema), batches)?))?;
    }
    Ok(())
}

/// Views and telemetry at one epoch. The archive gets every epoch before the views do, so the
/// views' epoch is asked of it; when it has moved past that already, the views follow at once.
pub(super) async fn snapshot(
    tables: &Tables,
    views: &[&str],
    telemetry: bool,
) -> Result<(Contents, Option<Telemetry>), Error> {
    let mut tries = 0;
    loop {
        let contents = tables.views.snapshot(views).map_err(Error::failed)?;
        if !telemetry {
            return Ok((contents, None));
        }
        match tables.historian.snapshot(contents.epoch) {
            Ok(snapshot) => return Ok((contents, Some(snapshot))),
            Err(historian::Error::Passed { .. }) if tries < SNAPSHOT_TRIES => tries += 1,
            Err(error) => {
                let hint = Some("the engine is still reading its log: try again".into());
                return Err(Error::Failed { message: error.to_string(), hint });
            }
        }
        tokio::time::sleep(SNAPSHOT_PAUSE).await;
    }
}

/// A session with functions but without tables.
pub(super) fn empty(env: &Environment, limits: &Limits) -> Result<SessionContext, Error> {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_target_partitions(limits.threads);
    let options = config.options_mut();
    options.execution.enable_recursive_ctes = false;
    options.execution.parquet.pushdown_filters = true;
    let env = RuntimeEnvBuilder::from_runtime_env(&env.runtime)
        .with_memory_pool(Arc::new(Pool::new(limits.memory_bytes, Arc::clone(&env.memory))))
        .build_arc()
        .map_err(|error| Error::from_datafusion(&error))?;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(env)
        .with_default_features()
        .with_query_planner(Arc::new(functions::Planner))
        .with_optimizer_rule(Arc::new(database::PushAggregates))
        .with_physical_optimizer_rule(Arc::new(Yielding))
        .build();
    let context = SessionContext::new_with_state(state);
    for name in AMPLIFIERS {
        context.deregister_udf(name);
        context.deregister_udtf(name);
    }
    functions::register(&context);
    Ok(context)
}

/// A view's rows in memory and in files as one table.
pub(super) fn view(schema: SchemaRef, rows: ViewRows) -> Result<Arc<dyn TableProvider>, Error> {
    Ok(match rows.archived {
        Some(archived) => Arc::new(old_rows::table(schema, rows.batches, archived)?),
        None => Arc::new(memory(schema, rows.batches)?),
    })
}

/// All rows of a view, in memory or not.
pub(super) async fn rows(
    env: &Environment,
    limits: &Limits,
    schema: SchemaRef,
    rows: ViewRows,
) -> Result<Vec<RecordBatch>, Error> {
    if rows.archived.is_none() {
        return Ok(rows.batches);
    }
    let frame = empty(env, limits)?.read_table(view(schema, rows)?);
    let failed = |error| Error::from_datafusion(&error);
    frame.map_err(failed)?.collect().await.map_err(failed)
}

fn memory(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<MemTable, Error> {
    MemTable::try_new(schema, vec![batches]).map_err(|error| Error::from_datafusion(&error))
}

pub(super) fn register(
    context: &SessionContext,
    name: &str,
    table: Arc<dyn TableProvider>,
) -> Result<(), Error> {
    let name = datafusion::common::TableReference::bare(name);
    match context.register_table(name, table) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::from_datafusion(&error)),
    }
}
