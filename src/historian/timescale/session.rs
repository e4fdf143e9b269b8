//! A connection that has found its place, and the transactions on it.
//!
//! Every transaction first moves the writer's cursor from where it knows it to be, under the
//! writer's fence, which touches one row or fails the transaction. So rows and place are committed
//! together or not at all, and a writer that was replaced meanwhile commits nothing. Whether a
//! commit succeeded whose answer was lost, the next session reads from the cursor.

use super::error::Error;
use super::follow::Told;
use super::letters::Letter;
use super::rows::{At, ENTITY_TYPE, STORABLE, Sent, send_events, send_letters, send_points};
use super::settings::Settings;
use super::status::{NAME, ROWS};
use crate::historian::replaced::Replaced;
use crate::model::Epoch;
use arrow::array::RecordBatch;
use std::time::Duration;
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

const INCOMING: &str = "\
CREATE TEMP TABLE incoming_points (LIKE telemetry_history) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE incoming_letters (LIKE dead_letters) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE incoming_events (LIKE system_events, diff bigint NOT NULL) ON COMMIT DELETE ROWS;";

const CLAIM: &str = "\
INSERT INTO sink_cursors AS c (shard, epoch, fence) VALUES ($1, 0, 1)
ON CONFLICT (shard) DO UPDATE SET fence = c.fence + 1, epoch = least(c.epoch, $2)
RETURNING epoch, fence";
const FIND: &str = "SELECT epoch, fence FROM sink_cursors WHERE shard = $1";
const MOVE: &str =
    "UPDATE sink_cursors SET epoch = $1 WHERE shard = $2 AND epoch = $3 AND fence = $4";

const UPSERT_POINTS: &str = "\
INSERT INTO telemetry_history AS t
SELECT * FROM incoming_points
ON CONFLICT (entity_type, entity_id, metric_key, time) DO UPDATE SET
    value = excluded.value, value_text = excluded.value_text, quality = excluded.quality,
    device_id = excluded.device_id, epoch = excluded.epoch
WHERE excluded.epoch > t.epoch";
/// Asked only when fewer rows were touched than sent: by index, whatever the planner thinks.
const NESTED: &str = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";
const MISSING_POINTS: &str = "\
SELECT count(*) FROM incoming_points i WHERE NOT EXISTS (
    SELECT FROM telemetry_history t
    WHERE t.entity_type = i.entity_type AND t.entity_id = i.entity_id
        AND t.metric_key = i.metric_key AND t.time = i.time AND t.epoch >= i.epoch
        AND t.time BETWEEN $1 AND $2)";

/// Whatever is gone, up to the epoch at which it went; what came again is newer.
const DELETE_POINTS: &str = "\
DELETE FROM telemetry_history t
USING unnest($2::text[], $3::text[], $4::timestamptz[], $5::bigint[])
    AS gone (entity_id, metric_key, time, before)
WHERE t.entity_type = $1 AND t.entity_id = gone.entity_id AND t.metric_key = gone.metric_key
    AND t.time = gone.time AND t.epoch < gone.before AND t.time BETWEEN $6 AND $7";

const INSERT_LETTERS: &str = "\
INSERT INTO dead_letters SELECT * FROM incoming_letters
ON CONFLICT (shard, epoch, ordinal) DO NOTHING";

const DELETE_UNTOLD_EVENTS: &str = "\
DELETE FROM system_events t WHERE t.shard = $1 AND NOT EXISTS (
    SELECT FROM incoming_events i
    WHERE i.entity_type = t.entity_type AND i.entity_id = t.entity_id
        AND i.rule_id = t.rule_id AND i.time = t.time)";
const DELETE_RETRACTED_EVENTS: &str = "\
DELETE FROM system_events t USING incoming_events i
WHERE t.shard = $1 AND i.diff < 0 AND i.entity_type = t.entity_type
    AND i.entity_id = t.entity_id AND i.rule_id = t.rule_id AND i.time = t.time";
