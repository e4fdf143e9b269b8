"""What other engines find in an archive, as JSON on standard output.

The arguments are its directory and, when there is one, that of the store behind it.
"""

import json
import os
import sys

import duckdb
import pyarrow.compute as pc
import pyarrow.dataset as ds

archive = sys.argv[1]
with open(os.path.join(archive, "manifest.json")) as manifest:
    known = json.load(manifest)["manifest"]
places = {"local": archive}
if len(sys.argv) > 2:
    places["store"] = os.path.join(sys.argv[2], known["store"]["id"])
files = [os.path.join(places[file.get("place", "local")], file["path"]) for file in known["files"]]
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
