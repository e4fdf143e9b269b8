//! Reads of a file the pages that may have what is asked for.
//!
//! Files are sorted by asset, metric and event time, so that an asset's points stand together.
//! Row groups go by their statistics, pages by the page index, rows by a filter which decodes no
//! more than it looks at.

use super::error::Error;
use super::history::{Ask, Asked};
use super::places::Places;
use super::schema::{ASSET, EPOCH, EVENT_TIME, METRIC, QUALITY, TEXT, VALUE, written};
use crate::model::ArchiveFile;
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType, UInt64Type};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
    RowFilter, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use std::ops::Range;
use std::sync::Arc;

const BATCH_POINTS: usize = 8 * 1024;
/// The columns of the batches, in this order.
pub(super) const COLUMNS: [usize; 7] = [EVENT_TIME, ASSET, METRIC, VALUE, TEXT, QUALITY, EPOCH];

/// Gives the points of a file that count for an ask, until `take` wants no more.
pub(super) fn read(
    places: &Places,
    file: &ArchiveFile,
    asked: &Arc<Asked>,
    mut take: impl FnMut(&RecordBatch) -> bool,
) -> Result<(), Error> {
    let failed = |source| Error::Read { path: places.name(file), source };
    let stored = places.open(file)?;
    let options = ArrowReaderOptions::new()
        .with_schema(written())
        .with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&stored, options).map_err(failed)?;
    if metadata.metadata().file_metadata().num_rows() as u64 != file.rows {
        return Err(Error::Damaged { path: places.name(file) });
    }
    for group in 0..metadata.metadata().num_row_groups() {
        let selection = select(metadata.metadata(), group, asked);
        if !selection.selects_any() {
            continue;
        }
        let builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(stored.clone(), metadata.clone());
        let columns = ProjectionMask::roots(builder.parquet_schema(), COLUMNS);
        let filter = filter(ProjectionMask::roots(builder.parquet_schema(), FILTERED), asked);
        let reader = builder
            .with_row_groups(vec![group])
            .with_row_selection(selection)
            .with_row_filter(filter)
            .with_projection(columns)
            .with_batch_size(BATCH_POINTS)
            .build();
        for batch in reader.map_err(failed)? {
            let batch = batch.map_err(|error| failed(ParquetError::from(error)))?;
            if !take(&batch) {
                return Ok(());
            }
        }
    }
    Ok(())
}

const FILTERED: [usize; 3] = [EVENT_TIME, ASSET, EPOCH];

/// Keeps the rows that count for an ask.
fn filter(columns: ProjectionMask, asked: &Arc<Asked>) -> RowFilter {
    let asked = Arc::clone(asked);
    let counts = move |batch: RecordBatch| -> Result<BooleanArray, ArrowError> {
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>().values();
        let assets = batch.column(1).as_dictionary::<Int32Type>();
        let epochs = batch.column(2).as_primitive::<UInt64Type>().values();
        let names = assets.values().as_string::<i32>();
        let asks: Vec<&[usize]> = (0..names.len()).map(|i| asked.of(names.value(i))).collect();
        let keys = assets.keys().values();
        let counts = |i: usize| {
            let asks = asks[keys[i] as usize];
            Some(asks.iter().any(|ask| asked.counts(*ask, times[i], epochs[i])))
        };
        Ok((0..batch.num_rows()).map(counts).collect())
    };
    RowFilter::new(vec![Box::new(ArrowPredicateFn::new(columns, counts))])
}

/// The rows of a group that may count for an ask.
fn select(metadata: &ParquetMetaData, group: usize, asked: &Asked) -> RowSelection {
    let rows = metadata.row_group(group).num_rows() as usize;
    let mut all = RowSelection::from_consecutive_ranges(std::iter::empty(), rows);
    for ask in asked.asks.iter().filter(|ask| group_may_hold(metadata, group, ask)) {
        let of_asset = pages(metadata, group, ASSET, |index, page| match index {
            ColumnIndexMetaData::BYTE_ARRAY(index) => {
                index.min_value(page).is_none_or(|min| min <= ask.asset.as_bytes())
                    && index.max_value(page).is_none_or(|max| ask.asset.as_bytes() <= max)
            }
            _ => true,
        });
        let of_times = pages(metadata, group, EVENT_TIME, |index, page| match index {
            ColumnIndexMetaData::INT64(index) => {
                index.min_value(page).is_none_or(|min| *min <= ask.to)
                    && index.max_value(page).is_none_or(|max| ask.from <= *max)
            }
            _ => true,
        });
        all = all.union(&of_asset.intersection(&of_times));
    }
    all
}

fn group_may_hold(metadata: &ParquetMetaData, group: usize, ask: &Ask) -> bool {
    let column = |at| metadata.row_group(group).column(at).statistics();
    let asset = ask.asset.as_bytes();
    let of_asset = column(ASSET).is_none_or(|statistics| {
        statistics.min_bytes_opt().is_none_or(|min| min <= asset)
            && statistics.max_bytes_opt().is_none_or(|max| asset <= max)
    });
    let of_times = match column(EVENT_TIME) {
        Some(Statistics::Int64(times)) => {
            times.min_opt().is_none_or(|min| *min <= ask.to)
                && times.max_opt().is_none_or(|max| ask.from <= *max)
        }
        _ => true,
    };
    of_asset && of_times
}

/// The rows of the pages of a column that may be wanted; all rows where there is no page index.
fn pages(
    metadata: &ParquetMetaData,
    group: usize,
    column: usize,
    may_hold: impl Fn(&ColumnIndexMetaData, usize) -> bool,
) -> RowSelection {
    let rows = metadata.row_group(group).num_rows() as usize;
    let indexes = metadata.column_index().zip(metadata.offset_index());
    let of_column = indexes.and_then(|(values, places)| {
        Some((values.get(group)?.get(column)?, places.get(group)?.get(column)?.page_locations()))
    });
    let Some((values, places)) = of_column.filter(|(_, places)| !places.is_empty()) else {
        return RowSelection::from_consecutive_ranges(std::iter::once(0..rows), rows);
    };
    let first = |page: usize| places.get(page).map_or(rows, |place| place.first_row_index as usize);
    let ranges = (0..places.len()).filter(|page| may_hold(values, *page));
    let ranges = ranges.map(|page| -> Range<usize> { first(page)..first(page + 1) });
    RowSelection::from_consecutive_ranges(ranges, rows)
}
