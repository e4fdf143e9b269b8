-- Balance of two meters
--
-- What goes in less what comes out, in steps: the means weighted by time of a meter upstream and
-- one downstream, and their difference. A difference that stays is a leak, a branch or a meter
-- that drifts. Steps that only one of the meters knows have no balance.
--
-- param inlet string: key of the asset upstream
-- param outlet string: key of the asset downstream, or the same
-- param inlet_metric string: name of the metric of what goes in
-- param outlet_metric string: name of the metric of what comes out
-- param from timestamp = -1d: from this time on
-- param to timestamp = now: before this time
-- param step duration = 5m: width of a step
-- example: inlet=WELL-00003 inlet_metric=tree_pressure
-- example: outlet=WELL-00003 outlet_metric=choke_upstream_pressure
-- example: from=2018-02-06T18:00:00Z to=2018-02-06T20:00:00Z
with flow as (
    select time_bucket($step, event_time) as step_start, event_time, value,
           asset = $inlet and metric = $inlet_metric as goes_in,
           asset = $outlet and metric = $outlet_metric as comes_out
    from telemetry
    where asset in ($inlet, $outlet) and metric in ($inlet_metric, $outlet_metric)
      and event_time >= $from and event_time < $to
),
means as (
    select step_start,
           time_weighted_avg(event_time, value, step_start, step_start + $step)
               filter (where goes_in) as inflow,
           time_weighted_avg(event_time, value, step_start, step_start + $step)
               filter (where comes_out) as outflow
    from flow
    where goes_in or comes_out
    group by step_start
)
select step_start, inflow, outflow, inflow - outflow as balance,
       (inflow - outflow) / nullif(inflow, 0) as share
from means
order by step_start
