-- Flow of a metric, in steps
--
-- For each step with points the mean weighted by time, the least and the greatest value, and the
-- total: what has flowed when the mean held for the whole step. A value holds until the next one.
--
-- param asset string: key of the asset
-- param metric string: name of the metric, a flow
-- param from timestamp = -1d: from this time on
-- param to timestamp = now: before this time
-- param step duration = 1h: width of a step
-- param per duration = 1h: the time in the unit of the flow, 1h for m3/h, 1s for L/s
-- example: asset=WELL-00003 metric=choke_upstream_pressure from=2018-02-06 to=2018-02-07
with flow as (
    select event_time, value, time_bucket($step, event_time) as step_start
    from telemetry
    where asset = $asset and metric = $metric and event_time >= $from and event_time < $to
)
select step_start,
       time_weighted_avg(event_time, value, step_start, step_start + $step) as mean,
       time_weighted_avg(event_time, value, step_start, step_start + $step)
           * date_part('epoch', $step) / date_part('epoch', $per) as total,
       min(value) as min, max(value) as max, count(value) as points
from flow
group by step_start
order by step_start
