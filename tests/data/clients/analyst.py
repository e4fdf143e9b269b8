"""What an analyst's tools ask of the PostgreSQL door, as JSON on standard output. The argument is its port."""

import datetime
import json
import sys

import psycopg
import sqlalchemy as sa

port = int(sys.argv[1])
said = {}

with psycopg.connect(host="127.0.0.1", port=port, user="ana", autocommit=True) as connection:
    begin = datetime.datetime(2023, 11, 14, 22, 15, tzinfo=datetime.timezone.utc)
    mean = "SELECT avg(value) AS mean FROM telemetry WHERE asset = %s AND event_time >= %s AND value < %s"
    said["mean"] = connection.execute(mean, ("pump-1", begin, 90)).fetchone()[0]
    some = "SELECT key FROM assets WHERE key = ANY(%s) ORDER BY key"
    said["some"] = [key for (key,) in connection.execute(some, (["pump-1", "pump-2"],))]
    binary = connection.cursor(binary=True)
    binary.execute("SELECT value, event_time FROM telemetry ORDER BY event_time LIMIT 1")
    value, time = binary.fetchone()
    said["first"] = [value, time.timestamp()]
    try:
        connection.execute("SELECT nosuch FROM assets")
    except psycopg.errors.UndefinedColumn as error:
        said["wrong"] = error.diag.message_hint
    with connection.transaction(), connection.transaction():
        said["nested"] = connection.execute("SELECT 1").fetchone()[0]
    with connection.transaction(), connection.cursor(name="some") as cursor:
        cursor.itersize = 7
        cursor.execute("SELECT value FROM telemetry WHERE value > %s ORDER BY value", (45,))
        said["named"] = [value for (value,) in cursor]
    with connection.cursor().copy("COPY (SELECT key, 1 FROM assets ORDER BY key) TO STDOUT CSV") as copy:
        said["copied"] = b"".join(bytes(part) for part in copy).decode()

engine = sa.create_engine(f"postgresql+psycopg://ana@127.0.0.1:{port}/millstream")
inspector = sa.inspect(engine)
said["schemas"] = sorted(inspector.get_schema_names())
said["tables"] = inspector.get_table_names()
said["views"] = sorted(inspector.get_view_names())
columns = inspector.get_columns("telemetry")
said["columns"] = [[c["name"], str(c["type"]), c["nullable"]] for c in columns]
said["keys"] = [
    inspector.get_pk_constraint("telemetry")["constrained_columns"],
    inspector.get_foreign_keys("telemetry"),
    inspector.get_indexes("telemetry"),
    inspector.get_unique_constraints("telemetry"),
    inspector.get_check_constraints("telemetry"),
]
telemetry = sa.Table("telemetry", sa.MetaData(), autoload_with=engine)
mean = sa.func.avg(telemetry.c.value)
asked = sa.select(telemetry.c.asset, mean).group_by(telemetry.c.asset).order_by(telemetry.c.asset)
with engine.connect() as connection:
    said["means"] = [list(row) for row in connection.execute(asked.where(telemetry.c.value > 50.0))]
    frames = sa.text("SELECT count(*) FROM telemetry WHERE value > :least")
    said["bound"] = connection.execute(frames, {"least": 50.0}).scalar()

print(json.dumps(said))
