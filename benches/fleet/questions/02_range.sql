-- An hour of one tag.
SELECT event_time, value FROM telemetry
WHERE asset = 'north-0001' AND metric = 'velocity'
  AND event_time >= '2026-03-01T08:00:00Z' AND event_time < '2026-03-01T09:00:00Z'
ORDER BY event_time
