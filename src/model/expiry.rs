//! The end of old telemetry.

use super::time::{Epoch, Timestamp};
use serde::{Deserialize, Serialize};

/// Says that telemetry before a time is not kept any more. It is about the assets that had such
/// telemetry up to an epoch: of them nothing before that time is taken from now on, so that days of
/// which all was received by then may go. Others may still be brought old recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Expiry {
    /// The event time, the beginning of a UTC day.
    pub before: Timestamp,
    /// The last epoch whose points are old enough since they were received.
    pub received: Epoch,
}
