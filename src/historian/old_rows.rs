//! Files of views: rows that are old enough to leave memory, as any reader of Parquet knows them.
//!
//! A file has the columns of its view and `epoch`, the epoch at which the rows were so; rows stand by
//! asset and time, windows by metric in between. No manifest names the files: whoever has them written keeps
//! the list, and a file that is on no list is removed at the next start.

use super::durable::{self, Beside};
use super::error::Error;
use super::stored::Stored;
use crate::base::fs::{Fs, RealFs};
use crate::model::{ArchiveFile, Epoch};
use arrow::array::{AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
    RowFilter,
};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, SortingColumn};
use parquet::file::properties::WriterProperties;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of the files, in the archive's directory.
const FOLDER: &str = "windows";
const PAGE_ROWS: usize = 8 * 1024;
const ROW_GROUP_ROWS: usize = 256 * 1024;
const BATCH_ROWS: usize = 8 * 1024;
const ASSET: &str = "asset";

/// The files of old rows of one archive.
#[derive(Clone)]
pub struct OldRows {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
}

/// A file that is being written. Nobody sees it before it is finished.
pub struct Writing {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<Beside>,
    /// The place of the rows' time.
    time: usize,
    file: ArchiveFile,
}

/// What a file is to be.
pub struct NewFile<'a> {
    /// The name of the view.
    pub view: &'a str,
    /// A name that no other file of the view has: that would be replaced.
    pub name: &'a str,
    /// The epoch at which the rows are so.
    pub epoch: Epoch,
    /// The columns of the view.
    pub schema: &'a SchemaRef,
    /// The columns by which rows are sorted, the last of which is their time.
    pub order: &'a [&'a str],
}

impl OldRows {
    /// Those in an archive's directory, which is made when it is not there.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        durable::create_dir(&*fs, directory)?;
        durable::create_dir(&*fs, &directory.join(FOLDER))?;
        Ok(Self { fs, directory: directory.into() })
    }

    /// Begins a file.
    pub fn create(&self, new: &NewFile<'_>) -> Result<Writing, Error> {
        let NewFile { view, name, epoch, schema, order } = new;
        let folder = format!("{FOLDER}/{view}");
        durable::create_dir(&*self.fs, &self.directory.join(&folder))?;
        let relative = format!("{folder}/{name}.parquet");
        let path = self.directory.join(&relative);
        let schema = written(schema);
        let order: Vec<usize> =
            order.iter().map(|name| schema.index_of(name)).collect::<Result<_, _>>()?;
        let time = order.last().copied().unwrap_or_default();
        let options = ArrowWriterOptions::new()
            .with_properties(properties(&schema, &order))
            .with_skip_arrow_metadata(true);
        let beside = Beside::create(&self.fs, &path)?;
        let writer = ArrowWriter::try_new_with_options(beside, Arc::clone(&schema), options)
            .map_err(|source| Error::Parquet { path: path.clone(), source })?;
        let (min_epoch, max_epoch) = (epoch.0, epoch.0);
        let file = ArchiveFile { min_epoch, max_epoch, ..ArchiveFile::new(relative) };
        Ok(Writing { fs: Arc::clone(&self.fs), path, schema, writer, time, file })
    }

    /// Says whether files are there with the lengths that they were written with.
    pub fn check(&self, files: &[ArchiveFile]) -> Result<(), Error> {
        files.iter().try_for_each(|file| {
            Stored::open(&*self.fs, &self.directory.join(&file.path), file).map(drop)
        })
    }

    /// Removes all files but these.
    pub fn retain(&self, files: &[ArchiveFile]) -> Result<(), Error> {
        let named: HashSet<PathBuf> =
            files.iter().map(|file| self.directory.join(&file.path)).collect();
        let list = |path: &Path| self.fs.list(path).map_err(Error::io("list", path));
        let folder = self.directory.join(FOLDER);
        for view in list(&folder)? {
            let view = folder.join(view);
            for path in list(&view)? {
                let path = view.join(path);
                if !named.contains(&path) {
                    self.fs.remove(&path).map_err(Error::io("remove", &path))?;
                }
            }
        }
        Ok(())
    }

    /// All rows of a file, with the column `epoch`, batch by batch.
    pub fn rows(
        &self,
        file: &ArchiveFile,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, Error>> + use<>, Error> {
        let path = self.directory.join(&file.path);
        let failed = {
            let path = path.clone();
            move |source| Error::Read { path: path.clone(), source }
        };
        let stored = Stored::open(&*self.fs, &path, file)?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(stored)
            .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
            .map_err(failed.clone())?;
        Ok(reader.map(move |batch| batch.map_err(|error| failed(ParquetError::from(error)))))
    }

    /// The rows of a file that are of these assets and times, a column. Blocks for some milliseconds.
    pub fn read(
        &self,
        file: &ArchiveFile,
        time: &str,
        wanted: &BTreeMap<Arc<str>, BTreeSet<i64>>,
    ) -> Result<Vec<RecordBatch>, Error> {
        let path = self.directory.join(&file.path);
        let failed = |source| Error::Read { path: path.clone(), source };
        let stored = Stored::open(&*self.fs, &path, file)?;
        let metadata =
            ArrowReaderMetadata::load(&stored, ArrowReaderOptions::new()).map_err(failed)?;
        let place = |name: &str| metadata.schema().index_of(name);
        let (asset, time) = (place(ASSET)?, place(time)?);
        let groups = groups(metadata.metadata(), asset, wanted);
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(stored, metadata);
        let columns = ProjectionMask::roots(builder.parquet_schema(), [asset, time]);
        let wanted = wanted.clone();
        let is_wanted = move |batch: RecordBatch| -> Result<BooleanArray, ArrowError> {
            // In the order in which the file has them.
            let (first, second) = (batch.column(0), batch.column(1));
            let (assets, times) = if asset < time { (first, second) } else { (second, first) };
            let assets = assets.as_string::<i32>();
            let times = times.as_primitive::<TimestampMicrosecondType>().values();
            let is_wanted = |i: usize| {
                let of_asset = wanted.get(assets.value(i));
                Some(of_asset.is_some_and(|wanted| wanted.contains(&times[i])))
            };
            Ok((0..batch.num_rows()).map(is_wanted).collect())
        };
        let filter = RowFilter::new(vec![Box::new(ArrowPredicateFn::new(columns, is_wanted))]);
        let reader = builder
            .with_row_groups(groups)
            .with_row_filter(filter)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(failed)?;
        reader.map(|batch| batch.map_err(|error| failed(ParquetError::from(error)))).collect()
    }
}

