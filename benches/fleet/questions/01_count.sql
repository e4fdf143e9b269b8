-- How many points are there?
SELECT count(*) AS points FROM telemetry
