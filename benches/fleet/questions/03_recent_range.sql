-- The last minutes of one tag.
SELECT event_time, value FROM telemetry
WHERE asset = 'north-0001' AND metric = 'velocity'
  AND event_time >= (SELECT max(event_time) - INTERVAL '10 minutes' FROM telemetry
                     WHERE asset = 'north-0001' AND metric = 'velocity')
ORDER BY event_time
-- live
SELECT event_time, value FROM telemetry
WHERE asset = 'north-0001' AND metric = 'velocity'
  AND event_time >= (SELECT event_time - INTERVAL '10 minutes' FROM asset_metrics
                     WHERE asset = 'north-0001' AND metric = 'velocity')
ORDER BY event_time
