-- For how many hours of a day does each truck drive?
SELECT asset, day, count(*) / 6.0 AS hours FROM (
  SELECT asset, date_trunc('day', event_time) AS day,
    time_bucket(INTERVAL '10 minutes', event_time) AS ten, avg(value) AS velocity
  FROM telemetry WHERE metric = 'velocity' GROUP BY asset, day, ten) AS driven
WHERE velocity > 1 GROUP BY asset, day ORDER BY asset, day
