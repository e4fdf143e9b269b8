-- Alarm floods
--
-- Spans of ten minutes in which more thresholds were raised than an operator can handle: ten, by
-- EEMUA 191. Counts each level of each rule of each asset.
--
-- param from timestamp = null: from this time on
-- param to timestamp = null: before this time
-- param span duration = 10m: width of a span
-- param least integer = 10: only from so many on
-- example: from=2014-05-15 to=2014-05-16 span=1h least=2
select time_bucket($span, raised) as span_start, count(*) as raised,
       count(*) filter (where level = 'critical') as critical, count(distinct asset) as assets,
       first(asset, raised) as first_asset, first(rule, raised) as first_rule
from threshold_occurrences
where raised is not null and ($from is null or raised >= $from) and ($to is null or raised < $to)
group by span_start
having count(*) >= $least
order by span_start
