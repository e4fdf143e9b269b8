"""Asks DuckDB what Millstream is asked, on the same Parquet files.

Reads {"files", "threads", "runs", "questions": [[name, sql], ...]} and writes for each question
{"name", "seconds": [...], "rows": [[...], ...]}: the times of the runs, and the rows as text.
"""

import json
import sys
import time

import duckdb

asked = json.load(sys.stdin)
base = duckdb.connect()
base.execute(f"SET threads = {asked['threads']}")
base.execute("SET TimeZone = 'UTC'")
files = ", ".join("'" + path.replace("'", "''") + "'" for path in asked["files"])
base.execute(f"CREATE VIEW telemetry AS SELECT * FROM read_parquet([{files}], hive_partitioning = false)")


def text(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{float(value):.6g}"
    return str(value)[:19].replace("T", " ")


for name, sql in asked["questions"]:
    seconds = []
    for _ in range(asked["runs"]):
        begun = time.perf_counter()
        answer = base.sql(sql).to_arrow_table()
        seconds.append(time.perf_counter() - begun)
    rows = zip(*(column.to_pylist() for column in answer.columns))
    rows = [[text(value) for value in row] for row in rows]
    print(json.dumps({"name": name, "seconds": seconds, "rows": rows}), flush=True)
