//! Points that are older than they are to be kept leave the database, chunk by chunk.

use super::error::Error;
use super::session::{Session, patiently};
use crate::model::Epoch;
use std::time::{Duration, Instant};

/// Between two looks for old chunks.
const EVERY: Duration = Duration::from_secs(60);

const END: &str = "\
SELECT max(range_end)::text FROM timescaledb_information.chunks
WHERE hypertable_name = 'telemetry_history' AND range_end <= now() - make_interval(secs => $1)";
const NEWEST: &str =
    "SELECT coalesce(max(epoch), 0) FROM telemetry_history WHERE time < $1::text::timestamptz";
const DROP: &str = "\
SELECT count(*) FROM drop_chunks('telemetry_history', older_than => $1::text::timestamptz)";

/// When old chunks are looked for.
pub(super) struct Retention {
    keep: Option<Duration>,
    last: Option<Instant>,
}

impl Retention {
    /// That keeps points for a time, or for ever.
    pub fn of(keep: Option<Duration>) -> Self {
        Self { keep, last: None }
    }

    /// Drops chunks of which every point is too old and in the archive's files, when it is time to
    /// look for some.
    pub async fn go_on(&mut self, session: &mut Session, archived: Epoch) -> Result<(), Error> {
        let Some(keep) = self.keep else { return Ok(()) };
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let dropped = session.drop_chunks(keep, archived).await?;
        if dropped > 0 {
            tracing::info!(dropped, "old chunks of points left the database");
        }
        Ok(())
    }
}

impl Session {
    /// Drops chunks of which every point is older than this and was archived up to an epoch. Says
    /// how many.
    async fn drop_chunks(&mut self, keep: Duration, archived: Epoch) -> Result<i64, Error> {
        let place = self.place();
        let failed = || Error::database("drop old chunks");
        let commit = async {
            let (transaction, _) = self.transaction(place).await?;
            let end = transaction.query_one(END, &[&keep.as_secs_f64()]).await.map_err(failed())?;
            let Some(end) = end.get::<_, Option<String>>(0) else { return Ok(0) };
            let newest = transaction.query_one(NEWEST, &[&end]).await.map_err(failed())?;
            if newest.get::<_, i64>(0) as u64 > archived.0 {
                return Ok(0);
            }
            let dropped = transaction.query_one(DROP, &[&end]).await.map_err(failed())?.get(0);
            transaction.commit().await.map_err(Error::database("commit"))?;
            Ok(dropped)
        };
        patiently("drop old chunks", commit).await
    }
}
