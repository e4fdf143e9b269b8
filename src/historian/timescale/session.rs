//! A connection that has found its place, and the transactions on it.
//!
//! Every transaction first moves the writer's cursor from where it knows it to be, under the
//! writer's fence, which touches one row or fails the transaction. So rows and place are committed
//! together or not at all, and a writer that was replaced meanwhile commits nothing. Whether a
//! commit succeeded whose answer was lost, the next session reads from the cursor.

use super::error::Error;
use super::events::EVENTS;
use super::letters::Letter;
use super::policies::{self, Policies};
use super::rows::{
    At, ENTITY_TYPE, NEW_POINTS, POINTS, STORABLE, Sent, leave_out, send_letters, send_points,
};
use super::settings::Settings;
use super::statements::{
    BEGIN_VIEWS, CLAIM, DELETE_POINTS, FIND, FIND_VIEWS, INCOMING, INSERT_LETTERS, MISSING_POINTS,
    MOVE, NESTED, NUMBER, UPSERT_POINTS,
};
use super::status::{NAME, ROWS};
use super::tables::{TABLES, Table};
use crate::historian::replaced::Replaced;
use crate::model::Epoch;
use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

mod embedded {
    refinery::embed_migrations!("schemas/timescale");
}

/// The table in which the migrations that have run are listed.
const MIGRATIONS: &str = "millstream_migrations";
/// Processes migrate one after another: the key of the lock, "millstre".
const MIGRATION_LOCK: i64 = 0x6d69_6c6c_7374_7265;
/// How long a session may take to begin, and a transaction to commit.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many transactions do not try to copy points after one in which a key was known.
const UPSERTS: u32 = 16;

/// Points, batch by batch, as often as they are asked for.
pub(super) type Points<'a> = dyn Fn() -> Box<dyn Iterator<Item = Result<RecordBatch, Error>>> + 'a;

/// Who writes: the data directory, and the fence once it was given.
#[derive(Debug)]
pub(super) struct Writer {
    pub shard: String,
    pub fence: Option<i64>,
    /// The last epoch of the log when the process started. A cursor beyond it counts epochs that
    /// this log has lost, and will give anew.
    pub recovered: Epoch,
    /// Files of later epochs are not those that the process before had; `None` once the place of events
    /// is no later.
    pub started: Option<Epoch>,
    /// What becomes of old rows, where points and views are written.
    pub policies: Option<Policies>,
    /// Whether the policies that hold were told.
    pub told: bool,
}

/// A connection at its place.
pub(super) struct Session {
    client: Client,
    shard: String,
    fence: i64,
    place: Epoch,
    /// How many times points are not to be copied where they belong, because some were known.
    known: u32,
    /// The number of this writer in the tables of views.
    pub(super) writer: i32,
    /// Where those tables are.
    pub(super) views: BTreeMap<&'static str, Epoch>,
}

impl Session {
    /// Connects, brings the tables up to date and finds the place.
    pub async fn open(settings: &Settings, writer: &mut Writer) -> Result<Self, Error> {
        patiently("begin a session", Self::begin(settings, writer)).await
    }

    /// Everything up to this epoch is committed.
    pub fn place(&self) -> Epoch {
        self.place
    }

