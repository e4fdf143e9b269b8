-- Worst assets of a week
--
-- By the time that thresholds were raised in the week, critical first. What is still raised counts
-- up to the asset's newest point; rules that were raised at the same time count each.
--
-- param from timestamp = -7d: from this time on
-- param to timestamp = now: up to this time
-- param count integer = 10: how many assets
-- example: from=2014-05-12 to=2014-05-19
with newest as (
    select asset, max(event_time) as event_time
    from asset_metrics
    group by asset
),
stays as (
    select o.asset, o.rule, o.level,
           date_part('epoch', least(coalesce(o.cleared, n.event_time), $to))
               - date_part('epoch', greatest(o.raised, $from)) as seconds
    from threshold_occurrences o
    join newest n on n.asset = o.asset
    where o.raised is not null
)
select asset, coalesce(sum(seconds) filter (where level = 'critical'), 0) as critical_s,
       coalesce(sum(seconds) filter (where level = 'warning'), 0) as warning_s,
       count(*) as stays, count(distinct rule) as rules
from stays
where seconds > 0
group by asset
order by critical_s desc, warning_s desc, asset
limit $count
