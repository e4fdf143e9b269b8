-- How full are the trucks of each fleet?
SELECT split_part(l.asset, '-', 1) AS fleet, avg(l.value / c.value) AS part
FROM telemetry l JOIN telemetry c ON c.asset = l.asset AND c.event_time = l.event_time
WHERE l.metric = 'load' AND c.metric = 'load_capacity' GROUP BY fleet ORDER BY fleet
