-- What does each fleet use while it drives, and what should it?
SELECT split_part(v.asset, '-', 1) AS fleet, avg(c.value) AS used, avg(n.value) AS nominal
FROM telemetry v
JOIN telemetry c ON c.asset = v.asset AND c.event_time = v.event_time
JOIN telemetry n ON n.asset = v.asset AND n.event_time = v.event_time
WHERE v.metric = 'velocity' AND c.metric = 'fuel_consumption'
  AND n.metric = 'nominal_consumption' AND v.value > 1
GROUP BY fleet ORDER BY fleet