    /// Commits points and letters, deletes points that are gone between the place and the epoch
    /// that it reaches, and moves the place, all in the same transaction. Among the points no key
    /// is twice; those of epochs up to the place are left out.
    pub async fn write(
        &mut self,
        points: Option<&Points<'_>>,
        gone: &[Replaced],
        letters: &[Letter],
        reaches: Epoch,
    ) -> Result<(), Error> {
        let (place, wait) = (self.place, self.known.saturating_sub(1));
        let commit = async {
            let (mut transaction, shard) = self.transaction(reaches).await?;
            let (mut sent, mut left_out, mut known) = (0, 0, wait);
            if let Some(points) = points {
                let copied = match wait {
                    0 => copy_points(&mut transaction, points, place).await?,
                    _ => None,
                };
                let points = match copied {
                    Some(copied) => copied,
                    None => {
                        known = if wait == 0 { UPSERTS } else { wait };
                        let sent = send_points(&transaction, POINTS, points(), place.0).await?;
                        upsert_points(&transaction, sent).await?;
                        sent
                    }
                };
                (sent, left_out) = (points.rows, points.left_out);
            }
            let now = |row: &&Replaced| place.next() < row.before && row.before <= reaches.next();
            delete_points(&transaction, gone.iter().filter(now)).await?;
            if !letters.is_empty() {
                send_letters(&transaction, letters, &shard).await?;
                execute(&transaction, INSERT_LETTERS).await?;
            }
            transaction.commit().await.map_err(Error::database("commit"))?;
            metrics::counter!(ROWS, "sink" => NAME, "table" => "telemetry_history").increment(sent);
            metrics::counter!(ROWS, "sink" => NAME, "table" => "dead_letters")
                .increment(letters.len() as u64);
            leave_out(left_out);
            Ok(known)
        };
        self.known = patiently("write rows", commit).await?;
        self.place = reaches;
        Ok(())
    }

    async fn begin(settings: &Settings, writer: &mut Writer) -> Result<Self, Error> {
        let mut client = settings.connect().await?;
        let locking = Error::database("wait for the migrations of others");
        client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await.map_err(locking)?;
        let mut runner = embedded::migrations::runner();
        runner.set_migration_table_name(MIGRATIONS);
        runner.run_async(&mut client).await.map_err(Error::Migrate)?;
        if let Some(policies) = &writer.policies {
            let found = policies::apply(&mut client, policies).await?;
            if !std::mem::replace(&mut writer.told, true) {
                found.tell(policies);
            }
        }
        let unlocking = Error::database("let others migrate");
        client
            .execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(unlocking)?;
        let incoming = TABLES.iter().map(Table::incoming).collect::<String>();
        let prepared = client.batch_execute(&format!("{INCOMING}\n{incoming}")).await;
        prepared.map_err(Error::database("prepare the session"))?;
        let (place, fence) = find(&client, writer).await?;
        let (number, views) = find_views(&client, writer).await?;
        let shard = writer.shard.clone();
        Ok(Self {
            client,
            shard,
            fence,
            place: Epoch(place as u64),
            known: 0,
            writer: number,
            views,
        })
    }

    /// A transaction that has moved the cursor.
    pub(super) async fn transaction(
        &mut self,
        reaches: Epoch,
    ) -> Result<(Transaction<'_>, String), Error> {
        let (from, to, shard) = (self.place.0 as i64, reaches.0 as i64, self.shard.clone());
        let begun = self.client.transaction().await;
        let transaction = begun.map_err(Error::database("begin a transaction"))?;
        let moved = transaction.execute(MOVE, &[&to, &shard, &from, &self.fence]).await;
        match moved.map_err(Error::database("move the cursor"))? {
            1 => Ok((transaction, shard)),
            found => Err(Error::Rows { table: "sink_cursors", expected: 1, found }),
        }
    }
}

/// The writer's place and fence. The first session of a process takes a new fence; later ones find
/// it, or somebody else's.
async fn find(client: &Client, writer: &mut Writer) -> Result<(i64, i64), Error> {
    let failed = Error::database("find the cursor");
    if let Some(fence) = writer.fence {
        let found = client.query_opt(FIND, &[&writer.shard]).await.map_err(failed)?;
        // Without a row the database was emptied: it gets everything anew.
        if let Some(row) = found {
            return match row.get::<_, i64>(1) {
                theirs if fence == theirs => Ok((row.get(0), fence)),
                _ => Err(Error::Fenced { shard: writer.shard.clone() }),
            };
        }
    }
    let recovered = writer.recovered.0 as i64;
    let claimed = client.query_one(CLAIM, &[&writer.shard, &recovered]).await;
    let row = claimed.map_err(Error::database("claim the cursor"))?;
    let begun = client.execute(BEGIN_VIEWS, &[&writer.shard, &recovered]).await;
    begun.map_err(Error::database("claim the places of the tables"))?;
    let (place, fence) = (row.get(0), row.get(1));
    writer.fence = Some(fence);
    Ok((place, fence))
}

