//! Answers as bytes: a table for people, JSON and CSV for programs, Arrow and Parquet for tools, and
//! workbooks for Excel.

mod xlsx;

pub use xlsx::{CELLS_MAX, SHEET_ROWS};

use super::answer::Answer;
use super::error::Error;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited, Writer as JsonWriter, WriterBuilder};
use arrow::util::pretty::pretty_format_batches_with_schema;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::io::Write;
use std::str::FromStr;
use xlsx::Xlsx;

/// Rows of a group of a Parquet file, which is in memory until it is complete.
const GROUP_ROWS: usize = 64 * 1024;

/// The forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines and columns of text; held back until the last row is there.
    Table,
    /// One JSON array of objects, nulls written out.
    Json,
    /// One JSON object a line.
    JsonLines,
    /// Comma separated, with a header.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
    /// A workbook; held back until the last row is there, in a temporary file.
    Xlsx,
}

impl Form {
    /// All forms.
    pub const ALL: [Self; 7] = [
        Self::Table,
        Self::Json,
        Self::JsonLines,
        Self::Csv,
        Self::Arrow,
        Self::Parquet,
        Self::Xlsx,
    ];

    /// The name, which is the ending of files too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "txt",
            Self::Json => "json",
            Self::JsonLines => "ndjson",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
            Self::Xlsx => "xlsx",
        }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }
}

impl FromStr for Form {
    type Err = String;

    /// Reads `table`, `json`, `ndjson` (or `jsonl`), `csv`, `arrow`, `parquet` or `xlsx`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            "arrow" => Ok(Self::Arrow),
            "parquet" => Ok(Self::Parquet),
            "xlsx" => Ok(Self::Xlsx),
            other => Err(format!(
                "'{other}' is no form: give table, json, ndjson, csv, arrow, parquet or xlsx"
            )),
        }
    }
}

/// Writes batches of one schema in one form. Nothing is complete before [`Renderer::finish`].
pub struct Renderer<W: Write + Send>(State<W>);

enum State<W: Write + Send> {
    Table(SchemaRef, Vec<RecordBatch>, W),
    Json(JsonWriter<W, JsonArray>),
    JsonLines(JsonWriter<W, LineDelimited>),
    Csv(arrow::csv::Writer<W>),
    Arrow(Box<StreamWriter<W>>),
    Parquet(Box<ArrowWriter<W>>),
    Xlsx(Box<Xlsx<W>>),
}

impl<W: Write + Send> Renderer<W> {
    /// Starts to write.
    pub fn new(form: Form, schema: SchemaRef, out: W) -> Result<Self, Error> {
        let json = WriterBuilder::new().with_explicit_nulls(true);
        Ok(Self(match form {
            Form::Table => State::Table(schema, Vec::new(), out),
            Form::Json => State::Json(json.build(out)),
            Form::JsonLines => State::JsonLines(json.build(out)),
            Form::Csv => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
                // The header comes with the first batch, so an empty one makes sure of it.
                writer.write(&RecordBatch::new_empty(schema)).map_err(Error::failed)?;
                State::Csv(writer)
            }
            Form::Arrow => {
                let writer = StreamWriter::try_new(out, &schema).map_err(Error::failed)?;
                State::Arrow(Box::new(writer))
            }
            Form::Parquet => {
                let zstd = Compression::ZSTD(ZstdLevel::default());
                let properties = WriterProperties::builder()
                    .set_compression(zstd)
                    .set_max_row_group_row_count(Some(GROUP_ROWS))
                    .build();
                let writer = ArrowWriter::try_new(out, schema, Some(properties));
                State::Parquet(Box::new(writer.map_err(Error::failed)?))
            }
            Form::Xlsx => State::Xlsx(Box::new(Xlsx::new(schema, out)?)),
        }))
    }

    /// Writes a batch, or keeps it until the end.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        match &mut self.0 {
            State::Table(_, batches, _) => {
                batches.push(batch.clone());
                Ok(())
            }
            State::Json(writer) => writer.write(batch).map_err(Error::failed),
            State::JsonLines(writer) => writer.write(batch).map_err(Error::failed),
            State::Csv(writer) => writer.write(batch).map_err(Error::failed),
            State::Arrow(writer) => writer.write(batch).map_err(Error::failed),
            State::Parquet(writer) => writer.write(batch).map_err(Error::failed),
            State::Xlsx(writer) => writer.write(batch),
        }
    }

    /// Writes what is left and gives the output back.
    pub fn finish(self) -> Result<W, Error> {
        match self.0 {
            State::Table(schema, batches, mut out) => {
                let table = pretty_format_batches_with_schema(schema, &batches);
                writeln!(out, "{}", table.map_err(Error::failed)?).map_err(Error::failed)?;
                Ok(out)
            }
            State::Json(mut writer) => {
                writer.finish().map_err(Error::failed)?;
                Ok(writer.into_inner())
            }
            State::JsonLines(mut writer) => {
                writer.finish().map_err(Error::failed)?;
                Ok(writer.into_inner())
            }
            State::Csv(writer) => Ok(writer.into_inner()),
            State::Arrow(writer) => writer.into_inner().map_err(Error::failed),
            State::Parquet(writer) => writer.into_inner().map_err(Error::failed),
            State::Xlsx(writer) => writer.finish(),
        }
    }
}

/// Writes a whole answer.
pub async fn render<W: Write + Send>(mut answer: Answer, form: Form, out: W) -> Result<W, Error> {
    let mut renderer = Renderer::new(form, answer.schema(), out)?;
    while let Some(batch) = answer.next().await {
        renderer.write(&batch?)?;
    }
    renderer.finish()
}
