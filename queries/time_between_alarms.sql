-- Mean time between alarms
--
-- For each rule of each asset: how often a level was raised in a time range, the mean time from
-- one to the next, and how long one lasted. What is still raised has no length yet.
--
-- param asset string = null: only this asset
-- param from timestamp = null: from this time on
-- param to timestamp = null: before this time
-- example: from=2014-05-15 to=2014-05-16
select asset, rule, level, count(*) as raised,
       (date_part('epoch', max(raised)) - date_part('epoch', min(raised)))
           / nullif(count(*) - 1, 0) as mean_between_s,
       avg(date_part('epoch', cleared) - date_part('epoch', raised)) as mean_length_s,
       max(raised) as newest
from threshold_occurrences
where raised is not null and ($asset is null or asset = $asset)
  and ($from is null or raised >= $from) and ($to is null or raised < $to)
group by asset, rule, level
order by raised desc, asset, rule, level
