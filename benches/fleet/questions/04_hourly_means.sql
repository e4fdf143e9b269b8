-- The mean of every tag in every hour.
SELECT asset, metric, date_trunc('hour', event_time) AS hour, avg(value) AS mean FROM telemetry
GROUP BY asset, metric, hour ORDER BY asset, metric, hour
