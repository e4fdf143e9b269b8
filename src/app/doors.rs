//! The doors of a runtime: what the HTTP room asks for, done by the other rooms.

use super::edits::{LOOK, PATIENCE};
use super::exports::Exports;
use super::intake::{Form, HTTP, Intake, documents, ended, refused};
use super::runtime::Runtime;
use crate::base::memory::Usage;
use crate::catalog::{Problem, parse_yaml};
use crate::ingest::commit::{CommitError, State};
use crate::ingest::format::json::Framing;
use crate::model::{Kind, NewDocument, Timestamp};
use crate::query::{self, Fallback, Library, NamedQuery, Parameter};
use crate::serve::{
    BodyRoom, Conservation, Correction, Deletion, DocumentForm, DocumentProblem, DoorError, Doors,
    EditAnswer, ErrorKind, Export, ExportFile, Health, HealthStatus, History, IngestAnswer,
    JsonForm, ListedParameter, ListedQuery, NewExport, Owner, Report, Retention, Rows,
    StoredDocument, ViewReport,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use metrics_exporter_prometheus::PrometheusHandle;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// A runtime as the HTTP room sees it.
pub struct RuntimeDoors {
    runtime: Arc<Runtime>,
    intake: Intake,
    metrics: PrometheusHandle,
    queries: Library,
    exports: Exports,
}

impl RuntimeDoors {
    /// The doors of a runtime, with the recorder of the process's metrics, the named queries and the
    /// exports.
    pub fn new(
        runtime: Arc<Runtime>,
        metrics: PrometheusHandle,
        queries: Library,
        exports: Exports,
    ) -> Self {
        let intake = Intake::new(&runtime);
        Self { runtime, intake, metrics, queries, exports }
    }

    /// The intake behind the doors, for other transports.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(super) fn kept_exports(&self) -> &Exports {
        &self.exports
    }

    /// The query of this name.
    pub(super) fn named(&self, name: &str) -> Result<NamedQuery, DoorError> {
        self.queries.get(name).ok_or_else(|| {
            let list = self.queries.list();
            let known: Vec<&str> = list.iter().map(|query| query.name.as_str()).collect();
            DoorError::new(ErrorKind::NotFound, format!("there is no query '{name}'"))
                .hint(format!("queries: {}", known.join(", ")))
        })
    }

    fn stored(&self, kind: Kind, key: &str) -> Result<StoredDocument, DoorError> {
        let catalog = self.runtime.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let document = catalog.document(kind, key).ok_or_else(|| missing(kind, key))?;
        let body = document.body.as_deref().unwrap_or("null");
        Ok(StoredDocument::new(kind, key, document.version, None, body))
    }

    async fn commit(&self, new: NewDocument) -> Result<(), DoorError> {
        let submitter = &self.runtime.submitter;
        let committed = submitter.submit(documents(vec![new])).await.map_err(refused)?;
        submitter.visible(committed.epoch).await.map_err(ended)
    }
}

#[async_trait]
impl Doors for RuntimeDoors {
    fn begin_ingest(&self) -> Result<Box<dyn BodyRoom>, DoorError> {
        Ok(Box::new(self.intake.read()?))
    }

    async fn ingest_json(&self, body: Bytes, form: JsonForm) -> Result<IngestAnswer, DoorError> {
        let framing = match form {
            JsonForm::Json => Framing::Detect,
            JsonForm::Lines => Framing::Lines,
        };
        self.intake.take(body, Form::Json(framing, None), HTTP).await
    }

    async fn ingest_arrow(&self, body: Bytes) -> Result<IngestAnswer, DoorError> {
        self.intake.take(body, Form::Arrow, HTTP).await
    }

    async fn delete_points(&self, wanted: Deletion) -> Result<EditAnswer, DoorError> {
        self.delete(wanted).await
    }

    async fn correct_points(&self, wanted: Correction) -> Result<EditAnswer, DoorError> {
        self.correct(wanted).await
    }

    async fn sql(&self, text: &str) -> Result<Rows, DoorError> {
        Ok(rows(self.runtime.query.sql(text).await.map_err(asked)?))
    }

    async fn cursor(&self, text: &str) -> Result<query::Cursor, DoorError> {
        self.runtime.query.cursor(text).await.map_err(asked)
    }

