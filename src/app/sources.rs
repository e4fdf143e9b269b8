//! What SQL can ask besides telemetry: the live views, and tables about the engine itself.

use super::checkpoint::Shared as Checkpoints;
use super::memory;
use super::pager::Paging;
use super::past::Past;
use super::retention::Retention;
use crate::base::memory::{Budget, Component};
use crate::checkpoint::Taken;
use crate::dataflow::Engine;
use crate::historian::timescale::{self, Timescale};
use crate::historian::{Historian, Standing};
use crate::ingest::commit::Committer;
use crate::model::{self, Frame};
use crate::query::{
    self, Contents, SystemTables, ToldAgain, TypeShape, ViewRows, ViewSource, WideColumn,
};
use crate::serve::RetentionSum;
use crate::views::{Filter, InFiles, View, Views};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The live views for SQL, and the same as they were.
pub struct LiveViews {
    pub views: Views,
    pub past: Arc<Past>,
}

impl ViewSource for LiveViews {
    fn list(&self) -> Vec<(String, SchemaRef)> {
        View::ALL.into_iter().map(|view| (view.name().to_owned(), view.schema())).collect()
    }

    fn types(&self) -> Vec<TypeShape> {
        let column = |(name, data_type)| {
            let column = match data_type {
                model::DataType::Double | model::DataType::Integer => WideColumn::Number,
                model::DataType::Bool => WideColumn::Bool,
                model::DataType::String => WideColumn::Text,
            };
            (name, column)
        };
        let shape = |(key, columns): (Arc<str>, Vec<_>)| TypeShape {
            key: key.to_string(),
            columns: columns.into_iter().map(column).collect(),
        };
        self.views.types().into_iter().map(shape).collect()
    }

    fn snapshot(&self, names: &[&str]) -> Result<Contents, String> {
        let taken = self.views.whole_snapshot(names, &Filter::default());
        let taken = taken.map_err(|error| error.to_string())?;
        let removed = taken.removed.values().cloned().collect();
        let views = taken.views.into_iter().map(|rows| {
            let archived = rows.archived.as_deref().map(archived).transpose()?;
            Ok(ViewRows { batches: rows.batches, archived })
        });
        let views = views.collect::<Result<_, ArrowError>>().map_err(|error| error.to_string())?;
        Ok(Contents { epoch: taken.epoch, clock: taken.clock, removed, views })
    }

    fn told_again(&self) -> Option<Arc<dyn ToldAgain>> {
        Some(Arc::clone(&self.past) as _)
    }
}

/// The database behind the archive, for SQL.
pub struct Behind(pub Arc<timescale::Reader>);

#[async_trait]
impl query::Database for Behind {
    async fn tables(&self) -> Result<BTreeMap<String, SchemaRef>, String> {
        self.0.tables().await.map_err(|error| error.to_string())
    }

    async fn read(
        &self,
        sql: &str,
        schema: SchemaRef,
    ) -> Result<BoxStream<'static, Result<RecordBatch, String>>, String> {
        let rows =
            Arc::clone(&self.0).read(sql, schema).await.map_err(|error| error.to_string())?;
        Ok(rows.map_err(|error| error.to_string()).boxed())
    }
}

/// What has left memory of a view.
fn archived(old: &dyn InFiles) -> Result<query::Archived, ArrowError> {
    let files = old.files().to_vec();
    Ok(query::Archived { files, time: old.time(), but: old.but()? })
}

/// Where the numbers of the system tables come from, before there is a committer.
pub struct Status {
    pub views: Views,
    pub historian: Arc<Historian>,
    pub database: Option<Arc<Timescale>>,
    pub frames: crossbeam_channel::Sender<Frame>,
    pub memory: Budget,
    pub paging: Arc<Paging>,
    // Whoever drops the engine last waits for its end, which comes when nobody sends frames.
    pub engine: Arc<Mutex<Option<Engine>>>,
}

/// `millstream_*`: what the engine does.
pub struct Engines {
    // Dropped first: it sends frames.
    committer: Committer,
    checkpoints: Option<Arc<Checkpoints>>,
    retention: Arc<Retention>,
    status: Status,
}

/// A system table: name, columns of text, columns of numbers.
const TABLES: [(&str, &[&str], &[&str]); 9] = [
    (
        "millstream_operators",
        &["operator"],
        &["worker", "id", "activations", "elapsed_ns", "records"],
    ),
    ("millstream_frontiers", &["room"], &["epoch"]),
    ("millstream_queues", &["queue", "unit"], &["depth"]),
    ("millstream_views", &["view"], &["rows", "bytes"]),
    ("millstream_sinks", &["name", "state", "last_error"], &["epoch", "lag_ms"]),
    ("millstream_memory", &["component"], &["bytes", "limit_bytes"]),
    ("millstream_archive", &["place", "url", "last_error"], &["files", "bytes", "points"]),
    (
        "millstream_retention",
        &["table", "keep", "min_age", "before", "days_of", "held_by"],
        &["days", "files", "bytes", "points"],
    ),
    ("millstream_checkpoints", &["taken_at", "valid"], &["epoch", "bytes", "milliseconds"]),
];

impl Status {
    /// The tables, now that there is a committer, and somebody who takes checkpoints or not.
    pub fn with(
        self,
        committer: Committer,
        checkpoints: Option<Arc<Checkpoints>>,
        retention: Arc<Retention>,
    ) -> Engines {
        Engines { committer, checkpoints, retention, status: self }
    }
}

/// Names and columns of the system tables.
pub fn system_tables() -> Vec<(String, SchemaRef)> {
    TABLES.iter().map(|(name, ..)| ((*name).to_owned(), schema(name))).collect()
}

impl SystemTables for Engines {
    fn list(&self) -> Vec<(String, SchemaRef)> {
        system_tables()
    }

