-- Which trucks stood still for ten minutes?
SELECT asset, avg(value) AS velocity FROM telemetry
WHERE metric = 'velocity'
  AND event_time >= '2026-03-01T10:00:00Z' AND event_time < '2026-03-01T10:10:00Z'
GROUP BY asset HAVING avg(value) < 1 ORDER BY asset
