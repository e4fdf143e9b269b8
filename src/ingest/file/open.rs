//! One recording: what format it has, which columns, and its rows as often as they are wanted.

use super::error::Error;
use crate::ingest::format::columns::Columns;
use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a batch at most; larger ones of a file are cut.
pub(super) const BATCH_ROWS: usize = 65_536;
/// The header line of a CSV file is searched for its delimiter up to this length.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// Record batches of a file, in its order. Ends behind the first error.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch, Error>> + Send>;

/// The formats of recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC file (Feather 2).
    ArrowFile,
    /// Arrow IPC stream.
    ArrowStream,
    /// Text with a header line. All columns are read as texts and understood later, so that one
    /// bad cell costs one point.
    Csv {
        /// Comma, semicolon or tab: whichever the header line has most of.
        delimiter: u8,
    },
}

impl Format {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet file",
            Self::ArrowFile => "Arrow IPC file",
            Self::ArrowStream => "Arrow IPC stream",
            Self::Csv { .. } => "CSV file",
        }
    }
}

/// A file whose columns are telemetry.
#[derive(Clone, Debug)]
pub struct Recording {
    path: PathBuf,
    format: Format,
    schema: SchemaRef,
    columns: Columns,
}

impl Recording {
    /// Opens a file, tells its format by its first bytes (CSV: by its name) and finds the columns.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let format = detect(path)?;
        let schema =
            match format {
                Format::Parquet => Arc::clone(parquet(path)?.schema()),
                Format::ArrowFile => guarded(path, format, || {
                    Ok(FileReader::try_new(buffered(path)?, None)?.schema())
                })?,
                Format::ArrowStream => guarded(path, format, || {
                    Ok(StreamReader::try_new(buffered(path)?, None)?.schema())
                })?,
                Format::Csv { delimiter } => csv_schema(path, delimiter)?,
            };
        let columns = Columns::detect(&schema).map_err(Error::columns(path))?;
        Ok(Self { path: path.into(), format, schema, columns })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The schema of its batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Which columns are what.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// All rows from the start; `only` one column when that is enough.
    pub fn batches(&self, only: Option<usize>) -> Result<Batches, Error> {
        let (path, format) = (self.path.clone(), self.format);
        let projection = only.map(|column| vec![column]);
        let damaged = move |e: ArrowError| Error::damaged(&path, format.name(), e);
        let path = &self.path;
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send> = match format
        {
            Format::Parquet => {
                let mut builder = parquet(path)?.with_batch_size(BATCH_ROWS);
                if let Some(columns) = projection {
                    let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
                    builder = builder.with_projection(mask);
                }
                let reader = builder.build();
                Box::new(reader.map_err(|e| Error::damaged(path, format.name(), e))?)
            }
            Format::ArrowFile => {
                let reader =
                    guarded(path, format, || FileReader::try_new(buffered(path)?, projection))?;
                Box::new(Guarded(Some(reader)))
            }
            Format::ArrowStream => {
                let reader =
                    guarded(path, format, || StreamReader::try_new(buffered(path)?, projection))?;
                Box::new(Guarded(Some(reader)))
            }
            Format::Csv { delimiter } => {
                let mut builder = csv::ReaderBuilder::new(Arc::clone(&self.schema))
                    .with_header(true)
                    .with_delimiter(delimiter)
                    .with_batch_size(BATCH_ROWS / 8);
                if let Some(columns) = projection {
                    builder = builder.with_projection(columns);
                }
                let file = File::open(path).map_err(Error::read(path))?;
                let reader = builder.build(file);
                Box::new(reader.map_err(|e| Error::damaged(path, format.name(), e))?)
            }
        };
        let mut failed = false;
        let batches = batches.take_while(move |batch| {
            let go_on = !failed;
            failed = batch.is_err();
            go_on
        });
        Ok(Box::new(batches.map(move |batch| batch.map_err(&damaged))))
    }
}

fn buffered(path: &Path) -> Result<BufReader<File>, ArrowError> {
    Ok(BufReader::with_capacity(1 << 20, File::open(path)?))
}

fn parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, Error> {
    let file = File::open(path).map_err(Error::read(path))?;
    ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|e| Error::damaged(path, Format::Parquet.name(), e))
}

fn detect(path: &Path) -> Result<Format, Error> {
    let mut magic = Vec::new();
    let file = File::open(path).map_err(Error::read(path))?;
    file.take(8).read_to_end(&mut magic).map_err(Error::read(path))?;
    if magic.starts_with(b"PAR1") {
        return Ok(Format::Parquet);
    }
    if magic.starts_with(b"ARROW1") {
        return Ok(Format::ArrowFile);
    }
    if magic.starts_with(&[0xff; 4]) {
        return Ok(Format::ArrowStream);
    }
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "csv" | "tsv" | "txt" => {
            let mut header = Vec::new();
            let file = File::open(path).map_err(Error::read(path))?;
            BufReader::new(file.take(HEADER_BYTES_MAX))
                .read_until(b'\n', &mut header)
                .map_err(Error::read(path))?;
            let count = |delimiter: &u8| header.iter().filter(|byte| *byte == delimiter).count();
            let delimiter = [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',');
            Ok(Format::Csv { delimiter })
        }
        "parquet" => {
            let message = "its first bytes are not PAR1";
            Err(Error::damaged(path, Format::Parquet.name(), message))
        }
        _ => Err(Error::Unknown { path: path.into() }),
    }
}

fn csv_schema(path: &Path, delimiter: u8) -> Result<SchemaRef, Error> {
    let file = File::open(path).map_err(Error::read(path))?;
    let format = csv::reader::Format::default().with_header(true).with_delimiter(delimiter);
    let (schema, _) = format
        .infer_schema(BufReader::new(file), Some(0))
        .map_err(|e| Error::damaged(path, Format::Csv { delimiter }.name(), e))?;
    let text = |field: &Arc<Field>| Field::new(field.name(), DataType::Utf8, true);
    Ok(Arc::new(Schema::new(schema.fields().iter().map(text).collect::<Vec<_>>())))
}

/// Runs a reader of Arrow IPC, which checks much but not everything before it indexes.
fn guarded<T>(
    path: &Path,
    format: Format,
    read: impl FnOnce() -> Result<T, ArrowError>,
) -> Result<T, Error> {
    let result = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(damage()));
    result.map_err(|e| Error::damaged(path, format.name(), e))
}

fn damage() -> ArrowError {
    ArrowError::IpcError("its sizes or types are damaged".into())
}

/// A reader that ends with an error where it would panic.
struct Guarded<R>(Option<R>);

impl<R: Iterator<Item = Result<RecordBatch, ArrowError>>> Iterator for Guarded<R> {
    type Item = R::Item;

    fn next(&mut self) -> Option<Self::Item> {
        let reader = self.0.as_mut()?;
        let next = catch_unwind(AssertUnwindSafe(|| reader.next()));
        next.unwrap_or_else(|_| {
            self.0 = None;
            Some(Err(damage()))
        })
    }
}