    fn snapshot(&self, names: &[&str]) -> Result<Vec<Vec<RecordBatch>>, String> {
        let batch = |name: &&str| {
            let rows = self.rows(name);
            let texts = TABLES.iter().find(|t| t.0 == *name).map_or(0, |t| t.1.len());
            let numbers = rows.first().map_or(0, |row| row.1.len());
            let mut columns: Vec<ArrayRef> = Vec::new();
            for i in 0..texts {
                columns.push(Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.0[i]))));
            }
            for i in 0..numbers {
                columns.push(Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.1[i]))));
            }
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let batch = RecordBatch::try_new(schema(name), columns);
            batch.map(|batch| vec![batch]).map_err(|error| error.to_string())
        };
        names.iter().map(batch).collect()
    }
}

impl Engines {
    fn rows(&self, table: &str) -> Vec<(Vec<String>, Vec<Option<i64>>)> {
        let status = &self.status;
        let number = |n: u64| Some(i64::try_from(n).unwrap_or(i64::MAX));
        match table {
            "millstream_operators" => {
                let engine = status.engine.lock().unwrap_or_else(PoisonError::into_inner);
                let operators = engine.as_ref().map(Engine::operators).unwrap_or_default();
                let row = |o: crate::dataflow::OperatorStats| {
                    let numbers =
                        [o.worker as u64, o.id as u64, o.activations, o.elapsed_ns, o.records];
                    (vec![o.name.to_string()], numbers.map(number).to_vec())
                };
                operators.into_iter().map(row).collect()
            }
            "millstream_frontiers" => vec![
                (vec!["log".into()], vec![number(self.committer.durable_epoch().0)]),
                (vec!["views".into()], vec![number(status.views.epoch().0)]),
                (vec!["telemetry".into()], vec![number(status.historian.epoch().0)]),
                (vec!["archive".into()], vec![number(status.historian.archived_epoch().0)]),
            ],
            "millstream_checkpoints" => {
                let Some(checkpoints) = &self.checkpoints else { return Vec::new() };
                let row = |taken: &Taken, valid: bool| {
                    let numbers = [taken.epoch.0, taken.bytes(), taken.micros / 1_000];
                    let texts = vec![taken.taken_at.to_string(), valid.to_string()];
                    (texts, numbers.map(number).to_vec())
                };
                let (kept, discarded) = (checkpoints.kept(), checkpoints.discarded());
                let kept = kept.iter().map(|taken| row(taken, true));
                discarded.iter().map(|taken| row(taken, false)).chain(kept).collect()
            }
            "millstream_retention" => {
                let outlook = self.retention.outlook();
                let text = |known: Option<String>, none: &str| known.unwrap_or(none.to_owned());
                let row = |of: &str, sum: RetentionSum, held_by: &str| {
                    let texts = vec![
                        "telemetry".to_owned(),
                        text(outlook.keep.map(|keep| keep.to_string()), "for ever"),
                        text(outlook.min_age.map(|age| age.to_string()), ""),
                        text(outlook.before.map(|before| before.to_string()), ""),
                        of.to_owned(),
                        held_by.to_owned(),
                    ];
                    (texts, [sum.days, sum.files, sum.bytes, sum.points].map(number).to_vec())
                };
                let young = match outlook.young.days {
                    0 => "",
                    _ => "received too lately",
                };
                vec![
                    row("removable", outlook.removable, &outlook.held_by),
                    row("old", outlook.young, young),
                    row("removed", outlook.removed, ""),
                ]
            }
            "millstream_queues" => vec![
                (
                    vec!["commit".into(), "bytes".into()],
                    vec![Some(self.committer.queued_bytes() as i64)],
                ),
                (vec!["dataflow".into(), "frames".into()], vec![Some(status.frames.len() as i64)]),
                (
                    vec!["archive".into(), "points".into()],
                    vec![Some(status.historian.hot_points() as i64)],
                ),
                (vec!["late".into(), "assets".into()], vec![Some(status.paging.waiting() as i64)]),
            ],
            "millstream_memory" => {
                let row = |Component { name, bytes, limit }: Component| {
                    (vec![name.to_owned()], vec![number(bytes), limit.and_then(number)])
                };
                memory::all(&status.memory).into_iter().map(row).collect()
            }
            "millstream_archive" => {
                let row = |at: Standing| {
                    let texts = vec![at.place.name().to_owned(), at.url, at.last_error];
                    (texts, [at.files, at.bytes, at.points].map(number).to_vec())
                };
                status.historian.standing().into_iter().map(row).collect()
            }
            "millstream_sinks" => {
                let row = |database: &Arc<Timescale>| {
                    let report = database.report();
                    let texts = [timescale::NAME, report.state.name(), &report.last_error];
                    let lag = status.historian.epoch().0.saturating_sub(report.epoch.0);
                    (texts.map(str::to_owned).to_vec(), [report.epoch.0, lag].map(number).to_vec())
                };
                status.database.iter().map(row).collect()
            }
            _ => {
                let views = status.views.list().into_iter();
                views
                    .map(|v| {
                        (vec![v.name.to_string()], vec![Some(v.rows as i64), Some(v.bytes as i64)])
                    })
                    .collect()
            }
        }
    }
}

fn schema(table: &str) -> SchemaRef {
    let (_, texts, numbers) = TABLES.iter().find(|t| t.0 == table).unwrap_or(&TABLES[0]);
    let text = |name: &&str| Field::new(*name, DataType::Utf8, false);
    let number = |name: &&str| Field::new(*name, DataType::Int64, *name == "limit_bytes");
    Arc::new(Schema::new(
        texts.iter().map(text).chain(numbers.iter().map(number)).collect::<Vec<_>>(),
    ))
}
