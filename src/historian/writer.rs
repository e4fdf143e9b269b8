//! Writes a segment of hot points as Parquet files, one for each day of event time.

use super::chunk::Segment;
use super::durable::{self, Beside};
use super::error::Error;
use super::manifest::FOLDER;
use super::names::Names;
use super::points::{Points, Selection};
use super::replaced::Replaced;
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

/// A row group has so many points at least, except at the end of a day.
const ROW_GROUP_POINTS: usize = 256 * 1024;
/// What the names of files with older values end in.
const OLDER: &str = "-older";

/// What became of a segment.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Files with the newest value that each key has in the segment.
    pub files: Vec<ArchiveFile>,
    /// Files with the values that keys had at older epochs of the segment.
    pub older: Vec<ArchiveFile>,
    /// Points of earlier files that points of these files replace.
    pub replaced: Vec<Replaced>,
}

/// Writes and syncs the files. Nobody sees them before a manifest names them; after an error
/// whatever was written is an orphan, and the same files may be written again.
pub(super) fn write(
    fs: &Arc<dyn Fs>,
    directory: &Path,
    segment: &Segment,
    names: &Names,
) -> Result<Written, Error> {
    let all = Selection::default();
    let notes = segment.notes.iter().copied();
    let mut points = Points::new(segment.chunks.clone(), notes, names, &all, ROW_GROUP_POINTS);
    points.keep_older();
    let mut result = Written::default();
    let mut open: Option<(i32, Day)> = None;
    while let Some(next) = points.next_batch() {
        let (day, batch) = next?;
        let mut current = match open.take() {
            Some((of, writer)) if of == day => writer,
            other => {
                if let Some((_, writer)) = other {
                    result.files.push(writer.finish(&**fs, directory)?);
                }
                Day::create(fs, directory, day, segment, "")?
            }
        };
        current.write(&batch)?;
        open = Some((day, current));
    }
    if let Some((_, writer)) = open {
        result.files.push(writer.finish(&**fs, directory)?);
    }
    let replaced = points.older_outside().iter();
    result.replaced.extend(replaced.filter_map(|note| note.superseded(names)));
    while let Some(next) = points.next_older() {
        let (day, batch) = next?;
        let mut writer = Day::create(fs, directory, day, segment, OLDER)?;
        writer.write(&batch)?;
        result.older.push(writer.finish(&**fs, directory)?);
    }
    Ok(result)
}

/// The file of one day.
struct Day {
    path: PathBuf,
    writer: SerializedFileWriter<Beside>,
    columns: ArrowRowGroupWriterFactory,
    file: ArchiveFile,
}

impl Day {
    fn create(
        fs: &Arc<dyn Fs>,
        directory: &Path,
        day: i32,
        segment: &Segment,
        ending: &str,
    ) -> Result<Self, Error> {
        let folder = format!("{FOLDER}/day={}", day_name(day));
        durable::create_dir(&**fs, &directory.join(&folder))?;
        let relative =
            format!("{folder}/{}-{}{ending}.parquet", segment.first_epoch, segment.last_epoch);
        let path = directory.join(&relative);
        let file = Beside::create(fs, &path)?;
        let options =
            ArrowWriterOptions::new().with_properties(properties()).with_skip_arrow_metadata(true);
        let (writer, columns) = ArrowWriter::try_new_with_options(file, written(), options)
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(|source| Error::Parquet { path: path.clone(), source })?;
        let file = ArchiveFile {
            path: relative,
            rows: 0,
            bytes: 0,
            crc32c: 0,
            min_event_time: i64::MAX,
            max_event_time: i64::MIN,
            min_epoch: u64::MAX,
            max_epoch: 0,
        };
        Ok(Self { path, writer, columns, file })
    }

    /// Writes a row group.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
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

    fn finish(mut self, fs: &dyn Fs, directory: &Path) -> Result<ArchiveFile, Error> {
        let path = self.path;
        let failed = |source| Error::Parquet { path: path.clone(), source };
        let sum = self.writer.into_inner().map_err(failed)?.publish()?;
        (self.file.bytes, self.file.crc32c) = (sum.bytes, sum.crc32c);
        durable::sync_dir(fs, &directory.join(FOLDER))?;
        Ok(self.file)
    }
}

/// `2026-03-01`; the number of the day where the calendar ends.
fn day_name(day: i32) -> String {
    let first = jiff::civil::date(1970, 1, 1);
    match first.checked_add(jiff::ToSpan::days(i64::from(day).clamp(-4_000_000, 4_000_000))) {
        Ok(date) if i64::from(day).abs() < 4_000_000 => date.to_string(),
        _ => day.to_string(),
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
