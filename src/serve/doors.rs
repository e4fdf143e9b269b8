//! What the HTTP doors need of the rest of the runtime, as one trait.

use super::edits::{Correction, Deletion, EditAnswer};
use super::problem::Problem;
use crate::model::{Epoch, Kind};
use crate::query::{self, Form};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Everything that a request can ask for, except for views, which are read directly.
///
/// Futures may be dropped when a client goes away; what was acknowledged by then stays.
#[async_trait]
pub trait Doors: Send + Sync + 'static {
    /// Memory to read a body of telemetry into, held until the body is answered. The error is what
    /// the body is told when none is taken now.
    fn begin_ingest(&self) -> Result<Box<dyn BodyRoom>, DoorError>;

    /// Takes a message, an array of messages or one a line. Returns after the accepted points are
    /// durable. Bad elements are told in the answer; an error means that nothing was taken.
    async fn ingest_json(&self, body: Bytes, form: JsonForm) -> Result<IngestAnswer, DoorError>;

    /// The same with an Arrow IPC stream.
    async fn ingest_arrow(&self, body: Bytes) -> Result<IngestAnswer, DoorError>;

    /// Deletes points; returns when that is durable and visible. An error means that nothing was
    /// deleted.
    async fn delete_points(&self, wanted: Deletion) -> Result<EditAnswer, DoorError>;

    /// Corrects points; returns when that is durable and visible. An error means that nothing was
    /// corrected.
    async fn correct_points(&self, wanted: Correction) -> Result<EditAnswer, DoorError>;

    /// Runs a query. Errors that show up while rows are read come in the stream and end it.
    async fn sql(&self, text: &str) -> Result<Rows, DoorError>;

    /// Runs a query whose answer is read in pages.
    async fn cursor(&self, text: &str) -> Result<query::Cursor, DoorError>;

    /// The named queries.
    fn queries(&self) -> Vec<ListedQuery>;

    /// Runs a named query with these values for its parameters, else like [`Doors::sql`].
    async fn query(&self, name: &str, given: Vec<(String, String)>) -> Result<Rows, DoorError>;

    /// History of an asset, or of what a device has sent, by the parameters of an address, else
    /// like [`Doors::sql`].
    async fn retrieve(
        &self,
        owner: Owner,
        key: &str,
        given: Vec<(String, String)>,
    ) -> Result<History, DoorError>;

    /// What was measured in a range of event time, side by side, else like [`Doors::retrieve`].
    async fn range(&self, given: Vec<(String, String)>) -> Result<History, DoorError>;

    /// Takes a question whose answer is written to a file in the background.
    fn start_export(&self, wanted: NewExport) -> Result<Export, DoorError>;

    /// All exports that are kept, oldest first.
    fn exports(&self) -> Vec<Export>;

    /// How far an export is.
    fn export(&self, id: &str) -> Result<Export, DoorError>;

    /// The file of an export that is done.
    fn export_file(&self, id: &str) -> Result<ExportFile, DoorError>;

    /// Ends an export if it is written, and removes it.
    fn remove_export(&self, id: &str) -> Result<(), DoorError>;

    /// Publishes a document under a key; returns when it has taken effect.
    async fn put_document(
        &self,
        kind: Kind,
        key: &str,
        body: &str,
        form: DocumentForm,
    ) -> Result<StoredDocument, DoorError>;

    /// The current version of a document.
    async fn get_document(&self, kind: Kind, key: &str) -> Result<StoredDocument, DoorError>;

    /// Deletes a document; returns when that has taken effect.
    async fn delete_document(&self, kind: Kind, key: &str) -> Result<(), DoorError>;

    /// Recomputes views, all when none are named, and compares.
    async fn verify(&self, views: Option<Vec<String>>) -> Result<Report, DoorError>;

    /// Recounts from the log that every accepted point is in telemetry exactly once.
    async fn conservation(&self) -> Result<Conservation, DoorError>;

    /// What retention would do now.
    async fn retention(&self) -> Result<Retention, DoorError>;

    /// Removes what is older than it is to be kept; returns when that is done, or cannot be now.
    async fn retain(&self) -> Result<Retention, DoorError>;

    /// All metrics in Prometheus' text form.
    fn metrics_text(&self) -> String;

    /// How the runtime is. Answers quickly and never fails.
    async fn health(&self) -> Health;
}

