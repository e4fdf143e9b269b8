//! What can go wrong with the dataflow as a whole. Errors in data are rows, never these.

use crate::model::Epoch;

/// Why the dataflow did not start, or stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The number of workers is 0 or too high.
    #[error("start {workers} dataflow workers: give 1 to {limit}")]
    Workers {
        /// What was asked for.
        workers: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A saved state was dealt to another number of workers.
    #[error(
        "start {workers} dataflow workers from a state that was dealt to {shares}: this is a bug of the caller"
    )]
    Shares {
        /// The workers.
        workers: usize,
        /// The shares of the state.
        shares: usize,
    },
    /// A saved state cannot be read, although it is what was written.
    #[error(
        "read the state of the assets at epoch {epoch}: {what}; start the version of the program that has written it"
    )]
    Saved {
        /// The state's epoch.
        epoch: Epoch,
        /// What is wrong with it.
        what: String,
    },
    /// The threads could not be started.
    #[error("start the dataflow workers: {reason}")]
    Start {
        /// What the runtime says.
        reason: String,
    },
    /// A frame came out of order.
    #[error(
        "take frame with epoch {epoch} after epoch {previous}: epochs of frames must increase, this is a bug of the sender"
    )]
    EpochOrder {
        /// The epoch of the frame.
        epoch: Epoch,
        /// The epoch before it.
        previous: Epoch,
    },
    /// The receiver of the outputs went away while there was something to hand out.
    #[error("hand out changes: the receiver of the dataflow's outputs is gone")]
    OutputsClosed,
    /// Another process of the same graph is gone. What it had acknowledged is in its log.
    #[error("process {process} of the cluster is gone: {reason}")]
    Peer {
        /// Its number.
        process: usize,
        /// How that was noticed.
        reason: String,
    },
    /// This process leaves the others. It was asked to.
    #[error("this process has left the cluster")]
    Left,
    /// A thread of the dataflow panicked. A bug: the state of this process is lost, the log holds
    /// everything that is needed to start anew.
    #[error("step dataflow {thread}: it panicked: {message}")]
    Panic {
        /// Which thread.
        thread: String,
        /// What the panic says.
        message: String,
    },
}

impl Error {
    /// The error for a caught panic.
    pub(super) fn from_panic(thread: String, payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panic { thread, message: text.unwrap_or_else(|| "no message".into()) }
    }
}
