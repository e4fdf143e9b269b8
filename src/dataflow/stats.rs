//! What operators did: activations, time and messages, from timely's own log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use timely::logging::{StartStop, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

/// One operator of one worker, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorStats {
    /// Index of the worker.
    pub worker: usize,
    /// The operator's number, unique inside the worker.
    pub id: usize,
    /// What it is called. The row called `Asset graph` is the whole, its time includes all.
    pub name: String,
    /// How often it ran.
    pub activations: u64,
    /// How long it ran, nanoseconds.
    pub elapsed_ns: u64,
    /// Containers that it received.
    pub messages: u64,
    /// Records in them: rows, or updates.
    pub records: u64,
}

/// The statistics of one worker: written by it after each step, read by anybody.
#[derive(Debug, Default)]
pub struct Stats(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    operators: BTreeMap<usize, Counts>,
    /// Operator at an address.
    addresses: HashMap<Vec<usize>, usize>,
    /// Address of the operator that a channel leads to.
    channels: HashMap<usize, Vec<usize>>,
}

#[derive(Debug, Default)]
struct Counts {
    name: String,
    activations: u64,
    elapsed: Duration,
    started: Option<Duration>,
    messages: u64,
    records: u64,
}

impl Stats {
    /// Makes the worker write here. To be called before its dataflows are built.
    pub fn install(self: &Arc<Self>, worker: &Worker) {
        let stats = Arc::clone(self);
        if let Some(mut register) = worker.log_register() {
            register.insert::<TimelyEventBuilder, _>("timely", move |_time, events| {
                if let Some(events) = events {
                    let mut log = stats.0.lock().unwrap_or_else(|e| e.into_inner());
                    for (time, event) in events.drain(..) {
                        log.take(time, event);
                    }
                }
            });
        }
    }

    /// The operators of this worker.
    pub fn snapshot(&self, worker: usize) -> Vec<OperatorStats> {
        let log = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let operators = log.operators.iter().map(|(id, counts)| OperatorStats {
            worker,
            id: *id,
            name: counts.name.clone(),
            activations: counts.activations,
            elapsed_ns: counts.elapsed.as_nanos() as u64,
            messages: counts.messages,
            records: counts.records,
        });
        operators.collect()
    }
}

impl Log {
    fn take(&mut self, time: Duration, event: TimelyEvent) {
        match event {
            TimelyEvent::Operates(operator) => {
                self.operators.entry(operator.id).or_default().name = operator.name;
                self.addresses.insert(operator.addr, operator.id);
            }
            TimelyEvent::Channels(channel) => {
                let mut address = channel.scope_addr;
                address.push(channel.target.0);
                self.channels.insert(channel.id, address);
            }
            TimelyEvent::Schedule(schedule) => {
                let Some(counts) = self.operators.get_mut(&schedule.id) else { return };
                match schedule.start_stop {
                    StartStop::Start => counts.started = Some(time),
                    StartStop::Stop => {
                        counts.activations += 1;
                        let started = counts.started.take().unwrap_or(time);
                        counts.elapsed += time.saturating_sub(started);
                    }
                }
            }
            TimelyEvent::Messages(message) if !message.is_send => {
                let address = self.channels.get(&message.channel);
                let id = address.and_then(|address| self.addresses.get(address));
                if let Some(counts) = id.and_then(|id| self.operators.get_mut(id)) {
                    counts.messages += 1;
                    counts.records += message.record_count.max(0) as u64;
                }
            }
            _ => {}
        }
    }
}