/// Memory for a body that is being read, given back when it is dropped.
pub trait BodyRoom: Send {
    /// Asks for so many bytes more. Does not wait; the error is what the body is told.
    fn grow(&mut self, bytes: usize) -> Result<(), DoorError>;
}

/// How JSON telemetry is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonForm {
    /// One message, or an array of messages.
    Json,
    /// One message a line.
    Lines,
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentForm {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// What became of telemetry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngestAnswer {
    /// Identifies the request in logs.
    pub message_id: String,
    /// Points that are durable now and were not known before.
    pub accepted: u64,
    /// Points that were known already.
    pub duplicates: u64,
    /// Elements, or metrics of elements, that were refused. They are in view `dead_letters`.
    pub rejected: Vec<Rejected>,
}

/// One refusal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Rejected {
    /// Position of the element in the request, from 0.
    pub index: u64,
    /// The metric, when only a part of the element was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// A code: `SYNTAX`, `SCHEMA`, `TS`, `FUTURE_TS`, `UNKNOWN_DEVICE` and so on.
    pub reason: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// Rows of a query.
pub struct Rows {
    /// Their columns.
    pub schema: SchemaRef,
    /// The rows; ends after the first error.
    pub batches: BoxStream<'static, Result<RecordBatch, DoorError>>,
}

/// Whose history is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An asset's.
    Asset,
    /// That of a device.
    Device,
}

/// History, and what was understood of the question.
pub struct History {
    /// Members to stand before the columns of a JSON answer.
    pub about: serde_json::Map<String, serde_json::Value>,
    /// The rows.
    pub rows: Rows,
}

/// What is to be exported: `sql`, or `query` with its `parameters`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewExport {
    /// One SQL statement that reads.
    pub sql: Option<String>,
    /// The name of a query.
    pub query: Option<String>,
    /// Values of its parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// `csv`, `xlsx`, `json`, `ndjson`, `arrow` or `parquet`.
    pub format: String,
}

/// An export.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// What to ask for it by.
    pub id: String,
    /// `queued`, `running`, `done` or `failed`.
    pub state: String,
    /// The form of its file.
    pub format: String,
    /// What is asked.
    pub question: String,
    /// Rows that are written.
    pub rows: u64,
    /// Bytes that are written.
    pub bytes: u64,
    /// The epoch that its tables are at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// When it was asked for.
    pub created_at: String,
    /// When it was done or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// When it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Where its file is, when it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// A file to download.
pub struct ExportFile {
    /// The file, at its beginning.
    pub file: std::fs::File,
    /// Its form.
    pub form: Form,
    /// Its length.
    pub bytes: u64,
}

/// A named query.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ListedQuery {
    /// The name to ask for.
    pub name: String,
    /// What it answers, in a few words.
    pub title: String,
    /// What else there is to say.
    pub description: String,
    /// Its parameters.
    pub parameters: Vec<ListedParameter>,
    /// Values to try it with.
    pub example: BTreeMap<String, String>,
}

/// A parameter of a named query.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ListedParameter {
    /// Its name.
    pub name: String,
    /// `string`, `double`, `integer`, `bool`, `timestamp` or `duration`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether a value must be given.
    pub required: bool,
    /// What is taken when no value is given; nothing when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What it means.
    pub description: String,
}

/// A document as the catalog has it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct StoredDocument {
    /// `asset_types`, `device_types`, `assets`, `devices` or `links`.
    pub kind: String,
    /// Its name.
    pub key: String,
    /// Its version, from 1.
    pub version: u32,
    /// The epoch at which the version took effect, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Its contents.
    pub document: serde_json::Value,
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Report {
    /// The epoch at which views and telemetry were compared.
    pub epoch: u64,
    /// Whether every view is equal to its query.
    pub equal: bool,
    /// View by view.
    pub views: Vec<ViewReport>,
}

/// The result for one view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ViewReport {
    /// The view.
    pub view: String,
    /// Whether it is equal to its query.
    pub equal: bool,
    /// Rows that were compared.
    pub rows: u64,
    /// The first differences, for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
}

