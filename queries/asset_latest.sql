-- Latest values of an asset
--
-- The newest point of each of its metrics, with unit and quality, as the live view has it.
--
-- param asset string: key of the asset
-- example: asset=WELL-00011
select metric, event_time, value, text, unit, quality
from asset_metrics
where asset = $asset
order by metric
