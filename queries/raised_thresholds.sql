-- Thresholds that are raised now
--
-- Each rule of each asset that is not at its normal level: the worst level first, then the oldest.
-- `for_s` is how long, up to the asset's newest point.
--
-- param asset string = null: only this asset
-- param level string = null: only this level, warning or critical
-- example: level=critical
with newest as (
    select asset, max(event_time) as event_time
    from asset_metrics
    group by asset
)
select s.level, s.asset, s.rule, s.since,
       date_part('epoch', n.event_time) - date_part('epoch', s.since) as for_s, s.transitions
from threshold_states s
join newest n on n.asset = s.asset
where s.level <> 'normal'
  and ($asset is null or s.asset = $asset)
  and ($level is null or s.level = $level)
order by s.level, s.since, s.asset, s.rule
