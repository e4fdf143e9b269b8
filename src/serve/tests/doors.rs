//! Doors that answer what they were asked, and a server on a free port.

use crate::base::clock::ManualClock;
use crate::base::shutdown::Shutdown;
use crate::model::{Change, Document, Epoch, Kind, Table, Timestamp, TypeId, Upserts};
use crate::serve::*;
use crate::views::{Limits, Views};
use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub struct Fake;

/// Room for any body.
struct Plenty;

impl BodyRoom for Plenty {
    fn grow(&mut self, _bytes: usize) -> Result<(), DoorError> {
        Ok(())
    }
}

#[async_trait]
impl Doors for Fake {
    fn begin_ingest(&self) -> Result<Box<dyn BodyRoom>, DoorError> {
        Ok(Box::new(Plenty))
    }

    async fn ingest_json(&self, body: Bytes, form: JsonForm) -> Result<IngestAnswer, DoorError> {
        if body.starts_with(b"panic") {
            panic!("as asked");
        }
        if body.starts_with(b"full") {
            return Err(DoorError::new(ErrorKind::TooMany, "the queue is full").hint("wait"));
        }
        Ok(IngestAnswer {
            message_id: format!("{form:?}"),
            accepted: body.len() as u64,
            duplicates: 0,
            rejected: vec![Rejected {
                index: 3,
                reason: "SYNTAX".into(),
                detail: "no".into(),
                metric: None,
            }],
        })
    }

    async fn ingest_arrow(&self, body: Bytes) -> Result<IngestAnswer, DoorError> {
        Ok(IngestAnswer {
            message_id: "Arrow".into(),
            accepted: body.len() as u64,
            ..IngestAnswer::default()
        })
    }

    async fn delete_points(&self, wanted: Deletion) -> Result<EditAnswer, DoorError> {
        let id = format!("{:?} {:?} {}", wanted.asset, wanted.metrics, wanted.reason);
        Ok(EditAnswer { id, epoch: 5, points: 7 })
    }

    async fn correct_points(&self, wanted: Correction) -> Result<EditAnswer, DoorError> {
        let values: Vec<&str> = wanted.points.iter().map(|point| point.value.get()).collect();
        Ok(EditAnswer { id: values.join(" "), epoch: 5, points: values.len() as u64 })
    }

    async fn sql(&self, text: &str) -> Result<Rows, DoorError> {
        if text.starts_with("DROP") {
            return Err(DoorError::new(ErrorKind::Malformed, "only queries are run"));
        }
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![1.5, f64::NAN]));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let schema = rows.schema();
        Ok(Rows { schema, batches: stream::iter([Ok(rows.clone()), Ok(rows)]).boxed() })
    }

    async fn cursor(&self, _text: &str) -> Result<crate::query::Cursor, DoorError> {
        Err(DoorError::new(ErrorKind::Unavailable, "no pages here"))
    }

    fn queries(&self) -> Vec<ListedQuery> {
        let (name, title) = ("double".into(), "Twice a number".into());
        let (description, parameters) = (String::new(), Vec::new());
        vec![ListedQuery { name, title, description, parameters, example: BTreeMap::new() }]
    }

    async fn query(&self, name: &str, given: Vec<(String, String)>) -> Result<Rows, DoorError> {
        if name != "double" {
            return Err(DoorError::new(ErrorKind::NotFound, "no such query"));
        }
        let of = given.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        let texts: ArrayRef = Arc::new(arrow::array::StringArray::from(of));
        let rows = RecordBatch::try_from_iter([("given", texts)]).unwrap();
        Ok(Rows { schema: rows.schema(), batches: stream::iter([Ok(rows)]).boxed() })
    }

    async fn retrieve(
        &self,
        owner: Owner,
        key: &str,
        given: Vec<(String, String)>,
    ) -> Result<History, DoorError> {
        let rows = self.query("double", given).await?;
        let about = [("of".to_owned(), format!("{owner:?} {key}").into())].into_iter().collect();
        Ok(History { about, rows })
    }

    async fn range(&self, given: Vec<(String, String)>) -> Result<History, DoorError> {
        Ok(History { about: serde_json::Map::new(), rows: self.query("double", given).await? })
    }

    fn start_export(&self, _wanted: NewExport) -> Result<Export, DoorError> {
        Err(DoorError::new(ErrorKind::TooMany, "there are enough"))
    }

    fn exports(&self) -> Vec<Export> {
        Vec::new()
    }

    fn export(&self, id: &str) -> Result<Export, DoorError> {
        Err(DoorError::new(ErrorKind::NotFound, format!("no {id}")))
    }

    fn export_file(&self, id: &str) -> Result<ExportFile, DoorError> {
        Err(DoorError::new(ErrorKind::NotFound, format!("no {id}")))
    }

    fn remove_export(&self, id: &str) -> Result<(), DoorError> {
        Err(DoorError::new(ErrorKind::NotFound, format!("no {id}")))
    }

    async fn put_document(
        &self,
        kind: Kind,
        key: &str,
        body: &str,
        form: DocumentForm,
    ) -> Result<StoredDocument, DoorError> {
        if body.contains("cycle") {
            let problems = vec![DocumentProblem {
                path: "derived.a".into(),
                line: Some(3),
                message: "a cycle".into(),
                ..DocumentProblem::default()
            }];
            let error = DoorError::new(ErrorKind::Invalid, "the document is wrong");
            return Err(DoorError { problems, ..error });
        }
        Ok(StoredDocument::new(kind, key, 2, Some(Epoch(9)), &format!("\"{form:?}\"")))
    }

    async fn get_document(&self, kind: Kind, key: &str) -> Result<StoredDocument, DoorError> {
        Ok(StoredDocument::new(kind, key, 1, None, "{}"))
    }

    async fn delete_document(&self, _: Kind, _: &str) -> Result<(), DoorError> {
        Err(DoorError::new(ErrorKind::Conflict, "links refer to it"))
    }

    async fn verify(&self, views: Option<Vec<String>>) -> Result<Report, DoorError> {
        let view = |view| ViewReport { view, equal: true, rows: 1, differences: vec![] };
        let views = views.unwrap_or_default().into_iter().map(view).collect();
        Ok(Report { epoch: 5, equal: true, views })
    }

    async fn conservation(&self) -> Result<Conservation, DoorError> {
        Ok(Conservation { holds: true, epoch: 5, ..Conservation::default() })
    }

    async fn retention(&self) -> Result<Retention, DoorError> {
        Ok(Retention { min_age: "7d".into(), ..Retention::default() })
    }

    async fn retain(&self) -> Result<Retention, DoorError> {
        self.retention().await
    }

    fn metrics_text(&self) -> String {
        "millstream_up 1\n".into()
    }

    async fn health(&self) -> Health {
        Health { status: HealthStatus::Failing, epoch: 5, details: BTreeMap::new() }
    }
}

