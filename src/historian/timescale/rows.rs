//! Rows in PostgreSQL's binary form.

use super::error::Error;
use super::letters::Letter;
use super::status::{LEFT_OUT, NAME};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int8Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use bytes::{BufMut, BytesMut};
use std::borrow::Cow;
use std::pin::pin;
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};

/// Microseconds from 1970 to 2000, from where PostgreSQL counts.
const TO_2000: i64 = 946_684_800_000_000;
/// What PostgreSQL has a timestamp for, in microseconds since 1970: from 24 November 4714 BC on,
/// until TimescaleDB's last chunk ends.
pub(super) const STORABLE: std::ops::Range<i64> =
    -210_866_803_200_000_000..9_223_371_331_200_000_000;
/// The only type of entities that have telemetry so far.
pub(super) const ENTITY_TYPE: &str = "asset";

/// An instant in microseconds since 1970.
#[derive(Debug)]
pub(super) struct At(pub i64);

impl ToSql for At {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_i64(self.0.saturating_sub(TO_2000));
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

/// How many rows were sent, how many PostgreSQL has no timestamp for, and between which instants
/// those that were sent lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub rows: u64,
    pub left_out: u64,
    pub first: i64,
    pub last: i64,
}

/// A copy into a table of this session.
#[derive(Clone, Copy)]
pub(super) struct Copy<'t> {
    statement: &'t str,
    types: &'t [Type],
    table: &'static str,
}

/// Points into the session's own table.
pub(super) const POINTS: Copy<'static> = Copy {
    statement: "COPY incoming_points (entity_type, entity_id, metric_key, time, value, value_text, \
        quality, device_id, epoch) FROM STDIN BINARY",
    types: &[
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::FLOAT8,
        Type::TEXT,
        Type::INT8,
        Type::TEXT,
        Type::INT8,
    ],
    table: "telemetry_history",
};

/// Points that are all new, where they belong.
pub(super) const NEW_POINTS: Copy<'static> = Copy {
    statement: "COPY telemetry_history (entity_type, entity_id, metric_key, time, value, \
        value_text, quality, device_id, epoch) FROM STDIN BINARY",
    ..POINTS
};

const LETTERS: Copy<'static> = Copy {
    statement: "COPY incoming_letters (shard, epoch, ordinal, received_at, source, device_id, \
        reason, detail, raw) FROM STDIN BINARY",
    types: &[
        Type::TEXT,
        Type::INT8,
        Type::INT4,
        Type::TIMESTAMPTZ,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::BYTEA,
    ],
    table: "dead_letters",
};

const EVENTS: Copy<'static> = Copy {
    statement: "COPY incoming_events (shard, entity_type, entity_id, rule_id, time, event_type, \
        severity, message, suppressed, epoch, diff) FROM STDIN BINARY",
    types: &[
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::BOOL,
        Type::INT8,
        Type::INT8,
    ],
    table: "system_events",
};

/// Sends the points of an epoch after `place`.
pub(super) async fn send_points(
    transaction: &Transaction<'_>,
    copy: Copy<'_>,
    batches: impl Iterator<Item = Result<RecordBatch, Error>>,
    place: u64,
) -> Result<Sent, Error> {
    let mut writer = pin!(copy.begin(transaction).await?);
    let mut sent = Sent { rows: 0, left_out: 0, first: i64::MAX, last: i64::MIN };
    for batch in batches {
        let batch = batch?;
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let [assets, devices, metrics] = [1, 2, 3].map(|i| batch.column(i).as_string::<i32>());
        let values = batch.column(4).as_primitive::<Float64Type>();
        let texts = batch.column(5).as_string::<i32>();
        let qualities = batch.column(6).as_primitive::<UInt32Type>();
        let epochs = batch.column(7).as_primitive::<UInt64Type>();
        for i in 0..batch.num_rows() {
            let (time, epoch) = (times.value(i), epochs.value(i));
            if epoch <= place {
                continue;
            }
            if !STORABLE.contains(&time) {
                sent.left_out += 1;
                continue;
            }
            let text = texts.is_valid(i).then(|| plain(texts.value(i)));
            let row: [&(dyn ToSql + Sync); 9] = [
                &ENTITY_TYPE,
                &assets.value(i),
                &metrics.value(i),
                &At(time),
                &values.is_valid(i).then(|| values.value(i)),
                &text,
                &i64::from(qualities.value(i)),
                &devices.value(i),
                &(epoch as i64),
            ];
            writer.as_mut().write(&row).await.map_err(Error::database(SEND))?;
            sent.rows += 1;
            (sent.first, sent.last) = (sent.first.min(time), sent.last.max(time));
        }
    }
    copy.end(writer.finish().await, sent.rows)?;
    Ok(sent)
}

