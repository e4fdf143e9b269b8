-- Which trucks drove for more than ten hours of a day?
SELECT asset, day, count(*) AS windows FROM (
  SELECT asset, date_trunc('day', event_time) AS day,
    time_bucket(INTERVAL '10 minutes', event_time) AS ten, avg(value) AS velocity
  FROM telemetry WHERE metric = 'velocity' GROUP BY asset, day, ten) AS driven
WHERE velocity > 1 GROUP BY asset, day HAVING count(*) > 60 ORDER BY asset, day
