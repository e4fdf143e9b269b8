-- Downtime of assets
--
-- How often and for how long each asset was silent in a time range: no point of any metric for
-- longer than usual. The silence before the first point of the range and that behind the last one
-- count too.
--
-- param silence duration = 10m: what is longer is a downtime
-- param asset string = null: only this asset
-- param from timestamp = -7d: from this time on
-- param to timestamp = now: up to this time
-- example: asset=WELL-00011 silence=1h from=2014-05-15T12:00:00Z to=2014-06-01
with times as (
    select asset, event_time
    from telemetry
    where ($asset is null or asset = $asset) and event_time >= $from and event_time < $to
    union
    select asset, $from
    from asset_metrics
    where $asset is null or asset = $asset
),
gaps as (
    select asset, event_time,
           lead(event_time, 1, $to) over (partition by asset order by event_time) as next_time
    from times
)
select asset, count(*) filter (where next_time > event_time + $silence) as silences,
       coalesce(sum(date_part('epoch', next_time) - date_part('epoch', event_time))
           filter (where next_time > event_time + $silence), 0) as silent_s,
       max(date_part('epoch', next_time) - date_part('epoch', event_time)) as longest_s,
       max(event_time) filter (where event_time > $from) as newest
from gaps
group by asset
order by silent_s desc, asset