/// Sends dead letters.
pub(super) async fn send_letters(
    transaction: &Transaction<'_>,
    letters: &[Letter],
    shard: &str,
) -> Result<(), Error> {
    let mut writer = pin!(LETTERS.begin(transaction).await?);
    for Letter { epoch, ordinal, letter } in letters {
        let row: [&(dyn ToSql + Sync); 9] = [
            &shard,
            &(epoch.0 as i64),
            ordinal,
            &At(letter.received_at.0),
            &plain(&letter.source),
            &letter.device.as_deref().map(plain),
            &letter.reason.code(),
            &plain(&letter.detail),
            &&*letter.raw,
        ];
        writer.as_mut().write(&row).await.map_err(Error::database(SEND))?;
    }
    LETTERS.end(writer.finish().await, letters.len() as u64)
}

/// Sends rows of the view `events`; those without a column `diff` are insertions.
pub(super) async fn send_events(
    transaction: &Transaction<'_>,
    batches: &[RecordBatch],
    shard: &str,
    epoch: u64,
) -> Result<(), Error> {
    let mut writer = pin!(EVENTS.begin(transaction).await?);
    let (mut rows, mut left_out) = (0, 0);
    for batch in batches {
        let column = |name| batch.column_by_name(name).ok_or(Error::Column(name));
        let text = |name| column(name).map(|column| column.as_string::<i32>());
        let (assets, rules) = (text("asset")?, text("rule")?);
        let (types, severities, messages) =
            (text("event_type")?, text("severity")?, text("message")?);
        let times = column("event_time")?.as_primitive::<TimestampMicrosecondType>();
        let suppressed = column("suppressed")?.as_boolean();
        let diffs = batch.column_by_name("diff").map(|diff| diff.as_primitive::<Int8Type>());
        for i in 0..batch.num_rows() {
            if !STORABLE.contains(&times.value(i)) {
                left_out += 1;
                continue;
            }
            let row: [&(dyn ToSql + Sync); 11] = [
                &shard,
                &ENTITY_TYPE,
                &assets.value(i),
                &rules.value(i),
                &At(times.value(i)),
                &plain(types.value(i)),
                &severities.value(i),
                &plain(messages.value(i)),
                &suppressed.value(i),
                &(epoch as i64),
                &diffs.map_or(1, |diffs| i64::from(diffs.value(i))),
            ];
            writer.as_mut().write(&row).await.map_err(Error::database(SEND))?;
            rows += 1;
        }
    }
    leave_out(left_out);
    EVENTS.end(writer.finish().await, rows)
}

const SEND: &str = "send rows";

impl Copy<'_> {
    async fn begin(&self, transaction: &Transaction<'_>) -> Result<BinaryCopyInWriter, Error> {
        let sink = transaction.copy_in(self.statement).await.map_err(Error::database(SEND))?;
        Ok(BinaryCopyInWriter::new(sink, self.types))
    }

    fn end(&self, copied: Result<u64, tokio_postgres::Error>, expected: u64) -> Result<(), Error> {
        let found = copied.map_err(Error::database(SEND))?;
        if found != expected {
            return Err(Error::Rows { table: self.table, expected, found });
        }
        Ok(())
    }
}

/// PostgreSQL's texts have no NUL: it becomes the replacement character.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => text.replace('\0', "\u{fffd}").into(),
        false => text.into(),
    }
}

pub(super) fn leave_out(rows: u64) {
    if rows > 0 {
        metrics::counter!(LEFT_OUT, "sink" => NAME).increment(rows);
    }
}
