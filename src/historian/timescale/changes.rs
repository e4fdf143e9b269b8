//! Tables that are made what the views are.

use super::copy::{Copied, send};
use super::error::Error;
use super::follow::{Changes, Ended};
use super::rows::{At, STORABLE, leave_out};
use super::session::{Session, patiently};
use super::statements::NESTED;
use super::status::{NAME, ROWS};
use super::tables::Table;
use crate::model::Epoch;
use std::sync::Arc;
use tokio_postgres::Transaction;

/// Rows of a transaction, unless a table is compared as a whole, which is one transaction.
const ROWS_AT_ONCE: u64 = 20_000;
/// Windows that are deleted by one statement.
const WINDOWS_AT_ONCE: usize = 10_000;

const PLACE: &str = "\
INSERT INTO sink_views (writer, view, epoch) SELECT $1, name, $3 FROM unnest($2::text[]) AS name
ON CONFLICT (writer, view) DO UPDATE SET epoch = excluded.epoch";

impl Session {
    /// The epoch at which a table is.
    pub fn place_of(&self, table: &Table) -> Epoch {
        self.views.get(table.name).copied().unwrap_or_default()
    }

    /// Writes the next rows of what has changed in a view, together with the last ones the table's
    /// new place. Says whether there are more.
    pub async fn write_changes(
        &mut self,
        table: &'static Table,
        changes: &mut Changes,
    ) -> Result<bool, Error> {
        let (place, writer) = (self.place(), self.writer);
        let failed = |reason| Error::View { view: table.name, reason };
        let Changes { epoch, ended, rows } = changes;
        let mut rows = rows.map(|batch| batch.map_err(failed));
        let commit = async {
            let (transaction, _) = self.transaction(place).await?;
            let mut enough = ROWS_AT_ONCE;
            match ended {
                Some(Ended::Windows { assets, metrics, windows, of }) => {
                    transaction.batch_execute(NESTED).await.map_err(DELETE)?;
                    delete(&transaction, (table, writer), (assets, metrics)).await?;
                    delete_windows(&transaction, (table, writer), windows, of).await?;
                }
                // What an earlier life of the log has left is no part of this one.
                Some(Ended::Others) if table.is_of_windows() => {
                    let all = table.delete_all();
                    transaction.execute(&all, &[&writer]).await.map_err(DELETE)?;
                }
                Some(Ended::Others) => enough = u64::MAX,
                None => {}
            }
            let copied = send(&transaction, table, &mut rows, enough).await?;
            if enough == u64::MAX {
                let others = table.delete_others(*epoch);
                transaction.execute(&others, &[&writer]).await.map_err(DELETE)?;
            }
            upsert(&transaction, table, writer, &copied).await?;
            if !copied.more {
                move_views(&transaction, writer, &[table.name], *epoch).await?;
            }
            transaction.commit().await.map_err(Error::database("commit"))?;
            Ok(copied)
        };
        let copied = patiently("write changes of views", commit).await?;
        leave_out(copied.left_out);
        metrics::counter!(ROWS, "sink" => NAME, "table" => table.name).increment(copied.rows);
        // What has ended is deleted now.
        changes.ended = None;
        if !copied.more {
            self.views.insert(table.name, changes.epoch);
        }
        Ok(copied.more)
    }

    /// Moves the places of tables of which nothing has changed up to an epoch.
    pub async fn move_views(
        &mut self,
        tables: &[&'static Table],
        epoch: Epoch,
    ) -> Result<(), Error> {
        if tables.is_empty() {
            return Ok(());
        }
        let (place, writer) = (self.place(), self.writer);
        let commit = async {
            let (transaction, _) = self.transaction(place).await?;
            let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
            move_views(&transaction, writer, &names, epoch).await?;
            transaction.commit().await.map_err(Error::database("commit"))
        };
        patiently("move the places of tables", commit).await?;
        self.views.extend(tables.iter().map(|table| (table.name, epoch)));
        Ok(())
    }
}

/// Moves the places of tables.
pub(super) async fn move_views(
    transaction: &Transaction<'_>,
    writer: i32,
    names: &[&str],
    epoch: Epoch,
) -> Result<(), Error> {
    let moved = transaction.execute(PLACE, &[&writer, &names, &(epoch.0 as i64)]).await;
    moved.map(drop).map_err(Error::database("move the places of tables"))
}

const DELETE: fn(tokio_postgres::Error) -> Error =
    |source| Error::Database { action: "delete rows", source };

async fn upsert(
    transaction: &Transaction<'_>,
    table: &Table,
    writer: i32,
    sent: &Copied,
) -> Result<(), Error> {
    if sent.rows == 0 {
        return Ok(());
    }
    let written = transaction.query_one(&table.upsert(), &[&writer]).await;
    let written: i64 = written.map_err(Error::database("write rows"))?.get(0);
    if written as u64 == sent.rows {
        return Ok(());
    }
    // The others were there as they are, or came twice. Looked up by index, whatever the planner
    // thinks.
    let check = Error::database("check the rows");
    transaction.batch_execute(NESTED).await.map_err(Error::database("check the rows"))?;
    let missing = transaction.query_one(&table.missing(), &[&writer]).await.map_err(check)?;
    match missing.get::<_, i64>(0) {
        0 => Ok(()),
        missing => Err(Error::Rows {
            table: table.name,
            expected: sent.rows,
            found: sent.rows - missing as u64,
        }),
    }
}

async fn delete(
    transaction: &Transaction<'_>,
    (table, writer): (&Table, i32),
    (assets, metrics): (&[Arc<str>], &[(Arc<str>, Option<Arc<str>>)]),
) -> Result<(), Error> {
    if !assets.is_empty() {
        let assets: Vec<&str> = assets.iter().map(|asset| &**asset).collect();
        let deleted = transaction.execute(&table.delete_assets(), &[&writer, &assets]).await;
        deleted.map_err(DELETE)?;
    }
    if !metrics.is_empty() {
        let types: Vec<&str> = metrics.iter().map(|(of, _)| &**of).collect();
        let names: Vec<Option<&str>> = metrics.iter().map(|(_, name)| name.as_deref()).collect();
        let deleted =
            transaction.execute(&table.delete_metrics(), &[&writer, &types, &names]).await;
        deleted.map_err(DELETE)?;
    }
    Ok(())
}

async fn delete_windows(
    transaction: &Transaction<'_>,
    (table, writer): (&Table, i32),
    windows: &[(Arc<str>, i64)],
    of: &[String],
) -> Result<(), Error> {
    let storable: Vec<&(Arc<str>, i64)> =
        windows.iter().filter(|(_, start)| STORABLE.contains(start)).collect();
    for windows in storable.chunks(WINDOWS_AT_ONCE) {
        let assets: Vec<&str> = windows.iter().map(|(asset, _)| &**asset).collect();
        let starts: Vec<At> = windows.iter().map(|(_, start)| At(*start)).collect();
        let first = windows.iter().map(|(_, start)| *start).min().unwrap_or_default();
        let last = windows.iter().map(|(_, start)| *start).max().unwrap_or_default();
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&writer, &assets, &starts, &of, &At(first), &At(last)];
        let deleted = transaction.execute(&table.delete_windows(), &values).await;
        deleted.map_err(DELETE)?;
    }
    Ok(())
}
