-- Time at each threshold level
--
-- How often each rule was raised in a time range, and for how long altogether. What is still
-- raised counts up to the asset's newest point. While critical, a rule is at warning too.
--
-- param asset string = null: only this asset
-- param from timestamp = null: from this time on
-- param to timestamp = null: up to this time
-- example: asset=WELL-00011 from=2014-05-15 to=2014-05-16
with newest as (
    select asset, max(event_time) as event_time
    from asset_metrics
    group by asset
),
stays as (
    select o.asset, o.rule, o.level, greatest(o.raised, $from) as begun,
           least(coalesce(o.cleared, n.event_time), $to) as ended
    from threshold_occurrences o
    join newest n on n.asset = o.asset
    where o.raised is not null and ($asset is null or o.asset = $asset)
)
select asset, rule, level, count(*) as stays,
       sum(date_part('epoch', ended) - date_part('epoch', begun)) as seconds
from stays
where ended > begun
group by asset, rule, level
order by asset, seconds desc, rule, level
