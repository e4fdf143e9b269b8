//! The router: takes messages and refusals one by one, and hands out what can be committed.

use super::directory::{DeviceShape, Directory, Metrics};
use super::message::{Message, Scalar};
use super::wide::WideRows;
use crate::model::{Batch, DataType, DeadLetter, Duration, NewDocument, Reason, Timestamp};
use hashbrown::HashMap;
use serde::Deserialize;
use std::ops::Range;
use std::sync::Arc;

/// A dead letter keeps at most this many bytes of what was refused.
pub const RAW_BYTES_MAX: usize = 64 * 1024;
/// A dead letter names at most this many metrics of a message; the number of all is told.
const NAMED_METRICS_MAX: usize = 8;
/// Longer device keys are refused.
const DEVICE_BYTES_MAX: usize = 512;

/// How routing treats what it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What happens to messages of devices that the catalog does not have.
    pub unknown_devices: UnknownDevices,
    /// How much of refused rows of a record batch is kept.
    pub keep_raw: KeepRaw,
}

/// What happens to messages of devices that the catalog does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownDevices {
    /// A device type whose id pattern matches takes the device in; else it is refused.
    #[default]
    Provision,
    /// Refused with `UNKNOWN_DEVICE`.
    Reject,
}

/// How much of refused rows of a record batch is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepRaw {
    /// All rows, in as many dead letters as it takes: for doors, which are their only copy.
    #[default]
    Everything,
    /// The first rows, in one dead letter: for files, which still have the rest.
    Sample,
}

/// What routing made of one body.
#[derive(Debug, Default)]
pub struct Routed {
    /// Documents of provisioned devices. They take effect before the batches.
    pub documents: Vec<NewDocument>,
    /// Accepted rows: one batch for each device type, and for wide record batches one more for
    /// each record batch and device type.
    pub batches: Vec<Batch>,
    /// What was refused, with its bytes.
    pub dead_letters: Vec<DeadLetter>,
    /// What was refused, for the answer: by element and metric, in the order of the body.
    pub rejected: Vec<Rejected>,
    /// Number of message ordinals in use. JSON: an element has the ordinal of its index. Record
    /// batches: each has one ordinal.
    pub messages: u32,
    /// Number of accepted points: values in the batches.
    pub points: usize,
}

/// An element, or one metric of it, that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Which element of the body, from 0; in a record batch body, which row.
    pub index: u32,
    /// The metric, when only that was refused.
    pub metric: Option<String>,
    /// Why.
    pub reason: Reason,
    /// What exactly is wrong.
    pub detail: String,
}

/// Why an element is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of fault.
    pub reason: Reason,
    /// What exactly is wrong, and what to do.
    pub detail: String,
    /// The device, when it can be told.
    pub device: Option<String>,
}

/// What became of one of several bodies: counts, and where its messages stand among all.
#[derive(Debug, Default)]
pub struct BodyRouted {
    /// The ordinals of its messages.
    pub messages: Range<u32>,
    /// What was refused, in the order of the body.
    pub rejected: Vec<Rejected>,
    /// Number of accepted points.
    pub points: usize,
}

/// A device that may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Which of the router's groups: one for each device type.
    pub group: usize,
    /// Later event times are refused, microseconds.
    pub latest: i64,
}

/// Routes the messages of one body, or of several that are committed together, in their order.
///
/// Rows of one device type become one batch. Unknown devices are asked for once a router.
pub struct Router<'d> {
    directory: &'d dyn Directory,
    settings: Settings,
    source: Arc<str>,
    received_at: Timestamp,
    devices: HashMap<Box<str>, Option<Remembered>>,
    groups: Vec<WideRows>,
    routed: Routed,
    /// Index of the next element or row of the body.
    next: u32,
    /// The first message of the body, and the points of its messages.
    body: (u32, usize),
}

/// A device that may send, whenever a body was received.
#[derive(Clone, Copy)]
struct Remembered {
    group: usize,
    max_future_skew: Duration,
}

impl<'d> Router<'d> {
    /// A router for one body that came through `source` (`http`, `mqtt`, `file:<name>`) at
    /// `received_at`.
    pub fn new(
        directory: &'d dyn Directory,
        settings: Settings,
        source: impl Into<Arc<str>>,
        received_at: Timestamp,
    ) -> Self {
        Self {
            directory,
            settings,
            source: source.into(),
            received_at,
            devices: HashMap::new(),
            groups: Vec::new(),
            routed: Routed::default(),
            next: 0,
            body: (0, 0),
        }
    }

    /// Begins one of several bodies, which was received at this time. Between it and
    /// [`Router::end_body`] come messages and refusals.
    pub fn begin_body(&mut self, received_at: Timestamp) {
        self.received_at = received_at;
    }

