//! Column chunks of columns whose values repeat from row to row.
//!
//! Parquet's own writer looks up each value of each row in a dictionary, and packs the places bit by
//! bit. In the order of the archive, the same name stands in thousands of rows: here each run of
//! rows is looked up once and written as what it is, a run.

use super::schema::PAGE_POINTS;
use bytes::Bytes;
use hashbrown::HashMap;
use parquet::basic::{BoundaryOrder, Compression, Encoding, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use std::hash::Hash;

/// A column chunk, and what its row group has to know of it.
pub(super) struct Chunk {
    pub bytes: Bytes,
    pub close: ColumnCloseResult,
}

/// The different values of a chunk, in the order in which they came first.
enum Dictionary<'a> {
    Texts(Vec<&'a str>),
    Numbers(Vec<u32>),
}

/// The chunk of a column of texts without nulls: a key stands for a text in all rows.
pub(super) fn texts<'a>(
    keys: &[i32],
    text: impl Fn(i32) -> &'a str,
    column: ColumnDescPtr,
) -> Result<Chunk> {
    let (runs, different) = runs(keys);
    let dictionary = Dictionary::Texts(different.into_iter().map(text).collect());
    write(&runs, keys.len(), &dictionary, column)
}

/// The chunk of a column of unsigned numbers without nulls.
pub(super) fn numbers(values: &[u32], column: ColumnDescPtr) -> Result<Chunk> {
    let (runs, different) = runs(values);
    write(&runs, values.len(), &Dictionary::Numbers(different), column)
}

/// Rows in a row that have one value, and its place in the dictionary.
struct Run {
    place: u32,
    rows: usize,
}

fn runs<V: Copy + Eq + Hash>(rows: &[V]) -> (Vec<Run>, Vec<V>) {
    let (mut runs, mut different, mut places) = (Vec::new(), Vec::new(), HashMap::new());
    for run in rows.chunk_by(|one, next| one == next) {
        let place = *places.entry(run[0]).or_insert_with(|| {
            different.push(run[0]);
            different.len() as u32 - 1
        });
        runs.push(Run { place, rows: run.len() });
    }
    (runs, different)
}

impl Dictionary<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// The place of each value among all in order.
    fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        match self {
            Self::Texts(texts) => order.sort_unstable_by_key(|place| texts[*place as usize]),
            Self::Numbers(numbers) => order.sort_unstable_by_key(|place| numbers[*place as usize]),
        }
        let mut ranks = vec![0; self.len()];
        order.iter().enumerate().for_each(|(rank, place)| ranks[*place as usize] = rank as u32);
        ranks
    }

    /// A value as statistics write it.
    fn value(&self, place: u32) -> Vec<u8> {
        match self {
            Self::Texts(texts) => texts[place as usize].as_bytes().to_vec(),
            Self::Numbers(numbers) => numbers[place as usize].to_le_bytes().to_vec(),
        }
    }

    /// All values as the page of the dictionary has them.
    fn page(&self) -> Vec<u8> {
        let mut page = Vec::new();
        match self {
            Self::Texts(texts) => texts.iter().for_each(|text| {
                page.extend_from_slice(&(text.len() as u32).to_le_bytes());
                page.extend_from_slice(text.as_bytes());
            }),
            Self::Numbers(numbers) => {
                numbers.iter().for_each(|number| page.extend_from_slice(&number.to_le_bytes()));
            }
        }
        page
    }

    fn statistics(&self, Extent { least, most }: Extent) -> Statistics {
        let place = |place: u32| place as usize;
        match self {
            Self::Texts(texts) => {
                let text = |at| Some(ByteArray::from(texts[place(at)].as_bytes().to_vec()));
                ValueStatistics::new(text(least), text(most), None, Some(0), false).into()
            }
            Self::Numbers(numbers) => {
                // Parquet knows signed numbers; the column's type says how these compare.
                let number = |at| Some(numbers[place(at)] as i32);
                ValueStatistics::new(number(least), number(most), None, Some(0), false).into()
            }
        }
    }
}

/// The places of the least and the greatest value of some rows.
#[derive(Clone, Copy)]
struct Extent {
    least: u32,
    most: u32,
}

impl Extent {
    fn and(self, other: Self, ranks: &[u32]) -> Self {
        let rank = |place: u32| ranks[place as usize];
        Self {
            least: if rank(other.least) < rank(self.least) { other.least } else { self.least },
            most: if rank(other.most) > rank(self.most) { other.most } else { self.most },
        }
    }
}

