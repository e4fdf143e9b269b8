-- Consumption by day
--
-- How far a counter went on each day of a time zone: energy, volume, running hours. A value lower
-- than the one before means that the counter began at zero again. What was counted between two
-- points belongs to the day of the later one.
--
-- param metric string: name of the metric, a counter
-- param asset string = null: only this asset
-- param from timestamp = -30d: from this time on
-- param to timestamp = now: before this time
-- param zone string = UTC: time zone of the days, like Europe/Berlin
-- example: metric=tree_temperature asset=WELL-00011 from=2014-05-15 to=2014-05-17
-- example: zone=America/Sao_Paulo
with readings as (
    select asset, event_time, value,
           lag(value) over (partition by asset order by event_time) as before
    from telemetry
    where metric = $metric and ($asset is null or asset = $asset) and value is not null
      and event_time >= $from and event_time < $to
)
select asset, time_bucket('1 day', event_time, $zone) as day,
       sum(case when value < before then value else value - before end) as consumed,
       count(*) filter (where value < before) as resets,
       last(value, event_time) as reading
from readings
group by asset, day
order by asset, day
