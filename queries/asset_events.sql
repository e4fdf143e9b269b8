-- Events of an asset
--
-- What happened in a time range, the newest first.
--
-- param asset string: key of the asset
-- param from timestamp = null: from this time on
-- param to timestamp = null: before this time
-- param suppressed bool = false: also those that came within the cooldown of another
-- example: asset=WELL-00011 from=2014-05-15 to=2014-05-16
select event_time, severity, event_type, rule, message, suppressed
from events
where asset = $asset
  and ($from is null or event_time >= $from)
  and ($to is null or event_time < $to)
  and ($suppressed or not suppressed)
order by event_time desc, rule
