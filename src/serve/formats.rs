//! Rows on the wire in the form that the client chooses: JSON, CSV and Arrow are written while they
//! are sent, other forms by [`super::rendered`].

use super::doors::{DoorError, ErrorKind};
use super::encoder::Encoder;
use super::limits::{PART_BYTES, ROWS_PER_PART};
use super::rendered::rendered;
use crate::query::Form;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, WriterBuilder};
use axum::body::Body;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};

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
    /// One row object a line.
    Lines,
    /// A Parquet file.
    Parquet,
    /// A workbook for Excel.
    Xlsx,
}

/// The parameter of an address that names a form.
const FORMAT: &str = "format";

/// The form that a request wants: `format` in its address says it, else its `Accept`.
impl<S: Sync> FromRequestParts<S> for Format {
    type Rejection = DoorError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, DoorError> {
        let given = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).ok();
        let mut names = given.iter().flat_map(|given| &given.0).filter(|(name, _)| name == FORMAT);
        match (names.next(), names.next()) {
            (None, _) => Self::accepted(&parts.headers),
            (Some((_, name)), None) => Self::named(name),
            (Some(_), Some(_)) => {
                Err(DoorError::new(ErrorKind::Malformed, "parameter 'format' is given twice"))
            }
        }
    }
}

/// The parameters of an address but that which names the form.
pub(super) fn parameters(mut given: Vec<(String, String)>) -> Vec<(String, String)> {
    given.retain(|(name, _)| name != FORMAT);
    given
}

impl Format {
    const ALL: [Self; 6] =
        [Self::Json, Self::Csv, Self::Arrow, Self::Lines, Self::Parquet, Self::Xlsx];

    /// The form of this name: `json`, `csv`, `arrow`, `ndjson`, `parquet` or `xlsx`.
    fn named(name: &str) -> Result<Self, DoorError> {
        let form = name.parse::<Form>().ok();
        let found = Self::ALL.into_iter().find(|format| Some(format.form()) == form);
        found.ok_or_else(|| {
            let known = Self::ALL.map(|format| format.form().name()).join(", ");
            DoorError::new(ErrorKind::Malformed, format!("'{name}' is no format"))
                .hint(format!("formats: {known}"))
        })
    }

    /// The form as the room of queries knows it.
    pub fn form(self) -> Form {
        match self {
            Self::Json => Form::Json,
            Self::Csv => Form::Csv,
            Self::Arrow => Form::Arrow,
            Self::Lines => Form::JsonLines,
            Self::Parquet => Form::Parquet,
            Self::Xlsx => Form::Xlsx,
        }
    }

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
            let name = name.to_ascii_lowercase();
            let format = match name.as_str() {
                "application/*" | "*/*" => Some(Self::Json),
                "text/*" => Some(Self::Csv),
                name => Self::ALL.into_iter().find(|format| format.media_type() == name),
            };
            if let Some(format) = format.filter(|_| quality > 0.0) {
                return Ok(format);
            }
        }
        let known = Self::ALL.map(Self::media_type).join(", ");
        Err(DoorError::new(ErrorKind::NotAcceptable, "no form that you accept can be given")
            .hint(format!("accept one of {known}")))
    }

    /// The media type without parameters.
    fn media_type(self) -> &'static str {
        self.form().media_type().split(';').next().unwrap_or_default()
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
    if matches!(format, Format::Lines | Format::Parquet | Format::Xlsx) {
        return rendered(format.form(), schema, batches).await;
    }
    // Asked again behind its end when there are no rows at all.
    let mut batches = batches.fuse();
    let mut first =
        batches.next().await.transpose()?.map(|batch| slices(&batch)).unwrap_or_default();
    let mut encoder =
        Encoder::new(format.form(), &schema, &head).map_err(|error| encode(&error))?;
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
    let headers = [(header::CONTENT_TYPE, format.form().media_type())];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// The rows in pieces that are quickly encoded.
pub(super) fn slices(batch: &RecordBatch) -> Vec<RecordBatch> {
    (0..batch.num_rows())
        .step_by(ROWS_PER_PART)
        .map(|offset| batch.slice(offset, ROWS_PER_PART.min(batch.num_rows() - offset)))
        .collect()
}

pub(super) fn encode(error: &dyn std::fmt::Display) -> DoorError {
    DoorError::new(ErrorKind::Invalid, format!("the rows cannot be encoded: {error}"))
        .hint("cast the columns to other types, or accept another form")
}
