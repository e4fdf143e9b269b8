-- What Millstream keeps in TimescaleDB. Each file in this folder runs once, in the order of its number;
-- a file that has run anywhere is never changed: what comes later is a new file.

CREATE EXTENSION IF NOT EXISTS timescaledb;

-- Every accepted point once, with its newest value. A correction replaces the row of its key when its
-- epoch is newer.
CREATE TABLE telemetry_history (
    entity_type text        NOT NULL,  -- 'asset'
    entity_id   text        NOT NULL,
    metric_key  text        NOT NULL,
    time        timestamptz NOT NULL,  -- event time
    value       double precision,      -- numbers; true is 1; null for texts
    value_text  text,                  -- texts
    quality     bigint      NOT NULL,  -- OPC UA status code, 32 bits
    device_id   text        NOT NULL,  -- the sender
    epoch       bigint      NOT NULL,  -- the commit that brought the value
    PRIMARY KEY (entity_type, entity_id, metric_key, time)
);
SELECT create_hypertable('telemetry_history', by_range('time', INTERVAL '7 days'), create_default_indexes => false);

-- The view `events`: what corrections take back is deleted here too.
CREATE TABLE system_events (
    shard       text        NOT NULL,  -- whose events these are: an id of sink_cursors
    entity_type text        NOT NULL,  -- 'asset'
    entity_id   text        NOT NULL,
    rule_id     text        NOT NULL,
    time        timestamptz NOT NULL,  -- event time at which the rule fired
    event_type  text        NOT NULL,
    severity    text        NOT NULL,  -- 'info', 'warning', 'critical'
    message     text        NOT NULL,
    suppressed  boolean     NOT NULL,  -- a cooldown was still running
    epoch       bigint      NOT NULL,
    PRIMARY KEY (shard, entity_type, entity_id, rule_id, time)
);
CREATE INDEX system_events_time ON system_events (time DESC);

-- What the doors refused, with its bytes. A letter is known by its commit and its place in it.
CREATE TABLE dead_letters (
    shard       text        NOT NULL,
    epoch       bigint      NOT NULL,
    ordinal     integer     NOT NULL,
    received_at timestamptz NOT NULL,
    source      text        NOT NULL,  -- 'http', 'mqtt', 'file:<name>'
    device_id   text,
    reason      text        NOT NULL,
    detail      text        NOT NULL,
    raw         bytea       NOT NULL,
    PRIMARY KEY (shard, epoch, ordinal)
);
CREATE INDEX dead_letters_received ON dead_letters (received_at DESC);

-- How far each data directory is: all points and dead letters of epochs up to this one are here. Every
-- transaction of a writer moves or touches its row; a fence that is not its own stops it.
CREATE TABLE sink_cursors (
    shard text   PRIMARY KEY,
    epoch bigint NOT NULL,
    fence bigint NOT NULL
);
