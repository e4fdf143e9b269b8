-- Points that are late, uncertain or bad
--
-- For each metric of each asset: all points of a time range, those that came behind a newer one,
-- and those whose quality is uncertain (from 0x40000000 on) or bad (from 0x80000000 on).
--
-- param asset string = null: only this asset
-- param from timestamp = null: from this time on
-- param to timestamp = null: before this time
-- example: asset=WELL-00003
with arrived as (
    select asset, metric, event_time, quality,
           max(event_time) over (
               partition by asset, metric order by epoch
               range between unbounded preceding and 1 preceding
           ) as newest_before
    from telemetry
    where ($asset is null or asset = $asset)
      and ($from is null or event_time >= $from)
      and ($to is null or event_time < $to)
)
select asset, metric, count(*) as points,
       count(*) filter (where event_time < newest_before) as late,
       count(*) filter (where quality >= 1073741824 and quality < 2147483648) as uncertain,
       count(*) filter (where quality >= 2147483648) as bad
from arrived
group by asset, metric
order by bad desc, uncertain desc, late desc, asset, metric