/// The writer's number, and where its tables of views are. A table beyond the log begins anew.
async fn find_views(
    client: &Client,
    writer: &Writer,
) -> Result<(i32, BTreeMap<&'static str, Epoch>), Error> {
    let failed = || Error::database("find the places of the tables");
    let number = client.query_one(NUMBER, &[&writer.shard]).await.map_err(failed())?.get(0);
    let rows = client.query(FIND_VIEWS, &[&number]).await.map_err(failed())?;
    let place = |row: &tokio_postgres::Row| {
        let (view, epoch): (&str, i64) = (row.get(0), row.get(1));
        let tables = TABLES.iter().map(|table| table.name);
        let name = tables.chain([EVENTS]).find(|name| *name == view)?;
        Some((name, Epoch(epoch as u64)))
    };
    Ok((number, rows.iter().filter_map(place).collect()))
}

/// Copies points where they belong, which is the quickest way, when all their keys are new; `None`,
/// and nothing done, when one is not.
async fn copy_points(
    transaction: &mut Transaction<'_>,
    points: &Points<'_>,
    place: Epoch,
) -> Result<Option<Sent>, Error> {
    let failed = || Error::database("copy rows");
    let savepoint = transaction.savepoint("new_points").await.map_err(failed())?;
    match send_points(&savepoint, NEW_POINTS, points(), place.0).await {
        Ok(sent) => {
            savepoint.commit().await.map_err(failed())?;
            Ok(Some(sent))
        }
        Err(Error::Database { source, .. })
            if source.code() == Some(&SqlState::UNIQUE_VIOLATION) =>
        {
            savepoint.rollback().await.map_err(failed())?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Every row that was sent is there, or a newer one of its key.
async fn upsert_points(transaction: &Transaction<'_>, sent: Sent) -> Result<(), Error> {
    if sent.rows == 0 {
        return Ok(());
    }
    let touched = execute(transaction, UPSERT_POINTS).await?;
    if touched == sent.rows {
        return Ok(());
    }
    let check = Error::database("check the rows");
    transaction.batch_execute(NESTED).await.map_err(check)?;
    let span: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&At(sent.first), &At(sent.last)];
    let missing = transaction.query_one(MISSING_POINTS, &span).await;
    let missing: i64 = missing.map_err(Error::database("check the rows"))?.get(0);
    match missing {
        0 if touched < sent.rows => Ok(()),
        _ => {
            let (expected, found) = (sent.rows, sent.rows - missing.max(0) as u64);
            Err(Error::Rows { table: "telemetry_history", expected, found })
        }
    }
}

async fn delete_points(
    transaction: &Transaction<'_>,
    gone: impl Iterator<Item = &Replaced>,
) -> Result<(), Error> {
    let (mut assets, mut metrics, mut times, mut before) = (vec![], vec![], vec![], vec![]);
    for row in gone.filter(|row| STORABLE.contains(&row.event_time)) {
        assets.push(&*row.asset);
        metrics.push(&*row.metric);
        times.push(At(row.event_time));
        before.push(row.before.0 as i64);
    }
    let first = times.iter().map(|at| at.0).min();
    let last = times.iter().map(|at| at.0).max();
    let Some((first, last)) = first.zip(last) else { return Ok(()) };
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&ENTITY_TYPE, &assets, &metrics, &times, &before, &At(first), &At(last)];
    let deleted = transaction.execute(DELETE_POINTS, &values).await;
    deleted.map(drop).map_err(Error::database("delete points"))
}

async fn execute(transaction: &Transaction<'_>, statement: &str) -> Result<u64, Error> {
    transaction.execute(statement, &[]).await.map_err(Error::database("write rows"))
}

pub(super) async fn patiently<T>(
    action: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let slow = |_| Error::Slow { action, seconds: PATIENCE.as_secs() };
    tokio::time::timeout(PATIENCE, work).await.map_err(slow)?
}
