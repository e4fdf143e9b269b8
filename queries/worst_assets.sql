-- Worst assets by health
--
-- The lowest scores now, with what took the points away and the thresholds that are raised.
--
-- param count integer = 10: how many assets
-- param asset_type string = null: only assets of this type
-- example: count=3 asset_type=oil_well
with raised as (
    select asset, count(*) as thresholds
    from threshold_states
    where level <> 'normal'
    group by asset
)
select h.asset, h.asset_type, h.score, h.band, coalesce(r.thresholds, 0) as raised_thresholds,
       h.contributions, h.event_time
from asset_health h
left join raised r on r.asset = h.asset
where h.score is not null and ($asset_type is null or h.asset_type = $asset_type)
order by h.score, h.asset
limit $count
