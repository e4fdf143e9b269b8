//! Telemetry from a door to its acknowledgement: decode and route, commit, wait until visible.

use super::gather::Gatherer;
use super::runtime::Runtime;
use super::submit::{Ended, Submitter};
use crate::base::clock::Clock;
use crate::base::memory::{Admitted, Budget, Held, Refused};
use crate::ingest::commit::{CommitError, Submission};
use crate::ingest::format::{arrow, json};
use crate::ingest::route::{self, Routed, Router, Settings as Routing};
use crate::ingest::transport::{Sink, SinkError};
use crate::model::{NewDocument, Outcome, Timestamp};
use crate::serve::{BodyRoom, DoorError, ErrorKind, IngestAnswer, Rejected};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bodies from this size on are decoded on a thread of their own.
pub(super) const INLINE_BYTES: usize = 64 * 1024;
/// The source of what came through the HTTP door.
pub(super) const HTTP: &str = "http";

/// How long a body waits until enough of what came before it has arrived.
const ROOM_WITHIN: Duration = Duration::from_secs(1);
/// How often it looks.
const ROOM_LOOK: Duration = Duration::from_millis(10);

/// Takes telemetry bodies.
#[derive(Clone)]
pub struct Intake {
    pub(super) devices: Arc<super::directory::Devices>,
    pub(super) routing: Routing,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) submitter: Submitter,
    memory: Budget,
    gatherer: Gatherer,
}

/// Memory for a body that is being read.
pub struct Reading(Held);

impl BodyRoom for Reading {
    fn grow(&mut self, bytes: usize) -> Result<(), DoorError> {
        self.0.grow(bytes as u64).map_err(no_memory)
    }
}

/// The form of a body.
#[derive(Clone, Debug)]
pub enum Form {
    /// JSON in this framing; the device, when the transport knows it.
    Json(json::Framing, Option<String>),
    /// Arrow IPC stream.
    Arrow,
}

impl Intake {
    /// An intake of a runtime.
    pub fn new(runtime: &Runtime) -> Self {
        Self {
            devices: Arc::clone(&runtime.devices),
            routing: runtime.routing,
            clock: Arc::clone(&runtime.clock),
            submitter: runtime.submitter.clone(),
            memory: runtime.memory.clone(),
            gatherer: Gatherer::default(),
        }
    }

    /// Memory to read a body into; the error is that of [`Intake::take`] when nothing is taken.
    pub fn read(&self) -> Result<Reading, DoorError> {
        self.memory.read().map(Reading).map_err(no_memory)
    }

    /// Takes a body; returns when its points are durable and visible.
    pub async fn take(
        &self,
        body: Bytes,
        form: Form,
        source: &str,
    ) -> Result<IngestAnswer, DoorError> {
        // Until its points are visible: then they are counted as what they have become.
        let admitted = self.admit(body.len() as u64).await?;
        match form {
            Form::Json(framing, None) if body.len() < INLINE_BYTES && source == HTTP => {
                self.gatherer.take(self, body, framing, admitted).await
            }
            form => self.take_alone(body, form, source).await,
        }
    }

    /// [`Intake::take`] of a body that has leave, with a submission of its own.
    pub(super) async fn take_alone(
        &self,
        body: Bytes,
        form: Form,
        source: &str,
    ) -> Result<IngestAnswer, DoorError> {
        let Routed { documents, batches, dead_letters, rejected, messages, points } =
            self.route(body, form, source).await?;
        let mut answer = answer(uuid::Uuid::now_v7(), points, rejected);
        if batches.is_empty() && dead_letters.is_empty() && documents.is_empty() {
            return Ok(answer);
        }
        let submission =
            Submission { documents, batches, dead_letters, messages, ..Submission::default() };
        let committed = self.submitter.submit(submission).await.map_err(refused)?;
        self.submitter.visible(committed.epoch).await.map_err(ended)?;
        let range = committed.first_message..committed.first_message + messages;
        let outcomes = self.submitter.views.outcomes(committed.epoch, range);
        settle(&mut answer, &outcomes, committed.first_message);
        Ok(answer)
    }

    /// Leave to take so many bytes in. Waits a moment for room, but not for somebody to free memory.
    async fn admit(&self, bytes: u64) -> Result<Admitted, DoorError> {
        let begun = Instant::now();
        loop {
            match self.memory.admit(bytes) {
                Err(Refused::NoRoom { .. }) if begun.elapsed() < ROOM_WITHIN => {
                    tokio::time::sleep(ROOM_LOOK).await;
                }
                admitted => return admitted.map_err(no_memory),
            }
        }
    }

    async fn route(&self, body: Bytes, form: Form, source: &str) -> Result<Routed, DoorError> {
        if body.len() < INLINE_BYTES {
            return self.route_now(&body, &form, source);
        }
        let (intake, source) = (self.clone(), source.to_owned());
        let routed = tokio::task::spawn_blocking(move || intake.route_now(&body, &form, &source));
        routed.await.map_err(|error| DoorError::new(ErrorKind::Internal, error.to_string()))?
    }

    fn route_now(&self, body: &[u8], form: &Form, source: &str) -> Result<Routed, DoorError> {
        let received_at = Timestamp(self.clock.now_micros());
        let mut router = Router::new(&*self.devices, self.routing, source, received_at);
        match form {
            Form::Json(framing, device) => {
                json::decode(body, *framing, device.as_deref(), &mut router);
            }
            Form::Arrow => arrow::decode(body, &mut router)
                .map_err(|error| DoorError::new(ErrorKind::Malformed, error.to_string()))?,
        }
        Ok(router.finish())
    }
}

