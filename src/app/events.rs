//! Events for the sink into TimescaleDB: followed as any subscriber does, after what has left memory.

use super::sink::counted;
use crate::historian::OldRows;
use crate::historian::timescale::{Follow, Gone, Told};
use crate::model::{ArchiveFile, Epoch};
use crate::views::{Envelope, Filter, InFiles, Message, Views};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt64Type;
use arrow::error::ArrowError;
use futures::stream::{self, BoxStream, StreamExt};
use std::sync::Arc;

/// The view `events`.
pub struct Events {
    /// The views.
    pub views: Views,
    /// The files of what has left memory.
    pub old_rows: OldRows,
}

impl Follow for Events {
    fn follow(&self, after: Epoch) -> BoxStream<'static, Result<Told, String>> {
        let subscribed = self.views.subscribe("events", Filter::default(), Envelope::Diff);
        let mut subscription = match subscribed {
            Ok(subscription) => subscription,
            Err(error) => {
                tracing::error!(%error, "events do not go to the database");
                return stream::pending().boxed();
            }
        };
        let (gone, filed) = match subscription.archived.take() {
            Some(archived) => {
                let later = |file: &&ArchiveFile| file.max_epoch > after.0;
                let files = archived.files().iter().filter(later).cloned().collect();
                (gone(&*archived, after), filed(archived, self.old_rows.clone(), files))
            }
            None => (Ok(Gone::default()), stream::empty().boxed()),
        };
        let gone = gone.map(|gone| Told::Gone(after, gone)).map_err(|error| error.to_string());
        let rows = std::mem::take(&mut subscription.snapshot);
        let whole = Ok(Told::Whole(subscription.epoch, rows));
        let (views, since) = (self.views.clone(), subscription.epoch);
        let changes =
            stream::unfold((subscription, views), move |(mut subscription, views)| async move {
                loop {
                    match subscription.next().await? {
                        Message::Batch(delta) => {
                            let told = Told::Changed(delta.epoch, delta.rows.clone());
                            return Some((Ok(told), (subscription, views)));
                        }
                        // Rows in files that go with their asset are not told one by one.
                        Message::Progress(_) if views.removed_after(since) => return None,
                        Message::Progress(_) => {}
                        Message::Closed(_) => return None,
                    }
                }
            });
        stream::iter([gone]).chain(filed).chain(stream::iter([whole])).chain(changes).boxed()
    }
}

/// What files have that counts, batch by batch as it is asked for.
fn filed(
    archived: Arc<dyn InFiles>,
    old_rows: OldRows,
    files: Vec<ArchiveFile>,
) -> BoxStream<'static, Result<Told, String>> {
    let rows = files.into_iter().flat_map(move |file| {
        let (opened, failed) = match old_rows.rows(&file) {
            Ok(rows) => (Some(rows), None),
            Err(error) => (None, Some(Err(error))),
        };
        let epoch = Epoch(file.max_epoch);
        let batches = opened.into_iter().flatten().chain(failed).map(Some);
        batches.chain([None]).map(move |batch| (epoch, batch))
    });
    let told = rows.map(move |(epoch, batch)| {
        let Some(batch) = batch else { return Ok(Told::Reached(epoch)) };
        let batch = batch.map_err(|error| error.to_string())?;
        let counted = counted(&batch, &*archived, Epoch(0)).map_err(|error| error.to_string())?;
        Ok(Told::Filed(epoch, counted))
    });
    stream::iter(told).boxed()
}

/// What does not count any more since an epoch, of what files had.
fn gone(archived: &dyn InFiles, after: Epoch) -> Result<Gone, ArrowError> {
    let mut gone = Gone::default();
    for list in archived.but()? {
        let epochs = list.column(list.num_columns() - 1).as_primitive::<UInt64Type>().values();
        let is_later: BooleanArray = epochs.iter().map(|epoch| Some(*epoch > after.0)).collect();
        let list: RecordBatch = filter_record_batch(&list, &is_later)?;
        match list.column_by_name("rule") {
            Some(_) => gone.rows.push(list),
            None => {
                let assets = list.column(0).as_string::<i32>();
                gone.assets.extend((0..assets.len()).map(|i| assets.value(i).to_owned()));
            }
        }
    }
    Ok(gone)
}
