//! Reads the log back at a start: into the catalog, and frame by frame into the dataflow.

use super::cluster::Cluster;
use crate::catalog::SharedCatalog;
use crate::log::{self, Log};
use crate::model::{Epoch, Frame};
use anyhow::{anyhow, bail};
use std::sync::PoisonError;

/// What a runtime found when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The last epoch; 0 when there was nothing.
    pub epoch: Epoch,
    /// Frames that were replayed.
    pub frames: u64,
    /// Rows of devices in them.
    pub rows: u64,
    /// The epoch of the checkpoint that they were replayed on.
    pub checkpoint: Option<Epoch>,
}

/// Refuses a log from which frames are missing that no checkpoint has, or that ends before one. The
/// checkpoints of a cluster are of epochs of process 0: the logs of others may well end before.
pub(super) fn check_reach(
    log: &Log,
    checkpoint: Epoch,
    cluster: Option<&Cluster>,
) -> anyhow::Result<()> {
    let begin = log.begin();
    if begin.0 > checkpoint.0 + 1 {
        let what = "the log begins at epoch";
        match cluster {
            None => bail!(
                "{what} {begin} and there is no checkpoint that can be used from then on: restore \
                 the folder `checkpoints` from a backup, or start the version of the program that \
                 has written it"
            ),
            Some(_) => bail!(
                "{what} {begin} and there is no checkpoint from then on that all processes have: \
                 restore their folders `checkpoints` from a backup, or start the version of the \
                 program that has written them"
            ),
        }
    }
    let end = log.last_epoch().unwrap_or_default();
    if end < checkpoint && cluster.is_none_or(Cluster::keeps_catalog) {
        bail!(
            "the log ends at epoch {end}, before the checkpoint of epoch {checkpoint}: its end is \
             lost; restore the folder `log` from a backup"
        );
    }
    Ok(())
}

/// Gives the pages of a frame the points that they had, now that everything up to this epoch before
/// it was fed.
pub(super) type Refill<'a> = &'a dyn Fn(&mut Frame, Epoch) -> anyhow::Result<()>;

/// What a log is read with.
pub(super) struct Sources<'a> {
    /// Whether it may have documents.
    pub keeps_catalog: bool,
    /// Whether everything is in this log, or others have more.
    pub is_alone: bool,
    pub refill: Refill<'a>,
}

pub(super) fn stopped() -> anyhow::Error {
    anyhow!("the dataflow stopped while the log was read")
}

/// Feeds the log to the catalog and the dataflow, behind a frame with what came before. The log
/// of a process that does not keep the catalog has no documents.
pub(super) fn replay(
    reader: log::Reader,
    first: Option<Frame>,
    catalog: &SharedCatalog,
    frames: &crossbeam_channel::Sender<Frame>,
    sources: &Sources<'_>,
) -> anyhow::Result<Recovered> {
    let mut recovered = Recovered::default();
    if let Some(first) = first {
        recovered.epoch = first.epoch;
        recovered.checkpoint = Some(first.epoch);
        frames.send(first).map_err(|_| stopped())?;
    }
    for frame in reader {
        let mut frame = frame?;
        if !frame.pages.is_empty() {
            // What others had fed until then is in the archive too.
            let others = Epoch(frame.epoch.0.saturating_sub(1));
            let before = if sources.is_alone { recovered.epoch } else { others };
            if before > recovered.epoch {
                frames.send(Frame::pass(before)).map_err(|_| stopped())?;
            }
            (sources.refill)(&mut frame, before)?;
        }
        if !sources.keeps_catalog && !frame.documents.is_empty() {
            bail!("the log has documents: begin this process with another data directory");
        }
        {
            let mut catalog = catalog.write().unwrap_or_else(PoisonError::into_inner);
            for document in &frame.documents {
                catalog.apply(document).map_err(|problems| {
                    let what = problems.first().map(ToString::to_string).unwrap_or_default();
                    anyhow!(
                        "the log has a document that does not apply: {} '{}': {what}",
                        document.kind,
                        document.key
                    )
                })?;
            }
        }
        recovered.epoch = frame.epoch;
        recovered.frames += 1;
        recovered.rows += frame.batches.iter().map(|batch| batch.len() as u64).sum::<u64>();
        frames.send(frame).map_err(|_| stopped())?;
    }
    Ok(recovered)
}
