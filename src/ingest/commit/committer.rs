//! The handle that doors hold.

use super::submission::{Assign, CommitError, Committed, Limits, Marked, Submission};
use super::worker::{Message, Pending, Worker};
use crate::base::clock::Clock;
use crate::log::Log;
use crate::model::{Epoch, Frame};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot, watch};

/// Hands submissions to the committer's thread. Clones share the thread.
#[derive(Clone)]
pub struct Committer {
    shared: Arc<Shared>,
}

/// What will come of a submission. The sender is gone when the committer stopped before: then the
/// submission was not committed.
pub type Answer = oneshot::Receiver<Result<Committed, CommitError>>;

/// How the committer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Commits.
    Running,
    /// The last commit found the disk full. The next one tries again.
    NoSpace,
    /// The log failed: nothing is committed until the process is restarted.
    Poisoned(Arc<str>),
    /// Stopped.
    Closed,
}

/// Why the committer could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No thread.
    #[error("start the committer's thread: {0}")]
    Thread(std::io::Error),
}

/// Lets a committer go beyond epochs of other processes; does not keep its thread.
#[derive(Clone)]
pub struct Passer(Weak<Shared>);

struct Shared {
    queue: crossbeam_channel::Sender<Message>,
    room: Arc<Semaphore>,
    limits: Limits,
    frame_limit: usize,
    status: Arc<Status>,
}

/// What the thread tells everybody.
pub(super) struct Status {
    pub durable: AtomicU64,
    /// The bytes of all frames that were sent.
    pub sent_bytes: AtomicU64,
    pub state: watch::Sender<State>,
}

impl Passer {
    /// All frames from now on come after this epoch, and the dataflow hears so at once. Nothing is
    /// written for it.
    pub fn pass(&self, epoch: Epoch) {
        if let Some(shared) = self.0.upgrade() {
            // When the thread has ended there will be no frame.
            let _ = shared.queue.send(Message::Pass(epoch));
        }
    }
}

impl Committer {
    /// Starts the thread. It ends after [`Committer::close`], when the last clone of the handle is
    /// gone, or when the receiver of the frames is; it gives the log back.
    ///
    /// Frames are sent after they are durable and before they are answered, in order; when the
    /// channel is full, committing waits.
    pub fn start(
        log: Log,
        assign: Assign,
        clock: Arc<dyn Clock>,
        frames: crossbeam_channel::Sender<Frame>,
        limits: Limits,
    ) -> Result<(Self, JoinHandle<Log>), Error> {
        Self::start_marking(log, (assign, Box::new(|_, _| ())), clock, frames, limits)
    }

    /// [`Committer::start`] with somebody who is told of marked frames.
    pub fn start_marking(
        log: Log,
        (assign, marked): (Assign, Marked),
        clock: Arc<dyn Clock>,
        frames: crossbeam_channel::Sender<Frame>,
        limits: Limits,
    ) -> Result<(Self, JoinHandle<Log>), Error> {
        // Bounded by the permits: each message holds at least one `queue_submissions`-th.
        let (queue, messages) = crossbeam_channel::unbounded();
        let room = Arc::new(Semaphore::new(limits.queue_bytes.min(u32::MAX as usize)));
        let status = Arc::new(Status {
            durable: AtomicU64::new(log.durable_epoch().unwrap_or_default().0),
            sent_bytes: AtomicU64::new(0),
            state: watch::Sender::new(State::Running),
        });
        let frame_limit = log.frame_limit();
        let told = (assign, marked);
        let worker = Worker::new(log, told, clock, frames, limits, messages, Arc::clone(&status));
        let thread = std::thread::Builder::new().name("committer".into());
        let thread = thread.spawn(move || worker.run()).map_err(Error::Thread)?;
        let shared = Shared { queue, room, limits, frame_limit, status };
        Ok((Self { shared: Arc::new(shared) }, thread))
    }

    /// Commits a submission; returns when it is durable. [`CommitError::Full`] comes at once.
    pub async fn submit(&self, submission: Submission) -> Result<Committed, CommitError> {
        self.enqueue(submission)?.await.unwrap_or(Err(CommitError::Closed))
    }

