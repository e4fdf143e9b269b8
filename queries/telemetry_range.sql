-- Telemetry of a metric, in steps
--
-- What was measured in a time range, downsampled: for each step with points the count, the mean
-- and the range. Asks the history, so it goes back to the first point.
--
-- param asset string: key of the asset
-- param metric string: name of the metric
-- param from timestamp = -1h: from this time on
-- param to timestamp = now: before this time
-- param step duration = 1m: width of a step
-- example: asset=WELL-00011 metric=tree_pressure step=10m
-- example: from=2014-05-15T11:00:00Z to=2014-05-15T13:00:00Z
select date_bin($step, event_time) as step_start, count(*) as points, avg(value) as mean,
       min(value) as min, max(value) as max
from telemetry
where asset = $asset and metric = $metric and event_time >= $from and event_time < $to
group by step_start
order by step_start
