//! What becomes of old rows in the database: compression, aggregates, retention.
//!
//! TimescaleDB has two editions. With the community licence it compresses and keeps aggregates
//! itself, and is told here what is wanted; what the other edition lacks comes from the sink's own
//! tables, or is said not to be there. Nothing is touched that somebody else has set up: what was
//! made here is written down in `sink_policies`.

use super::error::Error;
use std::time::Duration;
use tokio_postgres::{Client, Transaction};
use tracing::{info, warn};

/// What is wanted of old rows. Without a setting there is no such policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// How old chunks of points and minutes are compressed.
    pub compress_after: Option<Duration>,
    /// How long points stay. Roll-ups stay for ever.
    pub retain: Option<Duration>,
    /// How often `telemetry_history_1h` is brought up to date where TimescaleDB does that. Where the
    /// sink does, it is always up to date.
    pub aggregate_every: Option<Duration>,
}

const EDITION: &str = "\
SELECT coalesce(current_setting('timescaledb.license', true), 'apache') = 'timescale'
    AND EXISTS (SELECT FROM pg_proc WHERE proname = 'add_compression_policy')";
const KNOWN: &str = "SELECT value FROM sink_policies WHERE name = $1";
const KEEP: &str = "\
INSERT INTO sink_policies (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const FORGET: &str = "DELETE FROM sink_policies WHERE name = $1";

const COMPRESSION: &str = "compression";
const AGGREGATE: &str = "telemetry_history_1h";

/// Hypertables that are compressed: how rows of a chunk are put together.
const COMPRESSED: [(&str, &str, &str); 3] = [
    ("telemetry_history", "entity_type, entity_id, metric_key", "time"),
    ("rollups_1m", "asset, metric, asset_type, writer", "window_start"),
    ("rollups_5m", "asset, metric, asset_type, writer", "window_start"),
];

/// The editions of TimescaleDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edition {
    /// Compresses, and keeps aggregates.
    Community,
    Apache,
}

impl Edition {
    /// Says which policies hold.
    pub fn tell(self, policies: &Policies) {
        let seconds = |time: Option<Duration>| {
            time.map_or_else(|| "none".to_owned(), |time| format!("{} s", time.as_secs()))
        };
        let (mut compression, retention) =
            (seconds(policies.compress_after), seconds(policies.retain));
        let mut aggregates = "none";
        if policies.aggregate_every.is_some() {
            aggregates = if self == Self::Community { "timescaledb" } else { "millstream" };
        }
        if policies.compress_after.is_some() && self == Self::Apache {
            compression = "not in this edition".into();
            warn!("this edition of TimescaleDB compresses nothing: it takes the community licence");
        }
        let edition = if self == Self::Community { "community" } else { "apache" };
        info!(edition, compression, aggregates, retention, "policies of the database");
    }
}

/// Makes the policies what is wanted. Changes nothing where that is so.
pub(super) async fn apply(client: &mut Client, policies: &Policies) -> Result<Edition, Error> {
    let failed = || Error::database("set up policies");
    let transaction = client.transaction().await.map_err(failed())?;
    let edition = match transaction.query_one(EDITION, &[]).await.map_err(failed())?.get(0) {
        true => Edition::Community,
        false => Edition::Apache,
    };
    let compressed = policies.compress_after.filter(|_| edition == Edition::Community);
    compress(&transaction, compressed).await?;
    aggregate(&transaction, policies, edition).await?;
    transaction.commit().await.map_err(failed())?;
    Ok(edition)
}

/// Moves from what is known of a policy to what is wanted; `None` where both are the same.
async fn change(
    transaction: &Transaction<'_>,
    name: &str,
    wanted: Option<&str>,
) -> Result<Option<Option<String>>, Error> {
    let failed = || Error::database("set up policies");
    let known = transaction.query_opt(KNOWN, &[&name]).await.map_err(failed())?;
    let known: Option<String> = known.map(|row| row.get(0));
    if known.as_deref() == wanted {
        return Ok(None);
    }
    match wanted {
        Some(value) => transaction.execute(KEEP, &[&name, &value]).await.map_err(failed())?,
        None => transaction.execute(FORGET, &[&name]).await.map_err(failed())?,
    };
    Ok(Some(known))
}

async fn compress(transaction: &Transaction<'_>, after: Option<Duration>) -> Result<(), Error> {
    let wanted = after.map(|after| after.as_secs().to_string());
    let Some(known) = change(transaction, COMPRESSION, wanted.as_deref()).await? else {
        return Ok(());
    };
    let mut statements = String::new();
    for (table, together, order) in COMPRESSED {
        if known.is_some() {
            statements +=
                &format!("SELECT remove_compression_policy('{table}', if_exists => true);");
        } else {
            statements += &format!(
                "ALTER TABLE {table} SET (timescaledb.compress, \
                timescaledb.compress_segmentby = '{together}', \
                timescaledb.compress_orderby = '{order}');"
            );
        }
        if let Some(seconds) = &wanted {
            statements += &format!(
                "SELECT add_compression_policy('{table}', \
                compress_after => INTERVAL '{seconds} seconds', if_not_exists => true);"
            );
        }
    }
    let done = transaction.batch_execute(&statements).await;
    done.map_err(Error::database("set up compression"))
}

async fn aggregate(
    transaction: &Transaction<'_>,
    policies: &Policies,
    edition: Edition,
) -> Result<(), Error> {
    let seconds = |time: Duration| format!("INTERVAL '{} seconds'", time.as_secs());
    // What has been dropped must not be aggregated anew.
    let from = policies.retain.map_or("NULL".into(), seconds);
    let wanted = policies.aggregate_every.map(|every| match edition {
        Edition::Community => format!("timescaledb from {from} every {}", every.as_secs()),
        Edition::Apache => "millstream".into(),
    });
    let Some(known) = change(transaction, AGGREGATE, wanted.as_deref()).await? else {
        return Ok(());
    };
    let mut statements = match known {
        Some(known) if known == "millstream" => format!("DROP VIEW {AGGREGATE};"),
        Some(_) => format!("DROP MATERIALIZED VIEW {AGGREGATE};"),
        None => String::new(),
    };
    statements += &match (policies.aggregate_every, edition) {
        (None, _) => String::new(),
        (Some(every), Edition::Community) => format!(
            "CREATE MATERIALIZED VIEW {AGGREGATE} \
            WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS \
            SELECT entity_type, entity_id, metric_key, time_bucket(INTERVAL '1 hour', time) AS time, \
                count(value) AS count, sum(value) AS sum, min(value) AS min, max(value) AS max, \
                avg(value) AS mean \
            FROM telemetry_history WHERE value IS NOT NULL GROUP BY 1, 2, 3, 4 WITH NO DATA; \
            SELECT add_continuous_aggregate_policy('{AGGREGATE}', start_offset => {from}, \
                end_offset => INTERVAL '1 hour', schedule_interval => {});",
            seconds(every)
        ),
        (Some(_), Edition::Apache) => format!(
            "CREATE VIEW {AGGREGATE} AS \
            SELECT 'asset'::text AS entity_type, asset AS entity_id, metric AS metric_key, \
                window_start AS time, count, sum, min, max, mean FROM rollups_1h;"
        ),
    };
    let done = transaction.batch_execute(&statements).await;
    done.map_err(Error::database("set up aggregates"))
}