/// Writes the pages one after the other.
struct Pages {
    sink: TrackedWrite<Vec<u8>>,
    compressor: zstd::bulk::Compressor<'static>,
    uncompressed: usize,
}

impl Pages {
    /// Writes a page of so many values, which `page` makes of its bytes; gives place and length.
    fn write(&mut self, bytes: &[u8], page: impl FnOnce(Bytes) -> Page) -> Result<(u64, u64)> {
        let packed =
            self.compressor.compress(bytes).map_err(|e| ParquetError::External(e.into()))?;
        let page = CompressedPage::new(page(packed.into()), bytes.len());
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += written.uncompressed_size;
        Ok((written.offset, written.bytes_written))
    }
}

fn write(
    runs: &[Run],
    rows: usize,
    dictionary: &Dictionary,
    column: ColumnDescPtr,
) -> Result<Chunk> {
    let level = ZstdLevel::default();
    let compressor = zstd::bulk::Compressor::new(level.compression_level());
    let compressor = compressor.map_err(|error| ParquetError::External(error.into()))?;
    let mut pages = Pages { sink: TrackedWrite::new(Vec::new()), compressor, uncompressed: 0 };
    let values = dictionary.len() as u32;
    let (_, dictionary_bytes) = pages.write(&dictionary.page(), |buf| Page::DictionaryPage {
        buf,
        num_values: values,
        encoding: Encoding::PLAIN,
        is_sorted: false,
    })?;
    let ranks = dictionary.ranks();
    let mut index = Index::new(dictionary, column.physical_type());
    let mut all: Option<Extent> = None;
    let mut runs = runs.iter().map(|run| Run { ..*run });
    let mut rest = runs.next();
    // Places take as many bits as the greatest needs, one at least.
    let bits = values.saturating_sub(1).max(1).ilog2() as u8 + 1;
    while rest.is_some() {
        let (mut bytes, mut room) = (vec![bits], PAGE_POINTS);
        let mut extent: Option<Extent> = None;
        while let Some(Run { place, rows }) = rest.take_if(|_| room > 0) {
            let now = rows.min(room);
            push_run(&mut bytes, now, place, bits);
            let own = Extent { least: place, most: place };
            extent = Some(extent.map_or(own, |extent| extent.and(own, &ranks)));
            room -= now;
            rest = match rows - now {
                0 => runs.next(),
                left => Some(Run { place, rows: left }),
            };
        }
        let count = PAGE_POINTS - room;
        let written = pages.write(&bytes, |buf| Page::DataPage {
            buf,
            num_values: count as u32,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })?;
        if let Some(extent) = extent {
            index.push(extent, &ranks, count, written);
            all = Some(all.map_or(extent, |all| all.and(extent, &ranks)));
        }
    }
    let bytes = pages.sink.into_inner()?;
    let mut metadata = ColumnChunkMetaData::builder(column)
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
        .set_compression(Compression::ZSTD(level))
        .set_total_compressed_size(bytes.len() as i64)
        .set_total_uncompressed_size(pages.uncompressed as i64)
        .set_num_values(rows as i64)
        .set_dictionary_page_offset(Some(0))
        .set_data_page_offset(dictionary_bytes as i64);
    if let Some(all) = all {
        metadata = metadata.set_statistics(dictionary.statistics(all));
    }
    let close = ColumnCloseResult {
        bytes_written: bytes.len() as u64,
        rows_written: rows as u64,
        metadata: metadata.build()?,
        bloom_filter: None,
        column_index: Some(index.columns.build()?),
        offset_index: Some(index.offsets.build()),
    };
    Ok(Chunk { bytes: bytes.into(), close })
}

/// What is where, page by page.
struct Index<'a> {
    dictionary: &'a Dictionary<'a>,
    columns: ColumnIndexBuilder,
    offsets: OffsetIndexBuilder,
    last: Option<Extent>,
    ascending: bool,
}

impl<'a> Index<'a> {
    fn new(dictionary: &'a Dictionary<'a>, column: Type) -> Self {
        let (columns, offsets) = (ColumnIndexBuilder::new(column), OffsetIndexBuilder::new());
        let mut this = Self { dictionary, columns, offsets, last: None, ascending: true };
        this.columns.set_boundary_order(BoundaryOrder::ASCENDING);
        this
    }