pub struct Server {
    pub views: Views,
    pub shutdown: Shutdown,
    pub address: String,
    pub task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub async fn start() -> Self {
        let views = Views::with_clock(Limits::default(), Arc::new(ManualClock::at(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(serve(
            listener,
            Hosts::new(Ipv4Addr::LOCALHOST.into(), &[]),
            Arc::new(Fake),
            views.clone(),
            shutdown.clone(),
        ));
        let server = Self { views, shutdown, address, task };
        let document = |kind, key: &str, id, body: &str| {
            (
                Document {
                    kind,
                    key: key.into(),
                    id,
                    version: 1,
                    effective_from: Timestamp::MIN,
                    body: Some(body.into()),
                },
                1,
            )
        };
        server.views.apply(
            Epoch(1),
            vec![Change::Documents(vec![
                document(Kind::AssetTypes, "pump", 0, PUMP),
                document(Kind::Assets, "p-0", 0, "{}"),
                document(Kind::Assets, "p-1", 1, "{}"),
            ])],
        );
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str, accept: &str) -> reqwest::Response {
        let request = reqwest::Client::new().get(self.url(path)).header("accept", accept);
        request.send().await.unwrap()
    }

    pub async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let mut request = reqwest::Client::new().post(self.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// The pump's flow has this value from this epoch on.
    pub fn flow(&self, epoch: u64, asset: u32, flow: f64) {
        let upserts = Upserts {
            asset_type: TypeId(0),
            table: Table::Latest,
            stride: 3,
            assets: vec![asset],
            windows: vec![],
            words: vec![flow.to_bits(), epoch * 1_000_000, 0],
        };
        self.views.apply(Epoch(epoch), vec![Change::Upserts(upserts)]);
    }
}

const PUMP: &str = r#"{"apiVersion": "assets/v1", "kind": "AssetTypeProfile",
    "metadata": {"key": "pump"}, "metric_definitions": {"flow": {"unit": "m3/h"}}}"#;

/// The answer is a problem document with this status; gives it.
pub async fn problem(response: reqwest::Response, status: u16) -> serde_json::Value {
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let actual = response.status().as_u16();
    let text = response.text().await.unwrap();
    assert_eq!((actual, content_type.as_str()), (status, "application/problem+json"), "{text}");
    let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{text}");
    problem
}
