//! `replay`: recordings through the engine, with exports and a verification.

use super::args::{Common, Every, ReplayArgs};
use super::run::Outcome;
use super::summary::Summary;
use super::{export, serve};
use crate::app::Feed;
use crate::ingest::file::{Replay, Settings};
use crate::model::Duration;
use crate::replay::Speed;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Replays files; with `--listen` the doors are open meanwhile.
pub async fn run(common: &Common, args: &ReplayArgs) -> anyhow::Result<Outcome> {
    let (data, temporary) = directory(common)?;
    // Nobody starts from a directory that goes at the end.
    let every = if temporary.is_some() { Every::Off } else { common.checkpoint_every };
    let common = Common { checkpoint_every: every, ..common.clone() };
    let outcome = replay(&common, args, &data).await;
    if let Some(folder) = temporary {
        // What was replayed is in the files it came from.
        let _ = std::fs::remove_dir_all(folder);
    }
    outcome
}

async fn replay(common: &Common, args: &ReplayArgs, data: &Path) -> anyhow::Result<Outcome> {
    let files = args.files.clone();
    let span = args.tick.unwrap_or(usual_tick(args.speed));
    let open = move || Replay::open(&files, &Settings { span, ..Settings::default() });
    let replay = tokio::task::spawn_blocking(open).await??;
    let runtime = Arc::new(serve::open(common, common.settings(data.to_owned(), false)).await?);
    let doors = match common.listen {
        Some(listen) => Some(serve::open_doors(common, &runtime, listen, data).await?),
        None => None,
    };
    if let Some(doors) = &doors {
        tell!("millstream serves http://{}", doors.address);
    }
    let feed = Feed::new(&runtime);
    let summary = Summary::start(&runtime, feed.progress());
    let (speed, begun) = (args.speed, Instant::now());
    let shared = Arc::clone(&runtime);
    let fed = tokio::task::spawn_blocking(move || {
        feed.run(replay, speed)?;
        shared.settle()
    });
    let result = fed.await?;
    let elapsed = begun.elapsed();
    summary.finish(elapsed).await;
    result?;
    if let Some(folder) = &args.export {
        export::views(&runtime, folder).await?;
    }
    let mut outcome = Outcome::Done;
    if args.verify {
        let report = runtime.verify().await?;
        say!("{}", report.to_string().trim_end());
        if !report.is_equal() {
            outcome = Outcome::Differs;
        }
    }
    runtime.shutdown.trigger();
    if let Some(doors) = doors {
        doors.close().await?;
    }
    serve::close(runtime).await?;
    Ok(outcome)
}

/// Short steps advance evenly; at full speed nobody watches, and long ones cost less.
pub fn usual_tick(speed: Speed) -> Duration {
    match speed {
        Speed::Times(_) => Duration(1_000_000),
        Speed::Max => Duration(10_000_000),
    }
}

/// The data directory: the one that was named, else a temporary one that goes at the end.
fn directory(common: &Common) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    if let Some(data) = &common.data {
        return Ok((data.clone(), None));
    }
    let name =
        format!("millstream-replay-{}-{}", std::process::id(), uuid::Uuid::now_v7().simple());
    let folder = std::env::temp_dir().join(name);
    Ok((folder.clone(), Some(folder)))
}
