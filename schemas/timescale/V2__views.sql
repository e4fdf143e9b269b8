-- The views of Millstream as tables, so that analysts can join them with history inside the database.
-- Names and columns are those of the views: a query that Millstream answers is answered here too.
-- `telemetry_history.entity_id` and `system_events.entity_id` are `assets.key`, and `asset` everywhere below.
--
-- Every table has two columns more:
--   epoch   the commit since which the row has been like this; after a restart of Millstream it may be
--           later than that, never earlier. As a time: timestamptz 'epoch' + epoch * interval '1 ms'
--   writer  whose row it is: a data directory, see sink_cursors

ALTER TABLE sink_cursors ADD COLUMN writer integer GENERATED ALWAYS AS IDENTITY UNIQUE;

-- How far each table is: it holds the view as it was at this epoch, some rows as they were later.
CREATE TABLE sink_views (
    writer integer NOT NULL REFERENCES sink_cursors (writer) ON DELETE CASCADE,
    view   text    NOT NULL,
    epoch  bigint  NOT NULL,
    PRIMARY KEY (writer, view)
);

-- What was set up for old rows, and how: see `millstream serve --help`, --database-compress-after and others.
CREATE TABLE sink_policies (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- The catalog.

CREATE TABLE asset_types (
    key      text    NOT NULL,
    id       bigint,
    version  bigint,
    document json,             -- metrics and their units, rules, bands: as it was published
    epoch    bigint  NOT NULL,
    writer   integer NOT NULL,
    PRIMARY KEY (key, writer)
);

CREATE TABLE device_types (LIKE asset_types INCLUDING ALL);

CREATE TABLE assets (
    key          text    NOT NULL,
    id           bigint,
    asset_type   text,         -- asset_types.key
    version      bigint,
    display_name text,
    epoch        bigint  NOT NULL,
    writer       integer NOT NULL,
    PRIMARY KEY (key, writer)
);

CREATE TABLE devices (
    key          text    NOT NULL,
    id           bigint,
    device_type  text,         -- device_types.key
    version      bigint,
    display_name text,
    epoch        bigint  NOT NULL,
    writer       integer NOT NULL,
    PRIMARY KEY (key, writer)
);

CREATE TABLE links (
    key     text    NOT NULL,
    id      bigint,
    device  text,              -- devices.key
    asset   text,              -- assets.key
    version bigint,
    epoch   bigint  NOT NULL,
    writer  integer NOT NULL,
    PRIMARY KEY (key, writer)
);

-- The health of each asset now.
CREATE TABLE asset_health (
    asset         text    NOT NULL,
    asset_type    text    NOT NULL,
    event_time    timestamptz,         -- of the newest point that counts
    score         double precision,    -- 0 to 100; null when it cannot be told
    band          text,
    contributions json,                -- [{"rule": ..., "points": ...}]
    epoch         bigint  NOT NULL,
    writer        integer NOT NULL,
    PRIMARY KEY (asset, asset_type, writer)
);

-- The level of each threshold rule of each asset now.
CREATE TABLE threshold_states (
    asset       text    NOT NULL,
    asset_type  text    NOT NULL,
    rule        text    NOT NULL,
    level       text,                  -- 'normal', 'warning', 'critical'
    since       timestamptz,
    transitions bigint,
    epoch       bigint  NOT NULL,
    writer      integer NOT NULL,
    PRIMARY KEY (asset, rule, asset_type, writer)
);

-- What was known when: a row says what the table without `_history` said of its key from known_at on, until
-- the next row of the same key. Late and corrected points do not change what was said before; they lead to a
-- row of their own with the time at which they were known. With event_time (or level) null there was no row
-- any more. Between two looks at a view, a fraction of a second apart as a rule and as long as this database
-- was away at the longest, a row may have changed more than once: then the last of it is here.
CREATE TABLE asset_health_history (
    known_at      timestamptz NOT NULL,
    asset         text        NOT NULL,
    asset_type    text        NOT NULL,
    event_time    timestamptz,
    score         double precision,
    band          text,
    contributions json,
    writer        integer     NOT NULL,
    PRIMARY KEY (asset, known_at, asset_type, writer)
);
SELECT create_hypertable('asset_health_history', by_range('known_at', INTERVAL '7 days'), create_default_indexes => false);

CREATE TABLE threshold_states_history (
    known_at    timestamptz NOT NULL,
    asset       text        NOT NULL,
    asset_type  text        NOT NULL,
    rule        text        NOT NULL,
    level       text,
    since       timestamptz,
    transitions bigint,
    writer      integer     NOT NULL,
    PRIMARY KEY (asset, rule, known_at, asset_type, writer)
);
SELECT create_hypertable('threshold_states_history', by_range('known_at', INTERVAL '7 days'), create_default_indexes => false);

-- Aggregates of the windows of one size. A row is corrected when late, corrected or deleted points change it:
-- `status` is 'provisional' while the window is open, then 'settled', and 'revised' after a change, of which
-- `revision` counts how many there were.
CREATE TABLE rollups_1m (
    asset        text        NOT NULL,
    asset_type   text        NOT NULL,
    metric       text        NOT NULL,
    window_start timestamptz NOT NULL,
    count        bigint,
    sum          double precision,
    min          double precision,
    max          double precision,
    mean         double precision,
    first        double precision,
    last         double precision,
    status       text,
    revision     bigint,
    epoch        bigint      NOT NULL,
    writer       integer     NOT NULL,
    PRIMARY KEY (asset, metric, window_start, asset_type, writer)
);
CREATE TABLE rollups_5m (LIKE rollups_1m INCLUDING ALL);
CREATE TABLE rollups_1h (LIKE rollups_1m INCLUDING ALL);
CREATE TABLE rollups_1d (LIKE rollups_1m INCLUDING ALL);
SELECT create_hypertable('rollups_1m', by_range('window_start', INTERVAL '7 days'), create_default_indexes => false);
SELECT create_hypertable('rollups_5m', by_range('window_start', INTERVAL '28 days'), create_default_indexes => false);
SELECT create_hypertable('rollups_1h', by_range('window_start', INTERVAL '364 days'), create_default_indexes => false);
SELECT create_hypertable('rollups_1d', by_range('window_start', INTERVAL '3640 days'), create_default_indexes => false);

-- What others call by these names. Where no data stands behind a name there is no view: valve_actuations and
-- missions (nothing is commanded through Millstream) and leak_detections (what a plant's own event rules say
-- of leaks is in system_events).

-- The metrics of each asset type, and what they are measured in.
CREATE VIEW metrics AS
SELECT t.key AS asset_type, m.key AS metric, m.value ->> 'unit' AS unit, m.value ->> 'description' AS description
FROM asset_types t, json_each(t.document -> 'metric_definitions') m
UNION
SELECT t.key, m.key, m.value ->> 'unit', m.value ->> 'description'
FROM asset_types t, json_each(t.document -> 'transformation_engine' -> 'derived') m
WHERE json_typeof(m.value) = 'object';

-- Metrics that are a flow of volume, and how many litres a minute one of their units is.
CREATE VIEW flow_units AS
SELECT asset_type, metric, unit, lpm
FROM metrics JOIN (VALUES ('m3/s', 60000.0), ('m3/min', 1000.0), ('m3/h', 1000.0 / 60), ('m3/d', 1000.0 / 1440),
    ('L/s', 60.0), ('L/min', 1.0), ('L/h', 1.0 / 60), ('[gal_us]/min', 3.785411784),
    ('[bbl_us]/d', 158.987294928 / 1440)) AS known (unit, lpm) USING (unit);

-- Points of flow.
CREATE VIEW flow_metrics AS
SELECT h.time, h.entity_id AS asset, h.device_id AS device, h.metric_key AS metric,
    h.value * f.lpm AS flow_rate_lpm, h.quality
FROM telemetry_history h
JOIN assets a ON a.key = h.entity_id
JOIN flow_units f ON f.asset_type = a.asset_type AND f.metric = h.metric_key
WHERE h.entity_type = 'asset';

-- Flow by the hour.
CREATE VIEW flow_metrics_1h AS
SELECT r.window_start AS time, r.asset, r.metric, r.mean * f.lpm AS flow_rate_lpm,
    r.min * f.lpm AS flow_rate_min_lpm, r.max * f.lpm AS flow_rate_max_lpm, r.count AS points
FROM rollups_1h r JOIN flow_units f USING (asset_type, metric);

-- Flows beyond their limits: when a threshold rule of a flow metric came to a level that is not normal.
CREATE VIEW flow_anomalies AS
SELECT h.since AS time, h.asset, r.metric, h.rule, h.level AS severity, h.known_at
FROM threshold_states_history h
JOIN (
    SELECT t.key AS asset_type, rule ->> 'id' AS rule, rule ->> 'metric' AS metric
    FROM asset_types t, json_array_elements(t.document -> 'threshold_rules') rule
) r USING (asset_type, rule)
JOIN flow_units f USING (asset_type, metric)
WHERE h.level <> 'normal';

-- What somebody has to look at: critical events that no cooldown has held back.
CREATE VIEW incidents AS
SELECT time, entity_id AS asset, rule_id AS rule, event_type, message
FROM system_events WHERE severity = 'critical' AND NOT suppressed;
