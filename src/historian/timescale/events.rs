//! Makes `system_events` what the view is.
//!
//! When the sink connects it compares the table with the view, but for rows that are known to be in
//! files: those that left memory before the table's place, and count still. What of them is taken back
//! later comes with the view's changes, or, for a database that was away, with what files have lost. The
//! place moves with every file, so that nothing is told again when a connection breaks.

use super::changes::move_views;
use super::error::Error;
use super::follow::{Gone, Told};
use super::rows::send_events;
use super::session::{Session, Writer, patiently};
use super::statements::{
    DELETE_RETRACTED_EVENTS, DELETE_UNTOLD_EVENTS, FILE_EVENTS, UNFILE_ASSETS, UNFILE_EVENTS,
    UNFILE_LATER, UPSERT_EVENTS,
};
use super::status::{NAME, ROWS};
use crate::model::Epoch;
use tokio_postgres::Transaction;

/// The name under which the table has its place.
pub(super) const EVENTS: &str = "events";

const DELETE: fn(tokio_postgres::Error) -> Error =
    |source| Error::Database { action: "delete events", source };
const WRITE: fn(tokio_postgres::Error) -> Error =
    |source| Error::Database { action: "write events", source };
const UNFILE: fn(tokio_postgres::Error) -> Error =
    |source| Error::Database { action: "compare events", source };

impl Session {
    /// What files had at this epoch and have still is in the table. Which files there were later
    /// only the process knows that wrote them.
    pub fn filed(&self, writer: &Writer) -> Epoch {
        let place = self.views.get(EVENTS).copied().unwrap_or_default();
        writer.started.map_or(place, |started| place.min(started))
    }

    /// Takes in what the view tells.
    pub async fn write_events(&mut self, told: &Told, writer: &mut Writer) -> Result<(), Error> {
        let (place, number) = (self.place(), self.writer);
        let commit = async {
            let (transaction, shard) = self.transaction(place).await?;
            let written = match told {
                Told::Gone(after, gone) => {
                    unfile(&transaction, &shard, *after, gone).await?;
                    move_views(&transaction, number, &[EVENTS], *after).await?;
                    0
                }
                Told::Filed(epoch, batch) => {
                    send_events(&transaction, std::slice::from_ref(batch), &shard, epoch.0).await?;
                    transaction.execute(FILE_EVENTS, &[]).await.map_err(WRITE)?
                }
                Told::Reached(epoch) => {
                    move_views(&transaction, number, &[EVENTS], *epoch).await?;
                    0
                }
                Told::Whole(epoch, batches) => {
                    send_events(&transaction, batches, &shard, epoch.0).await?;
                    transaction.execute(DELETE_UNTOLD_EVENTS, &[&shard]).await.map_err(DELETE)?;
                    move_views(&transaction, number, &[EVENTS], *epoch).await?;
                    transaction.execute(UPSERT_EVENTS, &[]).await.map_err(WRITE)?
                }
                Told::Changed(epoch, batch) => {
                    send_events(&transaction, std::slice::from_ref(batch), &shard, epoch.0).await?;
                    let deleted = transaction.execute(DELETE_RETRACTED_EVENTS, &[&shard]).await;
                    deleted.map_err(DELETE)?;
                    transaction.execute(UPSERT_EVENTS, &[]).await.map_err(WRITE)?
                }
            };
            transaction.commit().await.map_err(Error::database("commit"))?;
            metrics::counter!(ROWS, "sink" => NAME, "table" => "system_events").increment(written);
            Ok(())
        };
        patiently("write events", commit).await?;
        if let Told::Gone(epoch, _) | Told::Reached(epoch) | Told::Whole(epoch, _) = told {
            self.views.insert(EVENTS, *epoch);
            writer.started = None;
        }
        Ok(())
    }
}

/// Rows that files have lost since an epoch, or that other files have, are compared again.
async fn unfile(
    transaction: &Transaction<'_>,
    shard: &str,
    after: Epoch,
    gone: &Gone,
) -> Result<(), Error> {
    transaction.execute(UNFILE_LATER, &[&shard, &(after.0 as i64)]).await.map_err(UNFILE)?;
    if !gone.assets.is_empty() {
        let unfiled = transaction.execute(UNFILE_ASSETS, &[&shard, &gone.assets]).await;
        unfiled.map_err(UNFILE)?;
    }
    if !gone.rows.is_empty() {
        send_events(transaction, &gone.rows, shard, after.0).await?;
        transaction.execute(UNFILE_EVENTS, &[&shard]).await.map_err(UNFILE)?;
    }
    Ok(())
}