/// What a body is told when all of its points are new.
pub(super) fn answer(
    id: uuid::Uuid,
    points: usize,
    rejected: Vec<route::Rejected>,
) -> IngestAnswer {
    let rejected = rejected.into_iter().map(|r| Rejected {
        index: u64::from(r.index),
        metric: r.metric,
        reason: r.reason.code().to_owned(),
        detail: r.detail,
    });
    IngestAnswer {
        message_id: id.to_string(),
        accepted: points as u64,
        duplicates: 0,
        rejected: rejected.collect(),
    }
}

/// Tells of the points that were not new, or feed no asset. The outcomes are those of the body's
/// messages, which begin at that ordinal.
pub(super) fn settle(answer: &mut IngestAnswer, outcomes: &[Outcome], first_message: u32) {
    for outcome in outcomes {
        answer.duplicates += u64::from(outcome.duplicates);
        if outcome.unmapped > 0 {
            answer.rejected.push(Rejected {
                index: u64::from(outcome.message - first_message),
                metric: None,
                reason: "UNMAPPED".to_owned(),
                detail: format!("{} points are durable but feed no asset: link the device to an asset whose type takes these metrics", outcome.unmapped),
            });
            answer.accepted = answer.accepted.saturating_sub(u64::from(outcome.unmapped));
        }
    }
    answer.accepted = answer.accepted.saturating_sub(answer.duplicates);
}

impl Sink for Intake {
    async fn submit(&self, payload: Bytes, device: Option<String>) -> Result<(), SinkError> {
        let admitted = self.memory.admit(payload.len() as u64);
        let _admitted = admitted.map_err(|_| SinkError::Busy)?;
        let form = Form::Json(json::Framing::Detect, device);
        let routed = self.route(payload, form, "mqtt").await;
        let Routed { documents, batches, dead_letters, messages, .. } =
            routed.map_err(|error| SinkError::Stopped(error.to_string()))?;
        let submission =
            Submission { documents, batches, dead_letters, messages, ..Submission::default() };
        match self.submitter.submit(submission).await {
            Ok(_) => Ok(()),
            Err(CommitError::Full | CommitError::NoSpace | CommitError::Away(_)) => {
                Err(SinkError::Busy)
            }
            Err(error) => Err(SinkError::Stopped(error.to_string())),
        }
    }
}

/// Documents as a submission of their own.
pub fn documents(documents: Vec<NewDocument>) -> Submission {
    Submission { documents, ..Submission::default() }
}

/// The budget's refusal for the one who asked.
fn no_memory(refused: Refused) -> DoorError {
    DoorError::new(ErrorKind::Unavailable, refused.to_string()).hint(refused.hint())
}

/// What was committed cannot be seen: for the one who asked.
pub fn ended(_: Ended) -> DoorError {
    let detail = "the engine stopped before the answer was known; all of it is durable";
    DoorError::new(ErrorKind::Unavailable, detail).hint("send it again: nothing is taken twice")
}

/// A commit's refusal for the one who asked.
pub fn refused(error: CommitError) -> DoorError {
    let kind = match &error {
        CommitError::Full
        | CommitError::NoSpace
        | CommitError::Closed
        | CommitError::Away(_)
        | CommitError::Poisoned(_) => ErrorKind::Unavailable,
        CommitError::TooLarge { .. } => ErrorKind::TooLarge,
        CommitError::Refused(_) => ErrorKind::Invalid,
        CommitError::Ordinal { .. } | CommitError::Unwritable(_) => ErrorKind::Internal,
    };
    DoorError::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Settings;
    use crate::base::memory::resident;
    use crate::model::Kind;

    #[tokio::test(flavor = "multi_thread")]
    async fn without_memory_telemetry_waits_and_documents_do_not() {
        // Half of what this process has already.
        let Some(resident) = resident() else { return };
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let settings = Settings { live: true, memory: resident / 2, ..Settings::new(data) };
        let open = tokio::task::spawn_blocking(move || Runtime::open(&settings));
        let runtime = open.await.unwrap().unwrap();
        let intake = Intake::new(&runtime);
        let message = Bytes::from_static(br#"{"deviceId": "box", "metrics": {"level": 1}}"#);
        // A transport tries again and acknowledges nothing.
        assert_eq!(intake.submit(message.clone(), None).await, Err(SinkError::Busy));
        assert_eq!(intake.read().err().unwrap().kind, ErrorKind::Unavailable);
        let form = Form::Json(json::Framing::Detect, None);
        let refused = intake.take(message, form, "http").await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable);
        assert!(refused.detail.contains("no telemetry is taken"), "{refused}");
        let body = r#"{"apiVersion": "devices/v1", "kind": "DeviceTypeProfile",
            "metadata": {"key": "box"}, "identity": {"id_pattern": "box"},
            "extraction_rules": [{"metric": "level", "type": "double"}]}"#;
        let key = "box".into();
        let new = NewDocument { kind: Kind::DeviceTypes, key, body: Some(body.into()) };
        drop(intake);
        let closed = tokio::task::spawn_blocking(move || {
            assert_eq!(runtime.publish(vec![new]).unwrap(), 1);
            runtime.close()
        });
        closed.await.unwrap().unwrap();
    }
}
