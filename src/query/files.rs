//! Files of the archive as a table, without those that cannot hold what is asked.

use super::part::Part;
use crate::historian::{ArchiveFile, Pin, Telemetry, schema};
use crate::model::Place;
use arrow::array::{ArrayRef, BooleanArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetFileReaderFactory,
};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::{PruningPredicateBuilder, PruningStatistics};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::union::UnionExec;
use parquet::arrow::async_reader::AsyncFileReader;
use std::collections::HashSet;
use std::sync::Arc;

/// The address under which a place of the archive's files is known to a session.
pub(super) fn address(place: Place) -> Result<ObjectStoreUrl> {
    ObjectStoreUrl::parse(format!("archive://{}/", place.name()))
}

/// Files of one kind.
#[derive(Debug)]
pub(super) struct Files {
    files: Vec<ArchiveFile>,
    schema: SchemaRef,
    /// The column of which each file says the first and the last value.
    time: &'static str,
    /// Keeps the files where they are.
    pin: Option<Pin>,
}

impl Files {
    /// Those of a telemetry snapshot.
    pub(super) fn of(telemetry: &Telemetry) -> Self {
        Self::of_telemetry(telemetry.files().to_vec(), telemetry)
    }

    /// Those of a telemetry snapshot and those with older values, as far as their epochs are not
    /// later than the snapshot's.
    pub(super) fn of_all(telemetry: &Telemetry) -> Self {
        let files = telemetry.files().iter().chain(telemetry.older());
        let files = files.filter(|file| file.min_epoch <= telemetry.epoch().0).cloned().collect();
        Self::of_telemetry(files, telemetry)
    }

    fn of_telemetry(files: Vec<ArchiveFile>, telemetry: &Telemetry) -> Self {
        Self { files, schema: schema(), time: "event_time", pin: Some(telemetry.pin()) }
    }

    /// Those of a view with these columns, of which one is the rows' time.
    pub(super) fn of_view(files: Vec<ArchiveFile>, schema: SchemaRef, time: &'static str) -> Self {
        Self { files, schema, time, pin: None }
    }

    /// The files whose event times and epochs may satisfy all filters.
    fn wanted(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<&ArchiveFile>> {
        let all = || self.files.iter().collect();
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(all()) };
        let names = DFSchema::try_from(Arc::clone(&self.schema))?;
        let Ok(filter) = state.create_physical_expr(filter, &names) else { return Ok(all()) };
        let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema));
        let Some(predicate) = builder.build(filter) else { return Ok(all()) };
        let keep = predicate.prune(self)?;
        Ok(self.files.iter().zip(keep).filter(|(_, keep)| *keep).map(|(file, _)| file).collect())
    }
}

#[async_trait]
impl Part for Files {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = self.wanted(state, filters)?;
        let mut scans = Vec::new();
        for place in [Place::Local, Place::Store] {
            let files = wanted.iter().filter(|file| file.place == place);
            let files = files.map(|file| PartitionedFile::new(&file.path, file.bytes));
            let files: Vec<PartitionedFile> = files.collect();
            if !files.is_empty() {
                scans.push(self.scan_place(state, projection, limit, (place, files))?);
            }
        }
        if scans.is_empty() {
            // A scan of no files has no partitions, and what sorts wants one.
            let schema = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => Arc::clone(&self.schema),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        match scans.len() {
            1 => Ok(scans.remove(0)),
            _ => UnionExec::try_new(scans),
        }
    }
}

impl Files {
    /// The files of one place.
    fn scan_place(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
        (place, files): (Place, Vec<PartitionedFile>),
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let url = address(place)?;
        let env = state.runtime_env();
        let (store, cache) = (env.object_store(&url)?, env.cache_manager.get_file_metadata_cache());
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let source = ParquetSource::new(Arc::clone(&self.schema))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(Readers {
                cached: CachedParquetFileReaderFactory::new(store, cache),
                _pin: self.pin.clone(),
            }));
        let groups = FileGroup::new(files).split_files(state.config().target_partitions().max(1));
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// Opens files. A plan holds it until its last batch is read, and with it the files.
#[derive(Debug)]
struct Readers {
    cached: CachedParquetFileReaderFactory,
    _pin: Option<Pin>,
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        self.cached.create_reader(partition, file, metadata_size_hint, metrics)
    }
}

impl PruningStatistics for Files {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |file| (file.min_event_time, file.min_epoch))
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |file| (file.max_event_time, file.max_epoch))
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.files.iter().map(|file| file.rows))))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

impl Files {
    fn values(
        &self,
        column: &Column,
        pick: impl Fn(&ArchiveFile) -> (i64, u64),
    ) -> Option<ArrayRef> {
        let picked = self.files.iter().map(pick);
        match column.name.as_str() {
            name if name == self.time => {
                let times = TimestampMicrosecondArray::from_iter_values(picked.map(|p| p.0));
                Some(Arc::new(times.with_timezone("UTC")))
            }
            "epoch" => Some(Arc::new(UInt64Array::from_iter_values(picked.map(|p| p.1)))),
            _ => None,
        }
    }
}
