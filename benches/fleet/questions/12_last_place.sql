-- Where is this truck?
SELECT metric, arg_max(value, event_time) AS value FROM telemetry
WHERE asset = 'north-0001' AND metric IN ('latitude', 'longitude') GROUP BY metric ORDER BY metric
-- live
SELECT metric, value FROM asset_metrics
WHERE asset = 'north-0001' AND metric IN ('latitude', 'longitude') ORDER BY metric