impl Writing {
    /// Appends rows, which come in the file's order.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let times = batch.column(self.time).as_primitive::<TimestampMicrosecondType>();
        let file = &mut self.file;
        file.rows += batch.num_rows() as u64;
        file.min_event_time = file.min_event_time.min(min(times).unwrap_or(i64::MAX));
        file.max_event_time = file.max_event_time.max(max(times).unwrap_or(i64::MIN));
        let epochs = UInt64Array::from_value(file.min_epoch, batch.num_rows());
        let columns = batch.columns().iter().cloned().chain([Arc::new(epochs) as _]).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let written = self.writer.write(&batch);
        written.map_err(|source| Error::Parquet { path: self.path.clone(), source })
    }

    /// Makes the file durable.
    pub fn finish(mut self) -> Result<ArchiveFile, Error> {
        let path = self.path;
        let beside = self.writer.into_inner();
        let beside = beside.map_err(|source| Error::Parquet { path: path.clone(), source })?;
        let sum = beside.publish()?;
        (self.file.bytes, self.file.crc32c) = (sum.bytes, sum.crc32c);
        // The view's folder may be new.
        let folder = path.parent().and_then(Path::parent);
        folder.map_or(Ok(()), |folder| durable::sync_dir(&*self.fs, folder))?;
        Ok(self.file)
    }
}

/// The columns of a view, and `epoch`.
pub fn written(view: &Schema) -> SchemaRef {
    let mut fields: Vec<_> = view.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("epoch", DataType::UInt64, false)));
    Arc::new(Schema::new(fields))
}

/// The row groups that may have rows of the assets.
fn groups(
    metadata: &ParquetMetaData,
    asset: usize,
    wanted: &BTreeMap<Arc<str>, BTreeSet<i64>>,
) -> Vec<usize> {
    let may_hold = |group: &usize| {
        let statistics = metadata.row_group(*group).column(asset).statistics();
        statistics.is_none_or(|statistics| {
            let (min, max) = (statistics.min_bytes_opt(), statistics.max_bytes_opt());
            wanted.keys().any(|asset| {
                min.is_none_or(|min| min <= asset.as_bytes())
                    && max.is_none_or(|max| asset.as_bytes() <= max)
            })
        })
    };
    (0..metadata.num_row_groups()).filter(may_hold).collect()
}

fn properties(schema: &Schema, order: &[usize]) -> WriterProperties {
    let column = |column: &usize| SortingColumn {
        column_idx: *column as i32,
        descending: false,
        nulls_first: false,
    };
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_sorting_columns(Some(order.iter().map(column).collect()))
        .set_created_by("millstream".into());
    let Some(time) = order.last().map(|time| schema.field(*time).name().as_str()) else {
        return properties.build();
    };
    properties
        .set_column_dictionary_enabled(time.into(), false)
        .set_column_encoding(time.into(), Encoding::DELTA_BINARY_PACKED)
        .build()
}
