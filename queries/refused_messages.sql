-- Refused messages by reason
--
-- What the doors did not take, by source, device and reason: how much, and the newest of each. The
-- view dead_letters has the bytes.
--
-- param from timestamp = null: received from this time on
-- param device string = null: only this device
-- example: from=-1h
select source, device, reason, count(*) as messages, max(received_at) as newest,
       last_value(detail order by received_at) as newest_detail
from dead_letters
where ($from is null or received_at >= $from) and ($device is null or device = $device)
group by source, device, reason
order by messages desc, source, device, reason
