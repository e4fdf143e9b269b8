//! The queue of one subscriber: bounded, never waited for by the writer.

use super::limits::{Limits, SlowConsumer};
use super::subscription::{Closed, Message};
use crate::model::Epoch;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// What waits for one subscriber.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
    /// The newest epoch that was queued.
    epoch: Epoch,
    closed: bool,
}

impl Queue {
    /// A queue for somebody who knows everything up to an epoch.
    pub fn from(epoch: Epoch) -> Self {
        let waiting = Waiting { epoch, ..Waiting::default() };
        Self { waiting: Mutex::new(waiting), arrived: Notify::new() }
    }

    /// The bytes that wait.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Appends a message of one epoch. False when the subscriber is closed, by this or before.
    pub fn push(&self, epoch: Epoch, message: Message, limits: &Limits) -> bool {
        let mut waiting = self.lock();
        if waiting.closed {
            return false;
        }
        let bytes = message.bytes();
        let full = waiting.messages.len() >= limits.queue_messages
            || waiting.bytes + bytes > limits.queue_bytes;
        if full && !waiting.messages.is_empty() {
            match limits.slow_consumer {
                SlowConsumer::Disconnect => {
                    let reason = format!(
                        "too slow: {} messages with {} bytes are waiting",
                        waiting.messages.len(),
                        waiting.bytes
                    );
                    self.close_with(&mut waiting, reason);
                    return false;
                }
            }
        }
        // A progress that nobody has read yet is replaced: the newer one says more.
        if let (Message::Progress(_), Some(Message::Progress(_))) =
            (&message, waiting.messages.back())
        {
            waiting.messages.pop_back();
            waiting.bytes -= bytes;
        }
        waiting.messages.push_back(message);
        waiting.bytes += bytes;
        waiting.epoch = epoch;
        self.arrived.notify_one();
        true
    }

    /// Ends the subscription after what is queued.
    pub fn close(&self, reason: String) {
        let mut waiting = self.lock();
        if !waiting.closed {
            self.close_with(&mut waiting, reason);
        }
    }

    /// The next message; `None` after the last one of a closed subscription. Can be dropped and
    /// asked again without loss.
    pub async fn next(&self) -> Option<Message> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(message) = waiting.messages.pop_front() {
                    waiting.bytes -= message.bytes();
                    return Some(message);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn close_with(&self, waiting: &mut Waiting, reason: String) {
        let hint = "subscribe again: a new snapshot holds all that was missed".into();
        let message = Message::Closed(Closed { epoch: waiting.epoch, reason, hint });
        waiting.bytes += message.bytes();
        waiting.messages.push_back(message);
        waiting.closed = true;
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
