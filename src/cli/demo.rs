//! The demo: real oil wells fail, on the loopback address, without anything to install.

use super::args::{Common, DemoArgs};
use super::print::Patient;
use super::replay::usual_tick;
use super::run::Outcome;
use super::serve;
use super::summary::Summary;
use crate::app::{self, Feed, Runtime};
use crate::ingest::file::{Replay, Settings};
use crate::model::Kind;
use crate::replay::Speed;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Recorded seconds a second: twelve minutes for the 23 hours of the recording.
const SPEED: Speed = Speed::Times(120.0);

/// The recordings, compiled in, so that the program needs no files beside it.
const RECORDINGS: [(&str, &[u8]); 2] = [
    (
        "3w_class2_spurious_closure_of_dhsv.parquet",
        include_bytes!("../../recordings/3w/3w_class2_spurious_closure_of_dhsv.parquet"),
    ),
    (
        "3w_class6_quick_restriction_in_pck.parquet",
        include_bytes!("../../recordings/3w/3w_class6_quick_restriction_in_pck.parquet"),
    ),
];

/// The documents for it, for when there is no folder of documents.
const DOCUMENTS: [(Kind, &str, &str); 2] = [
    (Kind::AssetTypes, "oil_well.yaml", include_str!("../../dataflows/asset_types/oil_well.yaml")),
    (
        Kind::DeviceTypes,
        "well_gauges.yaml",
        include_str!("../../dataflows/device_types/well_gauges.yaml"),
    ),
];

/// Replays the recording; then keeps the doors open, or with `--once` ends.
pub async fn run(common: &Common, args: &DemoArgs) -> anyhow::Result<Outcome> {
    let data = directory(common)?;
    let speed = args.speed.unwrap_or(SPEED);
    let runtime = Arc::new(serve::open(common, common.settings(data.clone(), false)).await?);
    if common.folder()?.is_none() {
        let shared = Arc::clone(&runtime);
        tokio::task::spawn_blocking(move || app::publish_built_in(&shared, &DOCUMENTS)).await??;
    }
    let doors = serve::open_doors(common, &runtime, common.listen(), &data).await?;
    let address = doors.address;
    let files = recordings(&data)?;
    say!("Replaying real oil wells (Petrobras 3W, CC BY 4.0) at {speed} into {}", data.display());
    say!("Doors: http://{address}   docs: http://{address}/docs");
    let program = std::env::args().next().unwrap_or_else(|| "millstream".into());
    say!("Try:   curl -N 'http://{address}/api/v1/views/asset_health/changes'");
    say!(
        "       {program} sql --data {} \"select asset, metric, count(*) as points, avg(value) as mean from telemetry group by 1, 2 order by 1, 2\"",
        data.display()
    );
    let files_settings = Settings { span: usual_tick(speed), ..Settings::default() };
    let replay = tokio::task::spawn_blocking(move || Replay::open(&files, &files_settings));
    let (replay, feed) = (replay.await??, Feed::new(&runtime));
    let summary = Summary::start(&runtime, feed.progress());
    let (begun, shared) = (Instant::now(), Arc::clone(&runtime));
    let fed = tokio::task::spawn_blocking(move || {
        feed.run(replay, speed)?;
        shared.settle()
    });
    let stopped = tokio::select! {
        fed = fed => { fed??; false }
        () = serve::until_stopped(&runtime, serve::signalled()) => true,
    };
    summary.finish(begun.elapsed()).await;
    let mut outcome = Outcome::Done;
    if args.once {
        if !report(&runtime).await? {
            outcome = Outcome::Differs;
        }
    } else if !stopped {
        say!("The recording is over. The doors stay open; Ctrl-C ends.");
        serve::until_stopped(&runtime, serve::signalled()).await;
    }
    runtime.shutdown.trigger();
    doors.close().await?;
    serve::close(runtime).await?;
    Ok(outcome)
}

/// The demo's own directory, made anew: a recording that is there already would change nothing.
/// A directory that was named is taken as it is.
fn directory(common: &Common) -> anyhow::Result<PathBuf> {
    if let Some(data) = &common.data {
        return Ok(data.clone());
    }
    let data = common.data().join("demo");
    if data.exists() {
        drop(crate::base::lock::DirectoryLock::acquire(&data)?);
        std::fs::remove_dir_all(&data).with_context(|| format!("clear {}", data.display()))?;
    }
    Ok(data)
}

/// The recordings as files.
fn recordings(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = data.join("recordings");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut paths = Vec::new();
    for (name, bytes) in RECORDINGS {
        let path = folder.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// Prints the events and verifies the views; whether all are equal.
async fn report(runtime: &Runtime) -> anyhow::Result<bool> {
    let events = "select event_time, asset, event_type, severity, message from events \
                  where not suppressed order by event_time limit 40";
    say!("Events:");
    let answer = runtime.query.sql(events).await?;
    crate::query::render(answer, crate::query::Form::Table, Patient(std::io::stdout())).await?;
    let report = runtime.verify().await?;
    say!("{}", report.to_string().trim_end());
    Ok(report.is_equal())
}
