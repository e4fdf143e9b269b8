//! `retention`: removes old telemetry, or says what would be removed.

use super::args::{Common, RetentionArgs};
use super::ask::{get, offline, post, server};
use super::run::Outcome;
use crate::serve::{Retention, RetentionSum};
use anyhow::bail;
use bytesize::ByteSize;

/// Asks a running server, or opens the data directory, and prints what comes of it.
pub async fn run(common: &Common, args: &RetentionArgs) -> anyhow::Result<Outcome> {
    let data = common.data();
    let dry_run = args.dry_run;
    let found = match server(args.url.as_deref(), &data) {
        Some(url) => {
            let url = format!("{url}/api/v1/retention");
            let json = "application/json";
            let ask = move || match dry_run {
                true => get(&url, json, &[]),
                false => post(&url, json, json, String::new()),
            };
            serde_json::from_slice(&tokio::task::spawn_blocking(ask).await??)?
        }
        None => {
            if !dry_run && args.database_url.is_some() {
                bail!(
                    "the database has to have telemetry before it is removed: start the server, \
                     which removes it by itself"
                );
            }
            let runtime = offline(common, &data).await?;
            let outlook = match dry_run {
                true => Ok(runtime.retention()),
                false => runtime.retain().await,
            };
            tokio::task::spawn_blocking(move || runtime.close()).await??;
            outlook?.wire()
        }
    };
    print(&found, dry_run);
    Ok(Outcome::Done)
}

fn print(found: &Retention, dry_run: bool) {
    let Retention { keep, min_age, before, removable, young, removed, held_by } = found;
    match keep {
        None => say!("telemetry is kept for ever"),
        Some(keep) => say!("telemetry is kept for {keep}, and {min_age} since it was received"),
    }
    if let Some(before) = before {
        say!("days before {before} are old");
    }
    say!("{:<28} {:>8} {:>8} {:>12} {:>14}", "", "days", "files", "size", "points");
    let row = |name: &str, sum: &RetentionSum| {
        let RetentionSum { days, files, bytes, points } = *sum;
        let size = ByteSize(bytes).to_string();
        say!("{name:<28} {days:>8} {files:>8} {size:>12} {points:>14}");
    };
    row(if dry_run { "would be removed" } else { "left to be removed" }, removable);
    row("old, but received lately", young);
    row("removed so far", removed);
    if !held_by.is_empty() {
        say!("what is to be removed waits: {held_by}");
    }
}