    fn queries(&self) -> Vec<ListedQuery> {
        list_queries(&self.queries)
    }

    async fn query(&self, name: &str, given: Vec<(String, String)>) -> Result<Rows, DoorError> {
        let query = self.named(name)?;
        let now = Timestamp(self.runtime.clock.now_micros());
        Ok(rows(self.runtime.query.named(&query, &given, now).await.map_err(asked)?))
    }

    async fn retrieve(
        &self,
        owner: Owner,
        key: &str,
        given: Vec<(String, String)>,
    ) -> Result<History, DoorError> {
        self.history(owner, key, &given).await
    }

    async fn range(&self, given: Vec<(String, String)>) -> Result<History, DoorError> {
        self.side_by_side(&given).await
    }

    fn start_export(&self, wanted: NewExport) -> Result<Export, DoorError> {
        self.begin_export(&wanted)
    }

    fn exports(&self) -> Vec<Export> {
        self.exports.list()
    }

    fn export(&self, id: &str) -> Result<Export, DoorError> {
        self.exports.get(id)
    }

    fn export_file(&self, id: &str) -> Result<ExportFile, DoorError> {
        self.exports.file(id)
    }

    fn remove_export(&self, id: &str) -> Result<(), DoorError> {
        self.exports.remove(id)
    }

    async fn put_document(
        &self,
        kind: Kind,
        key: &str,
        body: &str,
        _form: DocumentForm,
    ) -> Result<StoredDocument, DoorError> {
        // JSON is YAML too, so one reader finds the place of every problem.
        let read = parse_yaml(kind, "body", body).map_err(|problems| faulty(&problems))?;
        let [new] = read.as_slice() else {
            let detail = format!("the body has {} documents: send one", read.len());
            return Err(DoorError::new(ErrorKind::Invalid, detail));
        };
        if *new.key != *key {
            let detail = format!("the document's key is '{}', the address says '{key}'", new.key);
            return Err(DoorError::new(ErrorKind::Conflict, detail));
        }
        self.commit(new.clone()).await?;
        // Assets look at their rows again one after the other.
        let (count, begun) = (self.runtime.pages_wanted(), Instant::now());
        while self.runtime.waits_for_pages(count) && begun.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
        }
        self.stored(kind, key)
    }

    async fn get_document(&self, kind: Kind, key: &str) -> Result<StoredDocument, DoorError> {
        self.stored(kind, key)
    }

    async fn delete_document(&self, kind: Kind, key: &str) -> Result<(), DoorError> {
        self.stored(kind, key)?;
        let deleted = self.commit(NewDocument { kind, key: key.into(), body: None }).await;
        deleted.map_err(|error| match error.kind {
            // The only reason to refuse a deletion: others refer to the document.
            ErrorKind::Invalid => DoorError { kind: ErrorKind::Conflict, ..error },
            _ => error,
        })
    }

    async fn verify(&self, views: Option<Vec<String>>) -> Result<Report, DoorError> {
        let report = self.runtime.verify().await.map_err(asked)?;
        let mut report = wire(&report);
        if let Some(wanted) = views {
            if let Some(name) =
                wanted.iter().find(|name| report.views.iter().all(|v| v.view != **name))
            {
                let known: Vec<&str> = report.views.iter().map(|view| view.view.as_str()).collect();
                return Err(DoorError::new(
                    ErrorKind::NotFound,
                    format!("no view '{name}' is a function of telemetry"),
                )
                .hint(format!("verify one of {}", known.join(", "))));
            }
            report.views.retain(|view| wanted.contains(&view.view));
            report.equal = report.views.iter().all(|view| view.equal);
        }
        Ok(report)
    }

    async fn retention(&self) -> Result<Retention, DoorError> {
        let runtime = Arc::clone(&self.runtime);
        let outlook = tokio::task::spawn_blocking(move || runtime.retention()).await;
        outlook.map(|outlook| outlook.wire()).map_err(internal)
    }

    async fn retain(&self) -> Result<Retention, DoorError> {
        self.runtime.retain().await.map(|outlook| outlook.wire()).map_err(internal)
    }

    async fn conservation(&self) -> Result<Conservation, DoorError> {
        let found = self.runtime.conservation().await.map_err(asked)?;
        Ok(Conservation {
            holds: found.holds(),
            epoch: found.epoch,
            received: found.received,
            copies: found.copies,
            stored: found.stored,
            replaced: found.replaced,
            duplicates: found.duplicates,
            deleted: found.deleted,
            expired: found.expired,
            unmapped: found.unmapped,
            lost: found.lost,
            unexplained: found.unexplained,
            examples: found.examples,
            messages: found.messages,
            dead_letters: found.dead_letters,
            dead_letters_shown: found.dead_letters_shown,
            dead_letters_full: found.dead_letters_full,
        })
    }

    fn metrics_text(&self) -> String {
        self.metrics.render()
    }

    async fn health(&self) -> Health {
        let refusing = || match self.runtime.committer.state() {
            State::Running => None,
            // The same words that a refused request is told.
            State::NoSpace => Some(CommitError::NoSpace.to_string()),
            State::Poisoned(reason) => Some(reason.to_string()),
            State::Closed => Some(CommitError::Closed.to_string()),
        };
        let no_memory = || self.runtime.memory.check().err().map(|refused| refused.to_string());
        let failure = self.runtime.failure().or_else(refusing).or_else(no_memory);
        let Usage { used, budget, .. } = self.runtime.memory.usage();
        let details = [
            ("memory_used", used.into()),
            ("memory_budget", budget.into()),
            ("durable_epoch", self.runtime.committer.durable_epoch().0.into()),
            ("archived_epoch", self.runtime.historian.archived_epoch().0.into()),
            ("failure", failure.clone().into()),
        ];
        Health {
            status: if failure.is_some() { HealthStatus::Failing } else { HealthStatus::Ok },
            epoch: self.runtime.views.epoch().0,
            details: details
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<BTreeMap<_, _>>(),
        }
    }
}

