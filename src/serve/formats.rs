//! Rows on the wire: JSON, CSV and Arrow, chosen by the client.

use super::doors::{DoorError, ErrorKind};
use super::limits::{PART_BYTES, ROWS_PER_PART};
use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, WriterBuilder};
use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use std::sync::Arc;

/// The media type of Arrow IPC streams.
pub(super) const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

/// The form of an answer with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// An object with an array of row objects.
    Json,
    /// A header line, then one line a row.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// The first form, in the client's order of preference, that can be given.
    pub fn accepted(headers: &HeaderMap) -> Result<Self, DoorError> {
        let mut wanted: Vec<(f32, &str)> = Vec::new();
        for value in headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok())
        {
            for range in value.split(',') {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next().unwrap_or_default();
                let quality = parts.find_map(|part| part.strip_prefix("q="));
                wanted.push((quality.map_or(1.0, |q| q.parse().unwrap_or(0.0)), name));
            }
        }
        if wanted.is_empty() {
            return Ok(Self::Json);
        }
        // The sort is stable: equal preferences stay in the client's order.
        wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (quality, name) in wanted {
            let format = match name.to_ascii_lowercase().as_str() {
                "application/json" | "application/*" | "*/*" => Self::Json,
                "text/csv" | "text/*" => Self::Csv,
                ARROW_STREAM => Self::Arrow,
                _ => continue,
            };
            if quality > 0.0 {
                return Ok(format);
            }
        }
        Err(DoorError::new(ErrorKind::NotAcceptable, "no form that you accept can be given")
            .hint(format!("accept application/json, text/csv or {ARROW_STREAM}")))
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => ARROW_STREAM,
        }
    }
}

/// Batches as a JSON array, without nulls left out.
pub(super) fn json_array(rows: &RecordBatch) -> Result<String, ArrowError> {
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write(rows)?;
    writer.finish()?;
    let bytes = writer.into_inner();
    if bytes.is_empty() {
        return Ok("[]".into());
    }
    String::from_utf8(bytes).map_err(|error| ArrowError::JsonError(error.to_string()))
}

/// Rows as JSON arrays of at most about [`PART_BYTES`], at least one; a longer row stands alone.
pub(super) fn json_parts(rows: &RecordBatch) -> Vec<String> {
    let mut parts = Vec::new();
    let mut offset = 0;
    while offset < rows.num_rows() {
        let length = ROWS_PER_PART.min(rows.num_rows() - offset);
        push_part(&rows.slice(offset, length), &mut parts);
        offset += length;
    }
    if parts.is_empty() {
        parts.push("[]".into());
    }
    parts
}

fn push_part(rows: &RecordBatch, parts: &mut Vec<String>) {
    match json_array(rows) {
        Ok(text) if text.len() <= PART_BYTES || rows.num_rows() == 1 => parts.push(text),
        Ok(_) => {
            let half = rows.num_rows() / 2;
            push_part(&rows.slice(0, half), parts);
            push_part(&rows.slice(half, rows.num_rows() - half), parts);
        }
        // The views have no columns that JSON cannot say.
        Err(error) => tracing::error!(%error, "rows could not be written as JSON"),
    }
}

/// Rows that come one batch after the other.
pub(super) type Batches = BoxStream<'static, Result<RecordBatch, DoorError>>;

/// An answer with rows, encoded while it is sent. `head` has the members of the JSON object that
/// stand before `rows`, each followed by a comma.
///
/// An error before the first row is the answer; a later one cuts the answer off.
pub(super) async fn respond(
    format: Format,
    schema: SchemaRef,
    head: String,
    batches: Batches,
) -> Result<Response, DoorError> {
    // Asked again behind its end when there are no rows at all.
    let mut batches = batches.fuse();
    let mut first =
        batches.next().await.transpose()?.map(|batch| slices(&batch)).unwrap_or_default();
    let mut encoder = Encoder::new(format, &schema, &head).map_err(|error| encode(&error))?;
    let mut begin = encoder.take();
    if !first.is_empty() {
        // A type that the form cannot say shows now, not after the head is sent.
        let rows = encoder.rows(&first.remove(0)).map_err(|error| encode(&error))?;
        begin.extend(rows);
    }
    let parts = stream::iter(first.into_iter().map(Ok)).chain(batches.flat_map(|batch| {
        stream::iter(match batch {
            Ok(batch) => slices(&batch).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }));
    let body = stream::once(async move { Ok(begin) }).chain(
        parts.map(Some).chain(stream::once(async { None })).scan(
            (encoder, false),
            |(encoder, failed), part| {
                if *failed {
                    return futures::future::ready(None);
                }
                let encoded = match part {
                    Some(Ok(rows)) => encoder.rows(&rows).map_err(|error| encode(&error)),
                    Some(Err(error)) => Err(error),
                    None => encoder.finish().map_err(|error| encode(&error)),
                };
                if let Err(error) = &encoded {
                    tracing::warn!(%error, "answer cut off");
                    *failed = true;
                }
                futures::future::ready(Some(encoded))
            },
        ),
    );
    let headers = [(header::CONTENT_TYPE, format.content_type())];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// The rows in pieces that are quickly encoded.
pub(super) fn slices(batch: &RecordBatch) -> Vec<RecordBatch> {
    (0..batch.num_rows())
        .step_by(ROWS_PER_PART)
        .map(|offset| batch.slice(offset, ROWS_PER_PART.min(batch.num_rows() - offset)))
        .collect()
}

fn encode(error: &ArrowError) -> DoorError {
    DoorError::new(ErrorKind::Invalid, format!("the rows cannot be encoded: {error}"))
        .hint("cast the columns to other types, or accept another form")
}

/// Writes rows piece by piece.
enum Encoder {
    Json { waiting: Vec<u8>, any: bool },
    Csv { waiting: Vec<u8>, header: bool, schema: SchemaRef },
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Encoder {
    fn new(format: Format, schema: &Schema, head: &str) -> Result<Self, ArrowError> {
        Ok(match format {
            Format::Json => {
                Self::Json { waiting: format!("{{{head}\"rows\":[").into_bytes(), any: false }
            }
            Format::Csv => {
                Self::Csv { waiting: Vec::new(), header: true, schema: Arc::new(schema.clone()) }
            }
            Format::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
        })
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json { waiting, any } => {
                let text = json_array(rows)?;
                // Without the brackets of the array.
                let inner = &text[1..text.len() - 1];
                if !inner.is_empty() {
                    if *any {
                        waiting.push(b',');
                    }
                    *any = true;
                    waiting.extend_from_slice(inner.as_bytes());
                }
            }
            Self::Csv { waiting, header, .. } => {
                let mut writer = csv::WriterBuilder::new().with_header(*header).build(waiting);
                writer.write(rows)?;
                *header = false;
            }
            Self::Arrow(writer) => writer.write(rows)?,
        }
        Ok(self.take())
    }

    fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json { waiting, .. } => waiting.extend_from_slice(b"]}\n"),
            Self::Csv { header: false, .. } => {}
            Self::Csv { schema, .. } => {
                let none = RecordBatch::new_empty(Arc::clone(schema));
                return self.rows(&none);
            }
            Self::Arrow(writer) => writer.finish()?,
        }
        Ok(self.take())
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Json { waiting, .. } | Self::Csv { waiting, .. } => std::mem::take(waiting),
            Self::Arrow(writer) => std::mem::take(writer.get_mut()),
        }
    }
}
