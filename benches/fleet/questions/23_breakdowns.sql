-- How often do the trucks of each fleet break down?
WITH seen AS (
  SELECT asset, time_bucket(INTERVAL '10 minutes', event_time) AS ten,
    avg(CASE WHEN value > 0 THEN 1.0 ELSE 0.0 END) >= 0.5 AS broken
  FROM telemetry WHERE metric = 'status' GROUP BY asset, ten),
turned AS (
  SELECT asset, broken, lead(broken) OVER (PARTITION BY asset ORDER BY ten) AS next FROM seen)
SELECT split_part(asset, '-', 1) AS fleet, count(*) AS breakdowns
FROM turned WHERE NOT broken AND next GROUP BY fleet ORDER BY fleet