    /// Ends a body, and tells what became of it. All of that is left out of what
    /// [`Router::finish`] tells of refusals.
    pub fn end_body(&mut self) -> BodyRouted {
        let (first, points) = std::mem::replace(&mut self.body, (self.routed.messages, 0));
        let mut rejected = std::mem::take(&mut self.routed.rejected);
        rejected.sort_by_key(|one| one.index);
        self.next = 0;
        BodyRouted { messages: first..self.routed.messages, rejected, points }
    }

    /// Takes a message; `raw` are its own bytes. What of it is wrong goes to the dead letters.
    pub fn message(&mut self, message: &Message, raw: &[u8]) {
        let device = match message.device.as_deref() {
            Some(device) if !device.is_empty() => device,
            _ => {
                let detail = "no device: give 'deviceId', a text that is not empty".into();
                return self.refuse(Refusal { reason: Reason::Schema, detail, device: None }, raw);
            }
        };
        let known = match self.known(device) {
            Ok(known) => known,
            Err(refusal) => return self.refuse(refusal, raw),
        };
        let event_time = message.event_time.unwrap_or(self.received_at);
        if event_time.0 > known.latest {
            let detail = self.future(event_time);
            let device = Some(device.to_owned());
            return self.refuse(Refusal { reason: Reason::FutureTs, detail, device }, raw);
        }
        let ordinal = self.routed.messages;
        self.routed.messages += 1;
        let index = self.next;
        self.next += 1;
        let before = self.routed.rejected.len();
        let rows = &mut self.groups[known.group];
        let metrics = Arc::clone(rows.metrics());
        let mut row = None;
        for (name, value) in &message.metrics {
            if *value == Scalar::Null {
                continue;
            }
            let fault = match metrics.column(name) {
                None => (Reason::UnknownMetric, "the device's type has no such metric".into()),
                Some((column, data_type)) => match value.typed(data_type) {
                    Ok(value) => {
                        let row = *row.get_or_insert_with(|| {
                            rows.push(device, event_time.0, message.quality.0, ordinal)
                        });
                        self.body.1 += usize::from(!rows.is_set(row, column));
                        rows.set(row, column, value);
                        continue;
                    }
                    Err(detail) => (Reason::Value, detail),
                },
            };
            let (reason, detail) = fault;
            let metric = Some(name.to_string());
            self.routed.rejected.push(Rejected { index, metric, reason, detail });
        }
        if self.routed.rejected.len() > before {
            self.bury_metrics(before, device, raw);
        }
    }

    /// Takes an element that cannot be a message.
    pub fn refuse(&mut self, refusal: Refusal, raw: &[u8]) {
        let index = self.next;
        self.next += 1;
        self.routed.messages += 1;
        self.reject(index, None, refusal, &[raw]);
    }

    /// The number of elements and rows that were taken so far.
    pub fn elements(&self) -> u32 {
        self.next
    }

    /// Hands out everything.
    pub fn finish(mut self) -> Routed {
        self.routed.batches.extend(self.groups.into_iter().filter_map(WideRows::finish));
        self.routed.rejected.sort_by_key(|one| one.index);
        self.routed.points = self.routed.batches.iter().map(Batch::points).sum();
        self.routed
    }

    /// The device, provisioned if need be, or why it may not send.
    pub(crate) fn known(&mut self, device: &str) -> Result<Known, Refusal> {
        let known = match self.devices.get(device) {
            Some(known) => *known,
            None => {
                let known = self.look_up(device);
                self.devices.insert(device.into(), known);
                known
            }
        };
        let known = known.map(|Remembered { group, max_future_skew }| Known {
            group,
            latest: self.received_at.0.saturating_add(max_future_skew.0),
        });
        known.ok_or_else(|| {
            let detail = match self.settings.unknown_devices {
                UnknownDevices::Provision => {
                    "the catalog has no such device, and no device type's id pattern matches it"
                }
                UnknownDevices::Reject => {
                    "the catalog has no such device, and devices are not provisioned"
                }
            };
            let device = Some(cut(device, DEVICE_BYTES_MAX).to_owned());
            Refusal { reason: Reason::UnknownDevice, detail: detail.into(), device }
        })
    }

    /// What is wrong with an event time that is too late.
    pub(crate) fn future(&self, event_time: Timestamp) -> String {
        format!(
            "event time {event_time} is further ahead of the receiving clock {} than the asset \
             type allows",
            self.received_at
        )
    }

    /// The metrics of a group of devices.
    pub(crate) fn metrics(&self, group: usize) -> Arc<Metrics> {
        Arc::clone(self.groups[group].metrics())
    }

