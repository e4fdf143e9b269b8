-- Time in a state
--
-- For how long a metric of each asset was at a state, and the share of the time from its first
-- point to its last. A state holds until the next point; that of a number is its text.
--
-- param metric string: name of the metric
-- param state string: the state, like running or 1.0
-- param asset string = null: only this asset
-- param from timestamp = -1d: from this time on
-- param to timestamp = now: before this time
-- example: metric=downhole_pressure state=0.0 from=2014-05-15 to=2014-05-16
with states as (
    select asset, event_time, coalesce(text, cast(value as varchar)) as state
    from telemetry
    where metric = $metric and ($asset is null or asset = $asset)
      and event_time >= $from and event_time < $to
)
select asset, state_time(state, event_time, $state) as seconds,
       state_time(state, event_time, $state)
           / nullif(date_part('epoch', max(event_time)) - date_part('epoch', min(event_time)), 0)
           as share,
       last(state, event_time) as now, max(event_time) as newest
from states
group by asset
order by seconds desc, asset