/// A verification in the words of the wire.
pub fn wire(report: &query::Report) -> Report {
    let view = |(view, finding): &(String, query::Finding)| {
        let (equal, rows, differences) = match finding {
            query::Finding::Equal { rows } => (true, *rows, Vec::new()),
            query::Finding::Different { rows, first } => {
                (false, *rows, first.iter().map(|difference| format!("{difference:?}")).collect())
            }
            query::Finding::NotCompared { reason } => (false, 0, vec![reason.clone()]),
        };
        ViewReport { view: view.clone(), equal, rows, differences }
    };
    Report {
        epoch: report.epoch.0,
        equal: report.is_equal(),
        views: report.views.iter().map(view).collect(),
    }
}

pub(super) fn rows(answer: query::Answer) -> Rows {
    let schema = answer.schema();
    Rows { schema, batches: answer.into_stream().map(|batch| batch.map_err(asked)).boxed() }
}

/// The named queries in the words of the wire.
pub fn list_queries(library: &Library) -> Vec<ListedQuery> {
    library.list().iter().map(listed).collect()
}

fn listed(query: &NamedQuery) -> ListedQuery {
    let parameter = |parameter: &Parameter| {
        let (required, default) = match &parameter.default {
            Fallback::Required => (true, None),
            Fallback::Null => (false, None),
            Fallback::Text(text) => (false, Some(text.clone())),
        };
        ListedParameter {
            name: parameter.name.clone(),
            kind: parameter.kind.name().into(),
            required,
            default,
            description: parameter.description.clone(),
        }
    };
    ListedQuery {
        name: query.name.clone(),
        title: query.title.clone(),
        description: query.description.clone(),
        parameters: query.parameters.iter().map(parameter).collect(),
        example: query.example.clone(),
    }
}

fn missing(kind: Kind, key: &str) -> DoorError {
    DoorError::new(ErrorKind::NotFound, format!("there is no document '{key}' in {kind}"))
}

fn faulty(problems: &[Problem]) -> DoorError {
    let mut error = DoorError::new(
        ErrorKind::Invalid,
        format!("the document has {} problem(s)", problems.len()),
    );
    error.problems = problems
        .iter()
        .map(|problem| DocumentProblem {
            path: problem.path.clone(),
            line: problem.line.map(|line| line as u64),
            column: problem.column.map(|column| column as u64),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        })
        .collect();
    error
}

fn internal(error: impl Into<anyhow::Error>) -> DoorError {
    DoorError::new(ErrorKind::Internal, format!("{:#}", error.into()))
}

pub(super) fn asked(error: query::Error) -> DoorError {
    error.into()
}
