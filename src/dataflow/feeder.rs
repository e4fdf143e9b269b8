//! The feeder: cuts frames into slices, one for each worker, and bounds what is in flight.

use super::error::Error;
use super::shared::Shared;
use super::worker::Slice;
use crate::model::{Batch, Epoch, Frame};
use crossbeam_channel::{Receiver, Sender, select_biased};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Epochs that may be open inside the dataflow. At the limit frames stay in their channel.
pub const MAX_EPOCHS_IN_FLIGHT: usize = 64;

/// Points that may be inside the dataflow. At the limit frames stay in their channel; a frame
/// that has more points for itself goes in alone.
pub const MAX_POINTS_IN_FLIGHT: usize = 2_000_000;

/// Reads frames until they end or the engine fails.
pub struct Feeder {
    frames: Receiver<Frame>,
    queues: Vec<Sender<Slice>>,
    /// Gets a token when frames were finished; closed when the workers are gone.
    progress: Receiver<()>,
    shared: Arc<Shared>,
    /// Points and bytes of each frame in flight, oldest first.
    in_flight: VecDeque<(usize, usize)>,
    points: usize,
    finished: u64,
    previous: Option<Epoch>,
    /// Counts frames with batches, to deal them to the workers in turn.
    turn: usize,
}

impl Feeder {
    pub fn new(
        frames: Receiver<Frame>,
        queues: Vec<Sender<Slice>>,
        progress: Receiver<()>,
        shared: Arc<Shared>,
    ) -> Self {
        let in_flight = VecDeque::with_capacity(MAX_EPOCHS_IN_FLIGHT);
        let (points, finished, previous, turn) = (0, 0, None, 0);
        Self { frames, queues, progress, shared, in_flight, points, finished, previous, turn }
    }

    /// Returns when the frames have ended or nobody takes slices any more.
    pub fn run(mut self) {
        loop {
            self.settle();
            if self.shared.is_failed() {
                break;
            }
            if self.is_full() {
                if self.progress.recv().is_err() {
                    break;
                }
                continue;
            }
            let frame = select_biased! {
                recv(self.progress) -> token => match token {
                    Ok(()) => continue,
                    Err(_) => break,
                },
                recv(self.frames) -> frame => match frame {
                    Ok(frame) => frame,
                    Err(_) => break,
                },
            };
            if !self.feed(frame) {
                break;
            }
        }
        // Closed queues tell the workers that no frame follows; a parked one has to look.
        self.queues.clear();
        self.shared.wake_all();
    }

    fn is_full(&self) -> bool {
        self.in_flight.len() >= MAX_EPOCHS_IN_FLIGHT || self.points >= MAX_POINTS_IN_FLIGHT
    }

    /// Forgets the frames that were finished meanwhile.
    fn settle(&mut self) {
        while self.finished < self.shared.finished() {
            self.finished += 1;
            let (points, bytes) = self.in_flight.pop_front().unwrap_or_default();
            self.points -= points;
            self.shared.finished_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Gives each worker its slice; `false` when the engine stops.
    fn feed(&mut self, frame: Frame) -> bool {
        let epoch = frame.epoch;
        let in_order = self.previous.is_none_or(|previous| previous < epoch);
        if !in_order || epoch.0 == u64::MAX {
            let previous = self.previous.unwrap_or_default();
            self.shared.fail(Error::EpochOrder { epoch, previous });
            return false;
        }
        self.previous = Some(epoch);
        let points = frame.batches.iter().map(Batch::points).sum();
        self.in_flight.push_back((points, frame.bytes()));
        self.points += points;
        let mut slices: Vec<Slice> =
            (0..self.queues.len()).map(|_| Slice::empty(epoch, frame.tick)).collect();
        if !frame.batches.is_empty() {
            // In turn and not by epoch: epochs are milliseconds, and may all be even.
            slices[self.turn % self.queues.len()].batches = frame.batches;
            self.turn += 1;
        }
        slices[0].documents = frame.documents;
        slices[0].dead_letters = frame.dead_letters;
        let mark = self.shared.is_marked(epoch);
        slices.iter_mut().for_each(|slice| {
            slice.mark = mark;
            slice.edits.clone_from(&frame.edits);
            slice.pages.clone_from(&frame.pages);
            slice.expiry = frame.expiry;
        });
        for (index, slice) in slices.into_iter().enumerate() {
            if self.queues[index].send(slice).is_err() {
                return false;
            }
            self.shared.wake(index);
        }
        true
    }
}
