//! The way into the log, also where the catalog is kept by another process: documents go there
//! first, and what came with them follows when they have taken effect here.

use super::cluster::Cluster;
use crate::base::shutdown::Shutdown;
use crate::ingest::commit::{CommitError, Committed, Committer, Submission};
use crate::model::{Epoch, NewDocument};
use crate::views::Views;
use std::sync::Arc;

/// Commits submissions.
#[derive(Clone)]
pub struct Submitter {
    /// Commits all but the documents of others.
    pub committer: Committer,
    /// Tells what is visible.
    pub views: Views,
    /// Nothing becomes visible any more.
    pub ended: Shutdown,
    /// The way to whoever keeps the catalog, when that is another process.
    pub keeper: Option<Arc<Cluster>>,
}

/// The dataflow ended before an epoch was visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl Submitter {
    /// [`Committer::submit`]. Where another process keeps the catalog, documents may be published
    /// although what came with them is not committed.
    pub async fn submit(&self, mut submission: Submission) -> Result<Committed, CommitError> {
        let documents = std::mem::take(&mut submission.documents);
        let Some(keeper) = self.keeper.as_ref().filter(|_| !documents.is_empty()) else {
            submission.documents = documents;
            return self.committer.submit(submission).await;
        };
        let epoch = self.publish(Arc::clone(keeper), documents).await?;
        if submission == Submission::default() {
            return Ok(Committed { epoch, first_message: 0 });
        }
        self.committer.submit(submission).await
    }

    /// Returns when the epoch is visible.
    pub async fn visible(&self, epoch: Epoch) -> Result<(), Ended> {
        tokio::select! {
            () = self.views.wait_for(epoch) => Ok(()),
            () = self.ended.wait() => Err(Ended),
        }
    }

    async fn publish(
        &self,
        keeper: Arc<Cluster>,
        documents: Vec<NewDocument>,
    ) -> Result<Epoch, CommitError> {
        let asked = tokio::task::spawn_blocking(move || keeper.publish(documents)).await;
        let epoch = asked.map_err(|error| CommitError::Away(error.to_string().into()))??;
        // What follows is of a later epoch, so that it is read with these documents.
        self.visible(epoch).await.map_err(|Ended| CommitError::Closed)?;
        Ok(epoch)
    }
}
