//! A Parquet file with points of one day, in the order of asset, metric and event time.

use super::durable::{self, Beside};
use super::error::Error;
use super::manifest::FOLDER;
use super::runs;
use super::schema::{ASSET, DEVICE, EPOCH, EVENT_TIME, METRIC, PAGE_POINTS, QUALITY, written};
use crate::base::fs::Fs;
use crate::model::ArchiveFile;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of one day, while it is written. Nobody sees it before a manifest names it.
pub(super) struct DayFile {
    path: PathBuf,
    writer: SerializedFileWriter<Beside>,
    columns: ArrowRowGroupWriterFactory,
    file: ArchiveFile,
}

impl DayFile {
    /// Begins a file at a path from the archive's directory, in a folder that is there.
    pub fn create(fs: &Arc<dyn Fs>, directory: &Path, relative: String) -> Result<Self, Error> {
        let path = directory.join(&relative);
        let file = Beside::create(fs, &path)?;
        let options =
            ArrowWriterOptions::new().with_properties(properties()).with_skip_arrow_metadata(true);
        let (writer, columns) = ArrowWriter::try_new_with_options(file, written(), options)
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(|source| Error::Parquet { path: path.clone(), source })?;
        Ok(Self { path, writer, columns, file: ArchiveFile::new(relative) })
    }

    /// Writes a row group.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let times = batch.column(EVENT_TIME).as_primitive::<TimestampMicrosecondType>();
        let epochs = batch.column(EPOCH).as_primitive::<UInt64Type>();
        let file = &mut self.file;
        file.rows += batch.num_rows() as u64;
        file.min_event_time = file.min_event_time.min(min(times).unwrap_or(i64::MAX));
        file.max_event_time = file.max_event_time.max(max(times).unwrap_or(i64::MIN));
        file.min_epoch = file.min_epoch.min(min(epochs).unwrap_or(u64::MAX));
        file.max_epoch = file.max_epoch.max(max(epochs).unwrap_or(0));
        let written = self.write_group(batch);
        written.map_err(|source| Error::Parquet { path: self.path.clone(), source })
    }

    fn write_group(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let place = self.writer.flushed_row_groups().len();
        let writers = self.columns.create_column_writers(place)?;
        let types = self.writer.schema_descr().columns().to_vec();
        let mut group = self.writer.next_row_group()?;
        for (i, mut writer) in writers.into_iter().enumerate() {
            let column = batch.column(i);
            let chunk = match i {
                ASSET | DEVICE | METRIC => {
                    let column = column.as_dictionary::<Int32Type>();
                    let names = column.values().as_string::<i32>();
                    let name = |key| names.value(key as usize);
                    runs::texts(column.keys().values(), name, Arc::clone(&types[i]))?
                }
                QUALITY => runs::numbers(
                    column.as_primitive::<UInt32Type>().values(),
                    Arc::clone(&types[i]),
                )?,
                _ => {
                    for leaf in compute_leaves(batch.schema_ref().field(i), column)? {
                        writer.write(&leaf)?;
                    }
                    writer.close()?.append_to_row_group(&mut group)?;
                    continue;
                }
            };
            group.append_column(&chunk.bytes, chunk.close)?;
        }
        group.close()?;
        Ok(())
    }

    /// Makes the file durable.
    pub fn finish(mut self, fs: &dyn Fs, directory: &Path) -> Result<ArchiveFile, Error> {
        let path = self.path;
        let failed = |source| Error::Parquet { path: path.clone(), source };
        let sum = self.writer.into_inner().map_err(failed)?.publish()?;
        (self.file.bytes, self.file.crc32c) = (sum.bytes, sum.crc32c);
        durable::sync_dir(fs, &directory.join(FOLDER))?;
        Ok(self.file)
    }
}

fn properties() -> WriterProperties {
    let sorting = [1, 3, 0].map(|column_idx| SortingColumn {
        column_idx,
        descending: false,
        nulls_first: false,
    });
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(PAGE_POINTS)
        .set_sorting_columns(Some(sorting.to_vec()))
        .set_created_by("millstream".into())
        .set_column_dictionary_enabled("event_time".into(), false)
        .set_column_encoding("event_time".into(), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled("value".into(), false)
        .set_column_encoding("value".into(), Encoding::BYTE_STREAM_SPLIT)
        // Rises by little from row to row.
        .set_column_dictionary_enabled("epoch".into(), false)
        .set_column_encoding("epoch".into(), Encoding::DELTA_BINARY_PACKED)
        .set_column_statistics_enabled("text".into(), EnabledStatistics::Chunk)
        .build()
}
