-- Which trucks drove for four hours with less than twenty minutes of rest?
SELECT asset, count(*) AS windows FROM (
  SELECT asset, time_bucket(INTERVAL '10 minutes', event_time) AS ten, avg(value) AS velocity
  FROM telemetry WHERE metric = 'velocity'
    AND event_time >= '2026-03-01T06:00:00Z' AND event_time < '2026-03-01T10:00:00Z'
  GROUP BY asset, ten) AS driven
WHERE velocity > 1 GROUP BY asset HAVING count(*) > 22 ORDER BY asset
