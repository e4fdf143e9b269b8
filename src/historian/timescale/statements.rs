//! Statements on tables that are no views: points, dead letters, events, and the places of all.

pub(super) const INCOMING: &str = "\
CREATE TEMP TABLE incoming_points (LIKE telemetry_history) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE incoming_letters (LIKE dead_letters) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE incoming_events (LIKE system_events, diff bigint NOT NULL) ON COMMIT DELETE ROWS;";

pub(super) const CLAIM: &str = "\
INSERT INTO sink_cursors AS c (shard, epoch, fence) VALUES ($1, 0, 1)
ON CONFLICT (shard) DO UPDATE SET fence = c.fence + 1, epoch = least(c.epoch, $2)
RETURNING epoch, fence";
pub(super) const FIND: &str = "SELECT epoch, fence FROM sink_cursors WHERE shard = $1";
pub(super) const NUMBER: &str = "SELECT writer FROM sink_cursors WHERE shard = $1";
pub(super) const FIND_VIEWS: &str = "SELECT view, epoch FROM sink_views WHERE writer = $1";
/// Tables that have what this log has lost begin anew.
pub(super) const BEGIN_VIEWS: &str = "\
UPDATE sink_views v SET epoch = 0 FROM sink_cursors c
WHERE c.shard = $1 AND v.writer = c.writer AND v.epoch > $2";
pub(super) const MOVE: &str =
    "UPDATE sink_cursors SET epoch = $1 WHERE shard = $2 AND epoch = $3 AND fence = $4";

pub(super) const UPSERT_POINTS: &str = "\
INSERT INTO telemetry_history AS t
SELECT * FROM incoming_points
ON CONFLICT (entity_type, entity_id, metric_key, time) DO UPDATE SET
    value = excluded.value, value_text = excluded.value_text, quality = excluded.quality,
    device_id = excluded.device_id, epoch = excluded.epoch
WHERE excluded.epoch > t.epoch";
/// Asked only when fewer rows were touched than sent: by index, whatever the planner thinks.
pub(super) const NESTED: &str = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";
pub(super) const MISSING_POINTS: &str = "\
SELECT count(*) FROM incoming_points i WHERE NOT EXISTS (
    SELECT FROM telemetry_history t
    WHERE t.entity_type = i.entity_type AND t.entity_id = i.entity_id
        AND t.metric_key = i.metric_key AND t.time = i.time AND t.epoch >= i.epoch
        AND t.time BETWEEN $1 AND $2)";

/// Whatever is gone, up to the epoch at which it went; what came again is newer.
pub(super) const DELETE_POINTS: &str = "\
DELETE FROM telemetry_history t
USING unnest($2::text[], $3::text[], $4::timestamptz[], $5::bigint[])
    AS gone (entity_id, metric_key, time, before)
WHERE t.entity_type = $1 AND t.entity_id = gone.entity_id AND t.metric_key = gone.metric_key
    AND t.time = gone.time AND t.epoch < gone.before AND t.time BETWEEN $6 AND $7";

pub(super) const INSERT_LETTERS: &str = "\
INSERT INTO dead_letters SELECT * FROM incoming_letters
ON CONFLICT (shard, epoch, ordinal) DO NOTHING";

pub(super) const DELETE_UNTOLD_EVENTS: &str = "\
DELETE FROM system_events t WHERE t.shard = $1 AND t.filed IS NULL AND NOT EXISTS (
    SELECT FROM incoming_events i
    WHERE i.entity_type = t.entity_type AND i.entity_id = t.entity_id
        AND i.rule_id = t.rule_id AND i.time = t.time)";
pub(super) const DELETE_RETRACTED_EVENTS: &str = "\
DELETE FROM system_events t USING incoming_events i
WHERE t.shard = $1 AND i.diff < 0 AND i.entity_type = t.entity_type
    AND i.entity_id = t.entity_id AND i.rule_id = t.rule_id AND i.time = t.time";
pub(super) const UPSERT_EVENTS: &str = "\
INSERT INTO system_events AS t
SELECT DISTINCT ON (entity_type, entity_id, rule_id, time)
    shard, entity_type, entity_id, rule_id, time, event_type, severity, message, suppressed, epoch
FROM incoming_events WHERE diff > 0
ON CONFLICT (shard, entity_type, entity_id, rule_id, time) DO UPDATE SET
    event_type = excluded.event_type, severity = excluded.severity, message = excluded.message,
    suppressed = excluded.suppressed, epoch = excluded.epoch
WHERE (t.event_type, t.severity, t.message, t.suppressed) IS DISTINCT FROM
    (excluded.event_type, excluded.severity, excluded.message, excluded.suppressed)";

/// What files of epochs after this have is found anew.
pub(super) const UNFILE_LATER: &str =
    "UPDATE system_events SET filed = NULL WHERE shard = $1 AND filed > $2";
pub(super) const UNFILE_ASSETS: &str = "\
UPDATE system_events SET filed = NULL
WHERE shard = $1 AND filed IS NOT NULL AND entity_id = ANY($2::text[])";
pub(super) const UNFILE_EVENTS: &str = "\
UPDATE system_events t SET filed = NULL FROM incoming_events i
WHERE t.shard = $1 AND t.filed IS NOT NULL AND i.entity_type = t.entity_type
    AND i.entity_id = t.entity_id AND i.rule_id = t.rule_id AND i.time = t.time";
pub(super) const FILE_EVENTS: &str = "\
INSERT INTO system_events AS t
SELECT DISTINCT ON (entity_type, entity_id, rule_id, time)
    shard, entity_type, entity_id, rule_id, time, event_type, severity, message, suppressed, epoch,
    epoch AS filed
FROM incoming_events
ON CONFLICT (shard, entity_type, entity_id, rule_id, time) DO UPDATE SET
    event_type = excluded.event_type, severity = excluded.severity, message = excluded.message,
    suppressed = excluded.suppressed, filed = excluded.filed,
    epoch = CASE WHEN (t.event_type, t.severity, t.message, t.suppressed) IS DISTINCT FROM
        (excluded.event_type, excluded.severity, excluded.message, excluded.suppressed)
        THEN excluded.epoch ELSE t.epoch END";