const UPSERT_EVENTS: &str = "\
INSERT INTO system_events AS t
SELECT DISTINCT ON (entity_type, entity_id, rule_id, time)
    shard, entity_type, entity_id, rule_id, time, event_type, severity, message, suppressed, epoch
FROM incoming_events WHERE diff > 0
ON CONFLICT (shard, entity_type, entity_id, rule_id, time) DO UPDATE SET
    event_type = excluded.event_type, severity = excluded.severity, message = excluded.message,
    suppressed = excluded.suppressed, epoch = excluded.epoch
WHERE (t.event_type, t.severity, t.message, t.suppressed) IS DISTINCT FROM
    (excluded.event_type, excluded.severity, excluded.message, excluded.suppressed)";

/// Who writes: the data directory, and the fence once it was given.
#[derive(Debug)]
pub(super) struct Writer {
    pub shard: String,
    pub fence: Option<i64>,
    /// The last epoch of the log when the process started. A cursor beyond it counts epochs that
    /// this log has lost, and will give anew.
    pub recovered: Epoch,
}

/// A connection at its place.
pub(super) struct Session {
    client: Client,
    shard: String,
    fence: i64,
    place: Epoch,
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
        points: Option<impl Iterator<Item = Result<RecordBatch, Error>>>,
        gone: &[Replaced],
        letters: &[Letter],
        reaches: Epoch,
    ) -> Result<(), Error> {
        let place = self.place;
        let commit = async {
            let (transaction, shard) = self.transaction(reaches).await?;
            let mut sent = 0;
            if let Some(points) = points {
                let points = send_points(&transaction, points, place.0).await?;
                upsert_points(&transaction, points).await?;
                sent = points.rows;
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
            Ok(())
        };
        patiently("write rows", commit).await?;
        self.place = reaches;
        Ok(())
    }

    /// Makes `system_events` what the view is.
    pub async fn write_events(&mut self, told: &Told) -> Result<(), Error> {
        let commit = async {
            let (transaction, shard) = self.transaction(self.place).await?;
            let (epoch, batches, delete) = match told {
                Told::Whole(epoch, batches) => (epoch, batches.as_slice(), DELETE_UNTOLD_EVENTS),
                Told::Changed(epoch, batch) => {
                    (epoch, std::slice::from_ref(batch), DELETE_RETRACTED_EVENTS)
                }
            };
            send_events(&transaction, batches, &shard, epoch.0).await?;
            let deleted = transaction.execute(delete, &[&shard]).await;
            deleted.map_err(Error::database("delete events"))?;
            let written = execute(&transaction, UPSERT_EVENTS).await?;
            transaction.commit().await.map_err(Error::database("commit"))?;
            metrics::counter!(ROWS, "sink" => NAME, "table" => "system_events").increment(written);
            Ok(())
        };
        patiently("write events", commit).await
    }

    async fn begin(settings: &Settings, writer: &mut Writer) -> Result<Self, Error> {
        let mut client = settings.connect().await?;
        let locking = Error::database("wait for the migrations of others");
        client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await.map_err(locking)?;
        let mut runner = embedded::migrations::runner();
        runner.set_migration_table_name(MIGRATIONS);
        runner.run_async(&mut client).await.map_err(Error::Migrate)?;
        let unlocking = Error::database("let others migrate");
        client
            .execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(unlocking)?;
        client.batch_execute(INCOMING).await.map_err(Error::database("prepare the session"))?;
        let (place, fence) = find(&client, writer).await?;
        let shard = writer.shard.clone();
        Ok(Self { client, shard, fence, place: Epoch(place as u64) })
    }

    /// A transaction that has moved the cursor.
    async fn transaction(&mut self, reaches: Epoch) -> Result<(Transaction<'_>, String), Error> {
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
    let (place, fence) = (row.get(0), row.get(1));
    writer.fence = Some(fence);
    Ok((place, fence))
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

async fn patiently<T>(
    action: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let slow = |_| Error::Slow { action, seconds: PATIENCE.as_secs() };
    tokio::time::timeout(PATIENCE, work).await.map_err(slow)?
}
