-- Where is each truck?
SELECT asset, arg_max(value, event_time) FILTER (WHERE metric = 'latitude') AS latitude,
  arg_max(value, event_time) FILTER (WHERE metric = 'longitude') AS longitude
FROM telemetry WHERE metric IN ('latitude', 'longitude') GROUP BY asset ORDER BY asset
-- live
SELECT asset, max(value) FILTER (WHERE metric = 'latitude') AS latitude,
  max(value) FILTER (WHERE metric = 'longitude') AS longitude
FROM asset_metrics WHERE metric IN ('latitude', 'longitude') GROUP BY asset ORDER BY asset
