-- Which trucks carry more than nine tenths of what they may?
SELECT asset, load / capacity AS part FROM (SELECT asset,
    arg_max(value, event_time) FILTER (WHERE metric = 'load') AS load,
    arg_max(value, event_time) FILTER (WHERE metric = 'load_capacity') AS capacity
  FROM telemetry WHERE metric IN ('load', 'load_capacity') GROUP BY asset) AS newest
WHERE load / capacity > 0.9 ORDER BY asset
-- live
SELECT asset, load / capacity AS part FROM (SELECT asset,
    max(value) FILTER (WHERE metric = 'load') AS load,
    max(value) FILTER (WHERE metric = 'load_capacity') AS capacity
  FROM asset_metrics WHERE metric IN ('load', 'load_capacity') GROUP BY asset) AS newest
WHERE load / capacity > 0.9 ORDER BY asset
