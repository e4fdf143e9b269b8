-- For how many hours of a day are the trucks of each fleet in order?
SELECT fleet, day, count(*) / 6.0 AS hours FROM (
  SELECT split_part(asset, '-', 1) AS fleet, asset, date_trunc('day', event_time) AS day,
    time_bucket(INTERVAL '10 minutes', event_time) AS ten, avg(value) AS status
  FROM telemetry WHERE metric = 'status' GROUP BY fleet, asset, day, ten) AS seen
WHERE status < 1 GROUP BY fleet, day ORDER BY fleet, day
