-- How long does a truck drive at a time, by day, in windows of ten minutes?
WITH driven AS (
  SELECT asset, time_bucket(INTERVAL '10 minutes', event_time) AS ten, avg(value) > 5 AS drives
  FROM telemetry WHERE metric = 'velocity' GROUP BY asset, ten),
turned AS (
  SELECT asset, ten, drives, lag(drives) OVER (PARTITION BY asset ORDER BY ten) AS before
  FROM driven),
sessions AS (
  SELECT asset, drives, ten AS begun,
    lead(ten) OVER (PARTITION BY asset ORDER BY ten) AS ended
  FROM turned WHERE before IS NULL OR drives <> before)
SELECT asset, date_trunc('day', begun) AS day,
  avg(extract(epoch FROM ended) - extract(epoch FROM begun)) AS seconds
FROM sessions WHERE drives AND ended IS NOT NULL GROUP BY asset, day ORDER BY asset, day
