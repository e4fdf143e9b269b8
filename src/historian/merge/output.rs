//! A file that rows are gathered for, row group by row group.

use super::super::day::DayFile;
use super::super::error::Error;
use super::super::schema::written;
use super::source::{Rows, WORDS};
use crate::base::fs::Fs;
use crate::model::ArchiveFile;
use arrow::array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int32Array, NullBufferBuilder, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::Int32Type;
use hashbrown::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Points of a row group.
const ROW_GROUP_POINTS: usize = 256 * 1024;

/// A file in the making: none when no row comes.
pub(super) struct Output {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
    path: String,
    file: Option<DayFile>,
    group: Group,
    /// How often words were begun anew, from 1.
    begun: u64,
}

/// The rows of a row group, column by column.
#[derive(Default)]
struct Group {
    times: Vec<i64>,
    words: [Words; WORDS],
    texts: Option<NullBufferBuilder>,
    values: Vec<f64>,
    known: Option<NullBufferBuilder>,
    qualities: Vec<u32>,
    epochs: Vec<u64>,
}

/// A column of words, each of which is there once.
#[derive(Default)]
struct Words {
    keys: Vec<i32>,
    words: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, i32>,
}

impl Output {
    /// A file in an archive's directory.
    pub fn new(fs: &Arc<dyn Fs>, directory: &Path, path: String) -> Self {
        let (fs, directory) = (Arc::clone(fs), directory.to_owned());
        Self { fs, directory, path, file: None, group: Group::default(), begun: 1 }
    }

    /// Takes some rows; `number` is that of this output. True when that has filled a row group.
    pub fn push(
        &mut self,
        rows: &mut Rows,
        range: Range<usize>,
        number: usize,
    ) -> Result<bool, Error> {
        let mut map = std::mem::take(&mut rows.maps[number]);
        if map.begun != self.begun {
            map.begun = self.begun;
            map.numbers.iter_mut().flatten().for_each(|number| *number = None);
        }
        for (column, numbers) in map.numbers.iter_mut().enumerate() {
            let (keys, words) = rows.words(column);
            let (out, is_text) = (&mut self.group.words[column], column == WORDS - 1);
            for row in range.clone() {
                if is_text && !rows.has_text(row) {
                    out.keys.push(0);
                    continue;
                }
                let word = keys[row] as usize;
                let number = numbers[word].get_or_insert_with(|| out.number(words.value(word)));
                out.keys.push(*number);
            }
        }
        rows.maps[number] = map;
        self.group.push(rows, range);
        let is_full = self.group.times.len() >= ROW_GROUP_POINTS;
        if is_full {
            self.write()?;
        }
        Ok(is_full)
    }

    /// Makes the file durable.
    pub fn finish(mut self) -> Result<Option<ArchiveFile>, Error> {
        if !self.group.times.is_empty() {
            self.write()?;
        }
        self.file.map(|file| file.finish(&*self.fs, &self.directory)).transpose()
    }

    fn write(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.group).batch()?;
        self.begun += 1;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(DayFile::create(&self.fs, &self.directory, self.path.clone())?),
        };
        file.write(&batch)
    }
}

impl Group {
    fn push(&mut self, rows: &Rows, range: Range<usize>) {
        let Range { start, end } = range;
        self.times.extend_from_slice(&rows.times.values()[start..end]);
        self.values.extend_from_slice(&rows.values.values()[start..end]);
        self.qualities.extend_from_slice(&rows.qualities.values()[start..end]);
        self.epochs.extend_from_slice(&rows.epochs.values()[start..end]);
        let known = self.known.get_or_insert_with(|| NullBufferBuilder::new(ROW_GROUP_POINTS));
        let texts = self.texts.get_or_insert_with(|| NullBufferBuilder::new(ROW_GROUP_POINTS));
        for row in start..end {
            known.append(rows.values.is_valid(row));
            texts.append(rows.has_text(row));
        }
    }

    fn batch(self) -> Result<RecordBatch, Error> {
        let nulls = |builder: Option<NullBufferBuilder>| builder.and_then(|mut b| b.finish());
        let [assets, devices, metrics, texts] = self.words;
        let times = TimestampMicrosecondArray::from(self.times).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(times),
            assets.column(None)?,
            devices.column(None)?,
            metrics.column(None)?,
            Arc::new(Float64Array::new(self.values.into(), nulls(self.known))),
            texts.column(nulls(self.texts))?,
            Arc::new(UInt32Array::from(self.qualities)),
            Arc::new(UInt64Array::from(self.epochs)),
        ];
        Ok(RecordBatch::try_new(written(), columns)?)
    }
}

impl Words {
    fn number(&mut self, word: &str) -> i32 {
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        let (number, word): (i32, Arc<str>) = (self.words.len() as i32, word.into());
        self.words.push(Arc::clone(&word));
        self.numbers.insert(word, number);
        number
    }

    fn column(self, nulls: Option<arrow::buffer::NullBuffer>) -> Result<ArrayRef, Error> {
        let keys = Int32Array::new(self.keys.into(), nulls);
        let words = StringArray::from_iter_values(&self.words);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(words))?))
    }
}
