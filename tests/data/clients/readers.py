"""What other engines find in an archive, as JSON on standard output. The argument is its directory."""

import json
import os
import sys

import duckdb
import pyarrow.compute as pc
import pyarrow.dataset as ds

archive = sys.argv[1]
with open(os.path.join(archive, "manifest.json")) as manifest:
    named = json.load(manifest)["manifest"]["files"]
files = [os.path.join(archive, file["path"]) for file in named]
columns = ["asset", "metric", "at", "value", "text", "quality", "device", "epoch"]
said = {}

base = duckdb.connect()
read = f"read_parquet({files!r}, hive_partitioning = true)"
rows = base.execute(
    f"SELECT asset, metric, epoch_us(event_time), value, text, quality, device, epoch "
    f"FROM {read} ORDER BY asset, metric, event_time"
).fetchall()
said["duckdb"] = [dict(zip(columns, row)) for row in rows]
days = base.execute(f"SELECT DISTINCT day FROM {read} ORDER BY day").fetchall()
said["days"] = [str(day) for (day,) in days]

table = ds.dataset(files, format="parquet").to_table()
table = table.append_column("at", pc.cast(table["event_time"], "int64"))
table = table.select(columns).sort_by([("asset", "ascending"), ("metric", "ascending"), ("at", "ascending")])
said["pyarrow"] = table.to_pylist()
json.dump(said, sys.stdout)
