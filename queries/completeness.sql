-- Completeness of a metric
--
-- For each step of a time range, with points or without: how many points came, how many should
-- have come, and the share. The newest value stands in the steps without points too.
--
-- param asset string: key of the asset
-- param metric string: name of the metric
-- param every duration = 1s: how often a point should come
-- param from timestamp = -1d: from this time on
-- param to timestamp = now: before this time
-- param step duration = 1h: width of a step
-- example: asset=WELL-00011 metric=tree_pressure step=30m
-- example: from=2014-05-15T08:00:00Z to=2014-05-15T16:00:00Z
select time_bucket_gapfill($step, event_time, $from, $to) as step_start,
       coalesce(count(*), 0) as seen,
       date_part('epoch', $step) / date_part('epoch', $every) as expected,
       coalesce(count(*), 0) * date_part('epoch', $every) / date_part('epoch', $step) as share,
       locf(last(value, event_time)) as newest_value
from telemetry
where asset = $asset and metric = $metric and event_time >= $from and event_time < $to
group by step_start
order by step_start
