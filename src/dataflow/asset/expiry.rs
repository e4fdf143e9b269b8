//! The end of old telemetry: of an asset that had some, nothing before that time is taken any more.
//!
//! It is a record of the log, so that every replay refuses the same. What was parked before it takes
//! effect as it would have; from then on nobody asks the archive for what has expired, so that its
//! files may go when no replay begins before that.

use super::assess::TypeState;
use super::row::NEVER;
use super::single::Asset;
use crate::model::{Epoch, Expiry, PageRequest, Window};
use serde::{Deserialize, Serialize};

/// Steps that are remembered of how an asset's history grew backwards.
const STEPS_MAX: usize = 16;

/// What of an asset has expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Points before this time are refused; [`NEVER`] while nothing has expired.
    pub expired: i64,
    /// Days with points, each earlier than the one before, and the epochs at which the first of
    /// their points came: so many of the points before a time came up to an epoch at least.
    steps: Vec<(i64, Epoch)>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { expired: NEVER, steps: Vec::new() }
    }
}

impl Terms {
    /// A point of this time came.
    #[inline]
    pub fn note(&mut self, time: i64, epoch: Epoch) {
        if self.steps.last().is_none_or(|(earliest, _)| time < *earliest) {
            self.step(time, epoch);
        }
    }

    fn step(&mut self, time: i64, epoch: Epoch) {
        // Days begin and end as a whole.
        let day = time - time.rem_euclid(Window::Day.size().0);
        self.steps.push((day, epoch));
        if self.steps.len() > STEPS_MAX {
            // As if the second one had come with the first: that expires rather too early.
            let (day, _) = self.steps.remove(1);
            self.steps[0].0 = day;
        }
    }

    /// Whether anything has expired.
    pub fn has_expired(&self) -> bool {
        self.expired != NEVER
    }

    /// Whether the asset had points before this time by that epoch.
    fn meets(&self, Expiry { before, received }: Expiry) -> bool {
        self.steps.iter().any(|(day, epoch)| *day < before.0 && *epoch <= received)
    }
}

impl TypeState {
    /// Lets telemetry expire.
    pub fn expire(&mut self, expiry: Expiry) {
        for index in 0..self.assets.len() {
            let terms = &self.assets[index].terms;
            if terms.expired >= expiry.before.0 || !terms.meets(expiry) {
                continue;
            }
            self.save_early(index);
            let asset = &mut self.assets[index];
            asset.terms.expired = expiry.before.0;
            // What is parked may be waiting for days that have expired just now.
            let wanted = asset.parked.as_ref().map(|parked| parked.wanted);
            let asks = |range: (i64, i64)| range != PageRequest::TURN && range.0 < expiry.before.0;
            if wanted.is_none_or(|wanted| wanted.is_some_and(|range| !asks(range))) {
                asset.seal(expiry.before.0);
            }
        }
    }
}

impl Asset {
    /// Nobody looks at the asset's rows before this time again.
    pub fn seal(&mut self, expired: i64) {
        if expired > self.sealed {
            self.sealed = expired;
            self.anchors.retain(|anchor| anchor.day >= expired);
        }
    }
}