/// How long telemetry is kept, and what is older.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Retention {
    /// How long by event time, measured from the clock of the source; null for ever.
    pub keep: Option<String>,
    /// How long since it was received, at least.
    pub min_age: String,
    /// Days before this time are old; null when none are.
    pub before: Option<String>,
    /// Old days that may go.
    pub removable: RetentionSum,
    /// Old days that stay, because points of them were received lately.
    pub young: RetentionSum,
    /// Days that have gone, ever.
    pub removed: RetentionSum,
    /// Why days that may go are still there; empty when nothing keeps them.
    pub held_by: String,
}

/// Some days of telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetentionSum {
    /// How many.
    pub days: u64,
    /// Their files.
    pub files: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Points in them; a key as often as it had another value.
    pub points: u64,
}

/// Every accepted point by what became of it. Counts are points unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Conservation {
    /// Whether `received + copies = stored + replaced + duplicates + deleted + expired + unmapped`, and
    /// nothing else is in telemetry.
    pub holds: bool,
    /// The epoch at which log and telemetry were compared.
    pub epoch: u64,
    /// Points in the log: all that was acknowledged.
    pub received: u64,
    /// Further copies of points that feed more than one metric or asset.
    pub copies: u64,
    /// In telemetry, each key once.
    pub stored: u64,
    /// Came with another value or quality for a key that was there.
    pub replaced: u64,
    /// Came again as they were.
    pub duplicates: u64,
    /// Deleted because somebody asked for it.
    pub deleted: u64,
    /// Removed because they were old, or refused because they came after that.
    pub expired: u64,
    /// Of metrics that no asset takes.
    pub unmapped: u64,
    /// Must be in telemetry and are not.
    pub lost: u64,
    /// Rows of telemetry that no point of the log explains.
    pub unexplained: u64,
    /// The first keys that are wrong, for people.
    pub examples: Vec<String>,
    /// Messages with points in the log.
    pub messages: u64,
    /// Dead letters in the log, by the door that took them.
    pub dead_letters: BTreeMap<String, u64>,
    /// Dead letters in the view, which holds the newest.
    pub dead_letters_shown: u64,
    /// Whether the view may hold fewer than the log, because it is full.
    pub dead_letters_full: bool,
}

/// How the runtime is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Health {
    /// Whether it does its work.
    pub status: HealthStatus,
    /// The newest visible epoch.
    pub epoch: u64,
    /// More facts, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, serde_json::Value>,
}

/// Whether the runtime does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// It does.
    Ok,
    /// Not yet: it reads its log.
    Starting,
    /// Something is broken: `details` say what. `/health` answers 503.
    Failing,
}

/// A refusal, in words for the one who asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct DoorError {
    /// Whose turn it is.
    pub kind: ErrorKind,
    /// What is wrong.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
    /// Single faults in a document.
    pub problems: Vec<DocumentProblem>,
}

/// One fault in a document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct DocumentProblem {
    /// Where in the document, as a path of keys.
    pub path: String,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What the one who asked can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// 400: the request cannot be understood. Mend it.
    Malformed,
    /// 403: asked by a page of another site, or under another name.
    Forbidden,
    /// 404: there is no such thing.
    NotFound,
    /// 405: there is such a thing, but not for this method.
    Method,
    /// 406: no form that the client accepts can be given.
    NotAcceptable,
    /// 409: it contradicts what is there.
    Conflict,
    /// 413: larger than a limit. Send less at once.
    TooLarge,
    /// 415: a form that is not read here.
    UnsupportedMedia,
    /// 422: understood, and wrong. Mend the contents.
    Invalid,
    /// 429: too much at once. Wait, then send again.
    TooMany,
    /// 500: a fault of this program. Please report it.
    Internal,
    /// 503: not now. Try again later; the operator may have to act.
    Unavailable,
}

impl DoorError {
    /// An error without a hint.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), hint: None, problems: Vec::new() }
    }

    /// The same error with a hint.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl StoredDocument {
    /// A document with its contents as canonical JSON; contents that are no JSON become a string.
    pub fn new(kind: Kind, key: &str, version: u32, epoch: Option<Epoch>, body: &str) -> Self {
        let document = serde_json::from_str(body)
            .unwrap_or_else(|_| serde_json::Value::String(body.to_owned()));
        Self {
            kind: kind.name().into(),
            key: key.into(),
            version,
            epoch: epoch.map(|epoch| epoch.0),
            document,
        }
    }
}