    /// Where a metric of a group stands, and its type.
    pub(crate) fn column(&self, group: usize, name: &str) -> Option<(usize, DataType)> {
        self.groups[group].metrics().column(name)
    }

    /// Starts a record batch of so many rows; tells its message ordinal and the index of its
    /// first row.
    pub(crate) fn start_batch(&mut self, rows: usize) -> (u32, u32) {
        let (ordinal, first) = (self.routed.messages, self.next);
        self.routed.messages += 1;
        self.next = self.next.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX));
        (ordinal, first)
    }

    /// Takes rows that are a batch already.
    pub(crate) fn push_batch(&mut self, batch: Batch) {
        if !batch.is_empty() {
            self.routed.batches.push(batch);
        }
    }

    /// Starts a row of a group.
    pub(crate) fn push_row(
        &mut self,
        known: Known,
        device: &str,
        key: (i64, u32),
        ordinal: u32,
    ) -> usize {
        self.groups[known.group].push(device, key.0, key.1, ordinal)
    }

    /// Whether a cell of a group's row has a value.
    pub(crate) fn is_set(&self, group: usize, row: usize, column: usize) -> bool {
        self.groups[group].is_set(row, column)
    }

    /// Sets a cell of a group's row, or says why the value does not fit the metric.
    pub(crate) fn set(
        &mut self,
        group: usize,
        row: usize,
        column: usize,
        value: &Scalar,
    ) -> Result<(), String> {
        let data_type = self.groups[group].metrics().types()[column];
        let value = value.typed(data_type)?;
        self.groups[group].set(row, column, value);
        Ok(())
    }

    /// How much of refused rows is to be kept.
    pub(crate) fn keep_raw(&self) -> KeepRaw {
        self.settings.keep_raw
    }

    /// Refuses something without counting an element: one entry, one dead letter for each part
    /// of its bytes.
    pub(crate) fn reject(
        &mut self,
        index: u32,
        metric: Option<String>,
        refusal: Refusal,
        raw: &[&[u8]],
    ) {
        let Refusal { reason, detail, device } = refusal;
        for part in raw {
            self.routed.dead_letters.push(DeadLetter {
                received_at: self.received_at,
                source: Arc::clone(&self.source),
                device: device.as_deref().map(Arc::from),
                reason,
                detail: detail.as_str().into(),
                raw: part[..part.len().min(RAW_BYTES_MAX)].into(),
            });
        }
        self.routed.rejected.push(Rejected { index, metric, reason, detail });
    }

    /// One dead letter for each reason for which metrics of a message were refused.
    fn bury_metrics(&mut self, before: usize, device: &str, raw: &[u8]) {
        for reason in [Reason::UnknownMetric, Reason::Value] {
            let faults = self.routed.rejected[before..].iter().filter(|one| one.reason == reason);
            let all = faults.clone().count();
            let mut named: Vec<String> = faults
                .take(NAMED_METRICS_MAX)
                .map(|one| {
                    let name = cut(one.metric.as_deref().unwrap_or_default(), 100);
                    format!("metric '{name}': {}", one.detail)
                })
                .collect();
            if all == 0 {
                continue;
            }
            if all > named.len() {
                named.push(format!("and {} more", all - named.len()));
            }
            self.routed.dead_letters.push(DeadLetter {
                received_at: self.received_at,
                source: Arc::clone(&self.source),
                device: Some(device.into()),
                reason,
                detail: named.join("; ").into(),
                raw: raw[..raw.len().min(RAW_BYTES_MAX)].into(),
            });
        }
    }

    fn look_up(&mut self, device: &str) -> Option<Remembered> {
        if device.len() > DEVICE_BYTES_MAX {
            return None;
        }
        if let Some(shape) = self.directory.device(device) {
            return Some(self.remember(&shape));
        }
        if self.settings.unknown_devices == UnknownDevices::Reject {
            return None;
        }
        let provisioned = self.directory.provision(device)?;
        self.routed.documents.extend(provisioned.documents);
        Some(self.remember(&provisioned.shape))
    }

    fn remember(&mut self, shape: &DeviceShape) -> Remembered {
        let same = |rows: &WideRows| Arc::ptr_eq(rows.metrics(), &shape.metrics);
        let group = self.groups.iter().position(same).unwrap_or_else(|| {
            self.groups.push(WideRows::new(Arc::clone(&shape.metrics)));
            self.groups.len() - 1
        });
        Remembered { group, max_future_skew: shape.max_future_skew }
    }
}

/// The first bytes of a text, cut between characters.
fn cut(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes { text } else { &text[..text.floor_char_boundary(bytes)] }
}

#[cfg(test)]
mod tests;