    /// [`Committer::submit`] for threads without a runtime; must not be called in async code.
    pub fn submit_blocking(&self, submission: Submission) -> Result<Committed, CommitError> {
        self.enqueue(submission)?.blocking_recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Queues a submission without waiting. Submissions are committed in the order of these calls.
    pub fn enqueue(&self, submission: Submission) -> Result<Answer, CommitError> {
        let (bytes, weight) = self.admit(&submission)?;
        let room = Arc::clone(&self.shared.room);
        match room.try_acquire_many_owned(weight) {
            Ok(permit) => self.send(submission, bytes, permit),
            Err(TryAcquireError::NoPermits) => Err(CommitError::Full),
            Err(TryAcquireError::Closed) => Err(CommitError::Closed),
        }
    }

    /// Queues a submission, waiting while the queue is full. Who waits is served in turn.
    pub async fn enqueue_waiting(&self, submission: Submission) -> Result<Answer, CommitError> {
        let (bytes, weight) = self.admit(&submission)?;
        let room = Arc::clone(&self.shared.room);
        match room.acquire_many_owned(weight).await {
            Ok(permit) => self.send(submission, bytes, permit),
            Err(_) => Err(CommitError::Closed),
        }
    }

    /// [`Committer::enqueue_waiting`] for threads without a runtime.
    pub fn enqueue_blocking(&self, submission: Submission) -> Result<Answer, CommitError> {
        futures::executor::block_on(self.enqueue_waiting(submission))
    }

    /// Marks the next frame, which is written at once, without content if need be. While the disk
    /// is full the mark waits; when the committer stops, it is dropped.
    pub fn mark(&self) {
        // When the thread has ended there will be no frame.
        let _ = self.shared.queue.send(Message::Mark);
    }

    /// Lets the log forget the frames before an epoch, as far as whole segments end before it.
    pub fn cut_log(&self, epoch: Epoch) {
        // When the thread has ended, the next one will do it.
        let _ = self.shared.queue.send(Message::Cut(epoch));
    }

    /// Something that another process tells how far it is.
    pub fn passer(&self) -> Passer {
        Passer(Arc::downgrade(&self.shared))
    }

    /// The last epoch that is durable; 0 when there is none.
    pub fn durable_epoch(&self) -> Epoch {
        Epoch(self.shared.status.durable.load(Ordering::Acquire))
    }

    /// Bytes that wait or are on their way to the disk.
    pub fn queued_bytes(&self) -> usize {
        self.budget().saturating_sub(self.shared.room.available_permits())
    }

    /// The most bytes that may wait or be on their way to the disk.
    pub fn queue_limit(&self) -> usize {
        self.budget()
    }

    /// The bytes of all frames that were sent.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.status.sent_bytes.load(Ordering::Relaxed)
    }

    /// How the committer is.
    pub fn state(&self) -> State {
        self.shared.status.state.borrow().clone()
    }

    /// Returns when the committer commits no more: when it is poisoned or closed. After
    /// [`State::Poisoned`] the process should end, so that a restart can recover the log.
    pub async fn stopped(&self) -> State {
        let mut state = self.shared.status.state.subscribe();
        let over = |state: &State| matches!(state, State::Poisoned(_) | State::Closed);
        // The sender lives as long as `self`, so waiting cannot fail.
        state.wait_for(over).await.map_or(State::Closed, |state| state.clone())
    }

    /// Takes no more submissions. What is queued is still committed; join the thread to wait.
    pub fn close(self) {
        self.shared.room.close();
        // When the thread has ended already there is nothing to tell it.
        let _ = self.shared.queue.send(Message::Close);
    }

    fn budget(&self) -> usize {
        self.shared.limits.queue_bytes.min(u32::MAX as usize)
    }

    /// Checks a submission; gives its size and what of the budget it takes.
    fn admit(&self, submission: &Submission) -> Result<(usize, u32), CommitError> {
        match self.state() {
            State::Poisoned(reason) => return Err(CommitError::Poisoned(reason)),
            State::Closed => return Err(CommitError::Closed),
            State::Running | State::NoSpace => {}
        }
        submission.check_ordinals()?;
        let bytes = submission.bytes();
        if bytes > self.shared.frame_limit {
            let limit = self.shared.frame_limit as u64;
            return Err(CommitError::TooLarge { bytes: bytes as u64, limit });
        }
        let least = self.budget().div_ceil(self.shared.limits.queue_submissions.max(1));
        // Larger than the whole queue: may go when the queue is empty.
        let weight = bytes.max(least).min(self.budget());
        Ok((bytes, u32::try_from(weight).unwrap_or(u32::MAX)))
    }

    fn send(
        &self,
        submission: Submission,
        bytes: usize,
        permit: OwnedSemaphorePermit,
    ) -> Result<Answer, CommitError> {
        let (answer, receiver) = oneshot::channel();
        let pending = Pending { submission, bytes, answer, permit };
        match self.shared.queue.send(Message::Submission(pending)) {
            Ok(()) => Ok(receiver),
            Err(_) => Err(CommitError::Closed),
        }
    }
}
