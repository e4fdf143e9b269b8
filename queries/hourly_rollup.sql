-- Hours of a metric of an asset
--
-- Count, mean, least and greatest value of each hour, from the view that is kept up to date.
--
-- param asset string: key of the asset
-- param metric string: name of the metric
-- param from timestamp = null: hours from this one on
-- param to timestamp = null: hours before this time
-- example: asset=WELL-00011 metric=tree_temperature from=2014-05-15T10:00:00Z to=2014-05-16
select window_start, count, mean, min, max, first, last, status
from rollups_1h
where asset = $asset
  and metric = $metric
  and ($from is null or window_start >= date_trunc('hour', $from))
  and ($to is null or window_start < $to)
order by window_start
