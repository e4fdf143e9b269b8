//! A file of the archive, read in the order in which it is sorted.

use super::super::error::Error;
use super::super::places::Places;
use super::super::schema::{
    ASSET, DEVICE, EPOCH, EVENT_TIME, METRIC, QUALITY, TEXT, VALUE, written,
};
use crate::model::ArchiveFile;
use arrow::array::{
    Array, AsArray, DictionaryArray, Float64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Float64Type, Int32Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use std::ops::Range;
use std::path::PathBuf;

const BATCH_POINTS: usize = 8 * 1024;
/// Asset, device, metric and text: the columns of words, in this order.
pub(super) const WORDS: usize = 4;

/// The place of a row among all rows: asset, metric, event time.
pub(super) type Key<'a> = (&'a str, &'a str, i64);

/// One file, and the row that comes next.
pub(super) struct Source {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    pub rows: Rows,
    at: usize,
}

/// Some rows of a file.
pub(super) struct Rows {
    words: [DictionaryArray<Int32Type>; WORDS],
    pub times: TimestampMicrosecondArray,
    pub values: Float64Array,
    pub qualities: UInt32Array,
    pub epochs: UInt64Array,
    /// For each of two outputs its number of each word, as far as it is known, since the output has
    /// begun its words anew.
    pub maps: [Map; 2],
}

/// What an output calls the words of some rows.
#[derive(Default)]
pub(super) struct Map {
    pub begun: u64,
    pub numbers: [Vec<Option<i32>>; WORDS],
}

impl Source {
    /// Opens a file at its first row.
    pub fn open(places: &Places, file: &ArchiveFile) -> Result<Self, Error> {
        let path = places.name(file);
        let failed = |source| Error::Read { path: path.clone(), source };
        let stored = places.open(file)?;
        let options = ArrowReaderOptions::new().with_schema(written());
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(stored, options);
        let reader = builder.and_then(|builder| builder.with_batch_size(BATCH_POINTS).build());
        let rows = Rows::of(&RecordBatch::new_empty(written()));
        let reader = reader.map_err(failed)?;
        let mut source = Self { path, reader, rows, at: 0 };
        source.skip(0)?;
        Ok(source)
    }

    /// Where the next row belongs; `None` at the end.
    pub fn key(&self) -> Option<Key<'_>> {
        (self.at < self.rows.len()).then(|| self.rows.key(self.at))
    }

    /// The epoch of the next row.
    pub fn epoch(&self) -> u64 {
        self.rows.epochs.value(self.at)
    }

    /// The next rows that belong before another one, as far as they were read.
    pub fn before(&self, limit: Option<Key<'_>>) -> Range<usize> {
        let all = self.rows.len();
        let Some(limit) = limit else { return self.at..all };
        // Mostly few: the end is looked for near the beginning.
        let (mut known, mut step) = (self.at, 1);
        while known + step <= all && self.rows.key(known + step - 1) < limit {
            known += step;
            step *= 2;
        }
        let (mut low, mut high) = (known, all.min(known + step));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.rows.key(middle) < limit {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        self.at..low
    }

    /// The next row.
    pub fn next(&self) -> Range<usize> {
        self.at..self.at + 1
    }

    /// Goes on behind some rows.
    pub fn skip(&mut self, count: usize) -> Result<(), Error> {
        self.at += count;
        while self.at >= self.rows.len() {
            let Some(batch) = self.reader.next() else { break };
            let failed = |error: arrow::error::ArrowError| Error::Read {
                path: self.path.clone(),
                source: error.into(),
            };
            (self.rows, self.at) = (Rows::of(&batch.map_err(failed)?), 0);
        }
        Ok(())
    }
}

impl Rows {
    fn of(batch: &RecordBatch) -> Self {
        let words = [ASSET, DEVICE, METRIC, TEXT]
            .map(|column| batch.column(column).as_dictionary::<Int32Type>().clone());
        let map = || Map {
            begun: 0,
            numbers: std::array::from_fn(|i| vec![None; words[i].values().len()]),
        };
        Self {
            maps: [map(), map()],
            words,
            times: batch.column(EVENT_TIME).as_primitive::<TimestampMicrosecondType>().clone(),
            values: batch.column(VALUE).as_primitive::<Float64Type>().clone(),
            qualities: batch.column(QUALITY).as_primitive::<UInt32Type>().clone(),
            epochs: batch.column(EPOCH).as_primitive::<UInt64Type>().clone(),
        }
    }

    fn len(&self) -> usize {
        self.times.len()
    }

    fn key(&self, row: usize) -> Key<'_> {
        let word = |column: usize| {
            let (keys, words) = self.words(column);
            words.value(keys[row] as usize)
        };
        (word(0), word(2), self.times.value(row))
    }

    /// A column of words: of each row the number of its word, which means nothing where it is null,
    /// and the words.
    pub fn words(&self, column: usize) -> (&[i32], &StringArray) {
        let words = &self.words[column];
        (words.keys().values(), words.values().as_string())
    }

    /// Whether a row has a text.
    pub fn has_text(&self, row: usize) -> bool {
        self.words[WORDS - 1].is_valid(row)
    }
}