    fn push(&mut self, extent: Extent, ranks: &[u32], rows: usize, (at, bytes): (u64, u64)) {
        let rank = |place: u32| ranks[place as usize];
        self.ascending &= self.last.is_none_or(|last| {
            rank(last.least) <= rank(extent.least) && rank(last.most) <= rank(extent.most)
        });
        self.last = Some(extent);
        if !self.ascending {
            self.columns.set_boundary_order(BoundaryOrder::UNORDERED);
        }
        let value = |place| self.dictionary.value(place);
        self.columns.append(false, value(extent.least), value(extent.most), 0);
        self.offsets.append_row_count(rows as i64);
        self.offsets.append_offset_and_size(at as i64, bytes as i32);
    }
}

/// A run in the hybrid encoding: its length as a varint, doubled, then the value in whole bytes.
fn push_run(bytes: &mut Vec<u8>, rows: usize, place: u32, bits: u8) {
    let mut left = rows << 1;
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes.extend_from_slice(&place.to_le_bytes()[..usize::from(bits.div_ceil(8))]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, RecordBatch};
    use arrow::datatypes::UInt32Type;
    use parquet::arrow::arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
    };
    use parquet::file::metadata::PageIndexPolicy;
    use parquet::file::page_index::column_index::ColumnIndexMetaData;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::sync::Arc;

    const COLUMNS: &str = "message rows {
        required binary name (UTF8);
        required int32 number (INTEGER(32, false));
    }";

    fn file(names: &[i32], text: &[String], values: &[u32]) -> Bytes {
        let schema = Arc::new(parse_message_type(COLUMNS).unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
        let columns = writer.schema_descr().columns().to_vec();
        let mut group = writer.next_row_group().unwrap();
        let name = |key: i32| text[key as usize].as_str();
        for chunk in [
            texts(names, name, Arc::clone(&columns[0])).unwrap(),
            numbers(values, Arc::clone(&columns[1])).unwrap(),
        ] {
            group.append_column(&chunk.bytes, chunk.close).unwrap();
        }
        group.close().unwrap();
        writer.into_inner().unwrap().into()
    }

    /// Rows in runs of up to this length, of so many values.
    fn random(seed: u64, rows: usize, longest: u64, different: u64) -> Vec<u32> {
        let mut state = seed;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        let mut all = Vec::new();
        while all.len() < rows {
            let (value, length) = (below(different) as u32, below(longest) as usize + 1);
            all.resize((all.len() + length).min(rows), value);
        }
        all
    }

    #[test]
    fn runs_are_read_as_the_rows_that_were_written() {
        for (seed, rows, longest, different) in [
            (1, 1, 1, 1),
            (2, 5, 3, 2),
            (3, PAGE_POINTS, 9_000, 3),
            (4, 3 * PAGE_POINTS + 1, 100_000, 4),
            (5, 20_000, 1, 255),
            (6, 20_000, 2, 300),
            (7, 150_000, 1, 80_000),
            (8, 40_000, 700, 257),
        ] {
            let codes = random(seed, rows, longest, different);
            let keys: Vec<i32> = codes.iter().map(|code| *code as i32).collect();
            let text: Vec<String> = (0..different).map(|i| format!("{:x}", i * 7)).collect();
            // Beyond what a signed number holds.
            let values: Vec<u32> = codes.iter().map(|code| code.wrapping_mul(1 << 20)).collect();
            let bytes = file(&keys, &text, &values);
            let options =
                ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
            let metadata = ArrowReaderMetadata::load(&bytes, options).unwrap();
            let index = metadata.metadata().column_index().unwrap()[0].clone();
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata)
                .with_batch_size(rows)
                .build()
                .unwrap();
            let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
            let [batch] = &batches[..] else { panic!("{} batches", batches.len()) };
            let names = batch.column(0).as_string::<i32>().iter().flatten();
            assert!(names.eq(keys.iter().map(|key| text[*key as usize].as_str())), "{seed}");
            let numbers = batch.column(1).as_primitive::<UInt32Type>().values();
            assert_eq!(numbers[..], values[..], "{seed}");
            let [ColumnIndexMetaData::BYTE_ARRAY(of_names), ColumnIndexMetaData::INT32(of_numbers)] =
                &index[..]
            else {
                panic!("{index:?}");
            };
            for (page, rows) in (0..rows).collect::<Vec<_>>().chunks(PAGE_POINTS).enumerate() {
                let names = rows.iter().map(|i| text[keys[*i] as usize].as_bytes());
                assert_eq!(of_names.min_value(page), names.clone().min());
                assert_eq!(of_names.max_value(page), names.max());
                let number = |value: Option<&i32>| value.map(|value| *value as u32);
                let numbers = rows.iter().map(|i| values[*i]);
                assert_eq!(number(of_numbers.min_value(page)), numbers.clone().min());
                assert_eq!(number(of_numbers.max_value(page)), numbers.max());
            }
        }
    }
}
