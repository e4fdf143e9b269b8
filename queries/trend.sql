-- Trend of a metric, in few points
--
-- The points that make a line look most like the line through all of them (LTTB): real points, not
-- means, so that peaks stay.
--
-- param asset string: key of the asset
-- param metric string: name of the metric
-- param from timestamp = -1d: from this time on
-- param to timestamp = now: before this time
-- param points integer = 500: how many points at the most, 3 to 10000
-- example: asset=WELL-00011 metric=tree_temperature from=2014-05-15 to=2014-05-16 points=50
with line as (
    select unnest(lttb(event_time, value, $points)) as point
    from telemetry
    where asset = $asset and metric = $metric and event_time >= $from and event_time < $to
)
select point['time'] as event_time, point['value'] as value
from line
order by event_time
