"""What a data scientist asks of the Flight SQL door through ADBC, as JSON on standard output. The argument is its port."""

import datetime
import json
import sys

import adbc_driver_flightsql.dbapi as flight

port, said = sys.argv[1], {}
uri = f"grpc://127.0.0.1:{port}"
ana = {"username": "ana", "password": "s3cret"}

# As it is without more words, a connection begins a transaction.
with flight.connect(uri, db_kwargs=ana) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT metric, count(*) AS n, avg(value) AS mean FROM telemetry GROUP BY 1 ORDER BY 1")
    said["means"] = cursor.fetch_arrow_table().to_pylist()
    begin = datetime.datetime(2023, 11, 14, 22, 15, tzinfo=datetime.timezone.utc)
    asked = "SELECT count(*) FROM telemetry WHERE asset = ? AND event_time >= ? AND value < ?"
    cursor.execute(asked, ("pump-1", begin, 90))
    said["bound"] = cursor.fetchone()[0]
    cursor.execute("SELECT $1 AS it, $2::bigint + 1 AS next", ("'; DROP TABLE x; --", 41))
    said["safe"] = list(cursor.fetchone())
    cursor.execute("SELECT a.value FROM telemetry a, telemetry b, telemetry c")
    said["many"] = sum(batch.num_rows for batch in cursor.fetch_record_batch())
    connection.commit()

with flight.connect(uri, db_kwargs=ana, autocommit=True) as connection:
    with connection.cursor() as cursor:
        said["wrong"] = []
        for wrong in ["SELECT nosuch FROM assets", "DELETE FROM telemetry", "SELECT 1 / 0"]:
            try:
                cursor.execute(wrong)
                cursor.fetchall()
            except flight.Error as error:
                said["wrong"].append(str(error))
    objects = connection.adbc_get_objects(depth="columns").read_all().to_pylist()
    said["tables"] = {
        table["table_name"]: [table["table_type"], [c["column_name"] for c in table["table_columns"]]]
        for catalog in objects
        for schema in catalog["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
    }
    said["schema"] = [[f.name, str(f.type)] for f in connection.adbc_get_table_schema("telemetry")]
    said["types"] = sorted(connection.adbc_get_table_types())
    said["vendor"] = connection.adbc_get_info()["vendor_name"]

try:
    flight.connect(uri, db_kwargs={"username": "ana", "password": "wrong"}).cursor().execute("SELECT 1")
except flight.Error as error:
    said["password"] = str(error)

print(json.dumps(said, default=str))
