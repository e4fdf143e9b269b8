//! Who is subscribed to what, and the telling.

use super::delta::delta;
use super::filter::{Envelope, Filter};
use super::limits::Limits;
use super::queue::Queue;
use super::series::{SUBSCRIBERS, SUBSCRIBERS_CLOSED};
use super::state::State;
use super::subscription::{Delta, Message};
use super::view::View;
use crate::model::Epoch;
use indexmap::IndexMap;
use std::collections::HashSet;
use std::sync::{Arc, Weak};

/// Subscribers that are told the same share one group, so that it is encoded once.
type Group = (View, Filter, Envelope);

/// All subscribers.
#[derive(Default)]
pub(super) struct Registry {
    groups: IndexMap<Group, Vec<Weak<Queue>>>,
    last_progress_micros: Option<i64>,
}

/// Progress is told at most this often.
const PROGRESS_EVERY_MICROS: i64 = 1_000_000;

impl Registry {
    pub fn add(&mut self, view: View, filter: Filter, envelope: Envelope, queue: &Arc<Queue>) {
        self.groups.entry((view, filter, envelope)).or_default().push(Arc::downgrade(queue));
    }

    /// The bytes that wait for all of them.
    pub fn bytes(&self) -> usize {
        let readers = self.groups.values().flatten().filter_map(Weak::upgrade);
        readers.map(|queue| queue.bytes()).sum()
    }

    /// The views that somebody is subscribed to; forgets subscribers that went away.
    pub fn watched(&mut self) -> HashSet<View> {
        for readers in self.groups.values_mut() {
            readers.retain(|reader| reader.upgrade().is_some_and(|queue| !queue.is_closed()));
        }
        self.groups.retain(|_, readers| !readers.is_empty());
        let readers: usize = self.groups.values().map(Vec::len).sum();
        metrics::gauge!(SUBSCRIBERS).set(readers as f64);
        self.groups.keys().map(|(view, ..)| *view).collect()
    }

    /// Tells every subscriber what changed, and from time to time how far the views are.
    pub fn tell(&mut self, state: &State, limits: &Limits, now_micros: i64) {
        let epoch = state.epoch;
        let due = self
            .last_progress_micros
            .is_none_or(|last| now_micros < last || now_micros - last >= PROGRESS_EVERY_MICROS);
        if due {
            self.last_progress_micros = Some(now_micros);
        }
        for ((view, filter, envelope), readers) in &self.groups {
            match delta(state, *view, filter, *envelope) {
                Ok(Some(rows)) => {
                    let delta = Arc::new(Delta::new(epoch, rows));
                    send(readers, epoch, &Message::Batch(delta), limits);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%view, %error, "changes could not be encoded");
                    for reader in readers.iter().filter_map(Weak::upgrade) {
                        reader.close("changes could not be encoded: please report this".into());
                    }
                }
            }
            if due {
                send(readers, epoch, &Message::Progress(epoch), limits);
            }
        }
    }
}

fn send(readers: &[Weak<Queue>], epoch: Epoch, message: &Message, limits: &Limits) {
    for reader in readers.iter().filter_map(Weak::upgrade) {
        if !reader.is_closed() && !reader.push(epoch, message.clone(), limits) {
            metrics::counter!(SUBSCRIBERS_CLOSED).increment(1);
        }
    }
}
