//! The committer's thread: gather, merge, append, sync, hand on, answer.

use super::committer::{State, Status};
use super::merge::Merge;
use super::submission::{Assign, CommitError, Committed, Limits, Marked, Refusal, Submission};
use crate::base::clock::Clock;
use crate::log::{self, Log};
use crate::model::{Document, Epoch, Frame, Timestamp};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{error, info, warn};

/// Gauge: bytes of submissions that wait.
pub const QUEUE_BYTES: &str = "millstream_commit_queue_bytes";
/// Histogram: seconds from the begin of the append to the end of the sync.
pub const COMMIT_SECONDS: &str = "millstream_log_commit_seconds";
/// Histogram: submissions in a frame.
pub const MERGED: &str = "millstream_commit_merged_submissions";
/// Counter: rows committed.
pub const ROWS: &str = "millstream_commit_rows_total";
/// Counter, label `reason`: submissions that were taken into the queue and not committed.
pub const REFUSED: &str = "millstream_commit_refused_total";

/// A clock that goes back by more than this is worth a line in the log.
const STEP_MICROS: i64 = 1_000_000;

pub(super) enum Message {
    Submission(Pending),
    Mark,
    Cut(Epoch),
    Pass(Epoch),
    Close,
}

/// A submission that waits. Its permit goes back to the queue when it is dropped.
pub(super) struct Pending {
    pub submission: Submission,
    pub bytes: usize,
    pub answer: oneshot::Sender<Result<Committed, CommitError>>,
    pub permit: OwnedSemaphorePermit,
}

pub(super) struct Worker {
    log: Log,
    assign: Assign,
    on_mark: Marked,
    clock: Arc<dyn Clock>,
    frames: Sender<Frame>,
    limits: Limits,
    messages: Receiver<Message>,
    status: Arc<Status>,
    /// Whether the next frame is to be marked.
    marked: bool,
    /// The last epoch that was passed without a frame in the log.
    passed: Epoch,
    /// Did not fit into the last frame.
    held: Option<Pending>,
    /// Documents that the catalog has and the log does not, because the disk was full.
    owed: Vec<Document>,
    last_clock: i64,
    closing: bool,
}

/// A submission in the frame that is being made.
struct Part {
    answer: oneshot::Sender<Result<Committed, CommitError>>,
    _permit: OwnedSemaphorePermit,
    result: Result<u32, CommitError>,
}

impl Worker {
    pub(super) fn new(
        log: Log,
        (assign, on_mark): (Assign, Marked),
        clock: Arc<dyn Clock>,
        frames: Sender<Frame>,
        limits: Limits,
        messages: Receiver<Message>,
        status: Arc<Status>,
    ) -> Self {
        let (held, owed, last_clock, closing) = (None, Vec::new(), i64::MIN, false);
        Self {
            log,
            assign,
            on_mark,
            clock,
            frames,
            limits,
            messages,
            status,
            marked: false,
            passed: limits.turn.passed,
            held,
            owed,
            last_clock,
            closing,
        }
    }

    pub(super) fn run(mut self) -> Log {
        while let Some(group) = self.gather() {
            if let Some(reason) = self.log.poisoned() {
                let error = CommitError::Poisoned(reason.into());
                for pending in group {
                    refuse(pending.answer, error.clone());
                }
                continue;
            }
            self.commit(group);
        }
        if !matches!(*self.status.state.borrow(), State::Poisoned(_)) {
            self.status.state.send_replace(State::Closed);
        }
        info!(epoch = self.log.durable_epoch().map(|epoch| epoch.0), "committer stopped");
        self.log
    }

    /// Waits for something to commit and takes all that fits into a frame. Nothing inside means
    /// that it is time for a tick or a mark; `None` that it is time to stop.
    fn gather(&mut self) -> Option<Vec<Pending>> {
        let first = match self.held.take() {
            Some(held) => held,
            None => match self.wait() {
                Ok(Some(first)) => first,
                Ok(None) => return None,
                Err(Tick) => return Some(Vec::new()),
            },
        };
        let (mut bytes, mut messages) = (first.bytes, first.submission.messages);
        let mut group = vec![first];
        while let Some(next) = self.next() {
            bytes += next.bytes;
            let sum = messages.checked_add(next.submission.messages);
            match sum.filter(|_| bytes <= self.limits.frame_bytes) {
                Some(sum) => messages = sum,
                None => {
                    self.held = Some(next);
                    break;
                }
            }
            group.push(next);
        }
        let waiting: usize =
            self.held.iter().chain(&group).map(|pending| pending.permit.num_permits()).sum();
        metrics::gauge!(QUEUE_BYTES).set(waiting as f64);
        metrics::histogram!(MERGED).record(group.len() as f64);
        Some(group)
    }

