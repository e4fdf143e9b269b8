//! Points into TimescaleDB: the sink, which catches up from the archive's files, beside a plain
//! `COPY` of the same rows into a hypertable of the same form, one after the other.
//!
//! `MILLSTREAM_TEST_DATABASE_URL` is the server, as `tests/timescale start` prints it; the workload is
//! that of `street`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

#[path = "support/workload.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod workload;

use bytes::Bytes;
use futures::{SinkExt, StreamExt, pin_mut};
use millstream::app::{Runtime, Settings};
use millstream::historian::timescale;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Config, NoTls};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Between two looks at how far the sink is.
const NAP: Duration = Duration::from_millis(5);

fn main() {
    let Ok(server) = std::env::var("MILLSTREAM_TEST_DATABASE_URL") else {
        println!("set MILLSTREAM_TEST_DATABASE_URL to what `tests/timescale start` prints");
        return;
    };
    let name = format!("bench_{}", std::process::id());
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let client = tokio.block_on(connect(&server, "postgres"));
    tokio.block_on(client.batch_execute(&format!("CREATE DATABASE {name}"))).unwrap();
    let directory = tempfile::tempdir().unwrap();
    ingest(directory.path());
    let url = format!("{server}/{name}");
    let (points, views) = sink(directory.path(), &url);
    let (rows, copy) = tokio.block_on(async { copy(&connect(&server, &name).await).await });
    let rate = |time: Duration| rows as f64 / time.as_secs_f64();
    let of_copy = rate(points) / rate(copy);
    println!("{rows} points");
    println!("COPY            {:9.0} points/s", rate(copy));
    println!("sink            {:9.0} points/s, {of_copy:.2} of COPY", rate(points));
    println!("with all views  {:9.0} points/s", rate(views));
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    tokio.block_on(client.batch_execute(&drop)).unwrap();
}

/// Ingests the workload without a database, and stops: all of it is in files.
fn ingest(data: &Path) {
    let batches = workload::batches();
    let runtime = workload::open(data);
    runtime.publish(workload::devices(&batches)).unwrap();
    let answers: Vec<_> =
        batches.into_iter().map(|batch| workload::submit(&runtime, batch)).collect();
    for answer in answers {
        answer.blocking_recv().unwrap().unwrap();
    }
    runtime.settle().unwrap();
    runtime.close().unwrap();
}

/// How long it takes until all points are in the database, and until all views are there too.
fn sink(data: &Path, url: &str) -> (Duration, Duration) {
    let database = Some(timescale::Settings::parse(url, None).unwrap());
    let runtime = Runtime::open(&Settings { database, ..Settings::new(data) }).unwrap();
    let sink = runtime.database.as_ref().unwrap();
    let last = runtime.historian.epoch();
    while sink.report().state != timescale::State::Following {
        std::thread::sleep(NAP);
    }
    let begun = Instant::now();
    let mut points = None;
    while sink.report().epoch < last {
        if sink.durable_epoch() >= Some(last) {
            points.get_or_insert_with(|| begun.elapsed());
        }
        assert_eq!(sink.report().last_error, "");
        std::thread::sleep(NAP);
    }
    let views = begun.elapsed();
    runtime.close().unwrap();
    (points.unwrap_or(views), views)
}

/// How many points there are, and how long a copy of them takes.
async fn copy(client: &Client) -> (u64, Duration) {
    let like = "CREATE TABLE copied (LIKE telemetry_history INCLUDING ALL);
        SELECT create_hypertable('copied', by_range('time', INTERVAL '7 days'), create_default_indexes => false)";
    client.batch_execute(like).await.unwrap();
    let rows = "COPY (SELECT * FROM telemetry_history ORDER BY entity_id, metric_key, time) TO STDOUT BINARY";
    let rows = client.copy_out(rows).await.unwrap();
    let rows: Vec<Bytes> = rows.map(Result::unwrap).collect().await;
    let begun = Instant::now();
    let to = client.copy_in::<_, Bytes>("COPY copied FROM STDIN BINARY").await.unwrap();
    pin_mut!(to);
    for row in rows {
        to.feed(row).await.unwrap();
    }
    let rows = to.finish().await.unwrap();
    (rows, begun.elapsed())
}

async fn connect(server: &str, name: &str) -> Client {
    let mut config: Config = server.parse().unwrap();
    let (client, connection) = config.dbname(name).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
