-- Which trucks have less than a tenth of their fuel left?
SELECT asset, fuel FROM (SELECT asset, arg_max(value, event_time) AS fuel FROM telemetry
  WHERE metric = 'fuel_state' GROUP BY asset) AS newest
WHERE fuel < 0.1 ORDER BY asset
-- live
SELECT asset, value AS fuel FROM asset_metrics
WHERE metric = 'fuel_state' AND value < 0.1 ORDER BY asset