    fn wait(&mut self) -> Result<Option<Pending>, Tick> {
        // After the end of the queue was announced, only what is in it counts.
        if self.closing {
            return Ok(self.next());
        }
        let ticks = self.limits.ticks.filter(|_| self.log.poisoned().is_none());
        loop {
            let message = match ticks {
                Some(every) => self.messages.recv_timeout(every),
                None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Submission(pending)) => return Ok(Some(pending)),
                Ok(Message::Mark) => {
                    self.marked = true;
                    return Err(Tick);
                }
                Ok(Message::Cut(epoch)) => self.cut(epoch),
                Ok(Message::Pass(epoch)) => self.pass(epoch),
                Ok(Message::Close) => {
                    self.closing = true;
                    return Ok(self.next());
                }
                Err(RecvTimeoutError::Timeout) => return Err(Tick),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// The next submission that is there already.
    fn next(&mut self) -> Option<Pending> {
        loop {
            match self.messages.try_recv().ok()? {
                Message::Submission(pending) => return Some(pending),
                Message::Mark => self.marked = true,
                Message::Cut(epoch) => self.cut(epoch),
                Message::Pass(epoch) => self.pass(epoch),
                Message::Close => self.closing = true,
            }
        }
    }

    /// Lets the log forget what is before an epoch. A failure costs only space.
    fn cut(&mut self, epoch: Epoch) {
        if let Err(error) = self.log.cut(epoch) {
            warn!(%error, "the log is not cut; it will be tried again");
        }
    }

    /// Goes beyond an epoch of another process, unless a frame has done that already. A frame that
    /// is being made gets its epoch after this. The other's frame had a tick, so that the next one
    /// of this process is due that much later.
    fn pass(&mut self, epoch: Epoch) {
        if self.log.poisoned().is_some() {
            // Whether the last frame is in the log is not known: nothing may come after it.
            return;
        }
        let last = self.log.last_epoch().unwrap_or_default();
        if epoch > last.max(self.passed) {
            self.passed = epoch;
            // When nobody takes frames any more, the next one will say so.
            let _ = self.frames.send(Frame::pass(epoch));
        }
    }

    fn commit(&mut self, group: Vec<Pending>) {
        let ticking = group.is_empty() || self.marked;
        let mut documents = std::mem::take(&mut self.owed);
        let (mut dead_letters, mut edits, mut pages) = (Vec::new(), Vec::new(), Vec::new());
        let mut expiry = None;
        let mut merge = Merge::default();
        let mut parts = Vec::with_capacity(group.len());
        let mut messages = 0;
        let tick = group.iter().filter_map(|pending| pending.submission.tick).max();
        let mut content = !documents.is_empty() || tick.is_some() || ticking;
        let (epoch, tick) = self.now(tick);
        for pending in group {
            let Pending { submission, answer, permit, .. } = pending;
            let refusals = self.assign(submission.documents, tick, &mut documents);
            if !refusals.is_empty() {
                let result = Err(CommitError::Refused(refusals));
                parts.push(Part { answer, _permit: permit, result });
                continue;
            }
            content |= !submission.batches.is_empty() || !submission.dead_letters.is_empty();
            content |= !submission.edits.is_empty() || !submission.pages.is_empty();
            content |= submission.expiry.is_some();
            expiry = expiry.max(submission.expiry);
            for batch in submission.batches {
                merge.push(batch, messages);
            }
            dead_letters.extend(submission.dead_letters);
            edits.extend(submission.edits);
            pages.extend(submission.pages);
            parts.push(Part { answer, _permit: permit, result: Ok(messages) });
            messages += submission.messages;
        }
        content |= !documents.is_empty();
        if !content && let Some(epoch) = self.log.durable_epoch() {
            answer_all(parts, Ok(epoch));
            return;
        }
        let batches = match merge.finish() {
            Ok(batches) => batches,
            Err(error) => {
                self.owed = documents;
                answer_all(parts, Err(CommitError::Unwritable(error.to_string().into())));
                return;
            }
        };
        let frame = Frame { epoch, tick, documents, batches, edits, pages, dead_letters, expiry };
        let begin = Instant::now();
        let written = self.log.append(&frame).and_then(|()| self.log.sync());
        metrics::histogram!(COMMIT_SECONDS).record(begin.elapsed());
        match written {
            Ok(()) => self.publish(frame, parts),
            Err(error) => {
                self.owed = frame.documents;
                let error = self.failed(error);
                answer_all(parts, Err(error));
            }
        }
    }

    /// Gives the documents that the catalog takes to the frame, and back those that it refuses.
    fn assign(
        &mut self,
        new: Vec<crate::model::NewDocument>,
        tick: Timestamp,
        documents: &mut Vec<Document>,
    ) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for (index, document) in new.into_iter().enumerate() {
            let (kind, key) = (document.kind, Arc::clone(&document.key));
            match (self.assign)(document, tick) {
                Ok(Some(document)) => documents.push(document),
                Ok(None) => {}
                Err(problem) => refusals.push(Refusal { index, kind, key, problem }),
            }
        }
        refusals
    }

    /// The epoch of the next frame, and its tick: that of the source or the wall clock, never
    /// less than the one before.
    fn now(&mut self, tick: Option<Timestamp>) -> (Epoch, Timestamp) {
        let now = self.clock.now_micros();
        if now < self.last_clock.saturating_sub(STEP_MICROS) {
            warn!(back_us = self.last_clock - now, "wall clock went back");
        }
        self.last_clock = now;
        let wall = Epoch(u64::try_from(now / 1000).unwrap_or(0));
        let live = self.limits.ticks.map(|_| Timestamp(now));
        // Before the first tick of a recording, time stands at its origin.
        let tick = tick.or(live).unwrap_or(Timestamp(0));
        let next = self.log.next_epoch(wall).max(Epoch(self.passed.0 + 1));
        (self.limits.turn.from(next), self.log.last_tick().map_or(tick, |last| last.max(tick)))
    }

    /// The frame is durable: first the dataflow gets it, then the answers go out.
    fn publish(&mut self, frame: Frame, parts: Vec<Part>) {
        let epoch = frame.epoch;
        let rows: usize = frame.batches.iter().map(|batch| batch.len()).sum();
        metrics::counter!(ROWS).increment(rows as u64);
        self.status.durable.store(epoch.0, Ordering::Release);
        self.status.state.send_if_modified(|state| {
            let was_full = *state == State::NoSpace;
            if was_full {
                *state = State::Running;
                info!("there is space on the disk again");
            }
            was_full
        });
        if std::mem::take(&mut self.marked) {
            (self.on_mark)(epoch, frame.tick);
        }
        self.status.sent_bytes.fetch_add(frame.bytes() as u64, Ordering::Relaxed);
        let gone = self.frames.send(frame).is_err();
        answer_all(parts, Ok(epoch));
        if gone && !self.closing {
            error!(epoch = epoch.0, "the dataflow has stopped: no more is taken");
            self.closing = true;
            self.status.state.send_replace(State::Closed);
        }
    }

    /// What the submitters are told.
    fn failed(&mut self, error: log::Error) -> CommitError {
        match error {
            log::Error::NoSpace { .. } => {
                let first = self.status.state.send_if_modified(|state| {
                    let first = *state != State::NoSpace;
                    *state = State::NoSpace;
                    first
                });
                if first {
                    error!(%error, "nothing is committed while the disk is full");
                }
                CommitError::NoSpace
            }
            log::Error::TooLarge { bytes, limit } => CommitError::TooLarge { bytes, limit },
            error => match self.log.poisoned() {
                Some(reason) => {
                    let reason: Arc<str> = reason.into();
                    self.status.state.send_replace(State::Poisoned(Arc::clone(&reason)));
                    CommitError::Poisoned(reason)
                }
                None => CommitError::Unwritable(error.to_string().into()),
            },
        }
    }
}

/// Nothing came, or a mark: it is time for a frame without content.
struct Tick;

/// Answers with the epoch of all; submissions that were refused by themselves are told why.
fn answer_all(parts: Vec<Part>, outcome: Result<Epoch, CommitError>) {
    for part in parts {
        match (part.result, &outcome) {
            (Err(error), _) => refuse(part.answer, error),
            (Ok(_), Err(error)) => refuse(part.answer, error.clone()),
            (Ok(first_message), Ok(epoch)) => {
                // Who does not wait for the answer does not get it.
                let _ = part.answer.send(Ok(Committed { epoch: *epoch, first_message }));
            }
        }
    }
}

fn refuse(answer: oneshot::Sender<Result<Committed, CommitError>>, error: CommitError) {
    let reason = match &error {
        CommitError::Full => "full",
        CommitError::Refused(_) => "documents",
        CommitError::NoSpace => "no_space",
        CommitError::Poisoned(_) => "poisoned",
        CommitError::Closed => "closed",
        CommitError::Away(_) => "away",
        CommitError::TooLarge { .. } => "too_large",
        CommitError::Ordinal { .. } | CommitError::Unwritable(_) => "defect",
    };
    metrics::counter!(REFUSED, "reason" => reason).increment(1);
    let _ = answer.send(Err(error));
}
