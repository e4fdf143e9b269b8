//! The folder of named queries: read at start, and again when a file in it changes.

use super::sources::system_tables;
use super::watch;
use crate::base::shutdown::Shutdown;
use crate::catalog::Problem;
use crate::query::{Library, NamedQuery, check_named, read_folder, read_named};
use crate::views::View;
use arrow::datatypes::SchemaRef;
use std::path::{Path, PathBuf};

macro_rules! shipped {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../queries/", $name, ".sql")))),*]
    };
}

/// The queries that come with the program, for when there is no folder.
const SHIPPED: [(&str, &str); 19] = shipped![
    "alarm_floods",
    "asset_events",
    "asset_latest",
    "completeness",
    "consumption",
    "data_quality",
    "downtime",
    "flow_balance",
    "flow_total",
    "hourly_rollup",
    "raised_thresholds",
    "refused_messages",
    "telemetry_range",
    "time_at_level",
    "time_between_alarms",
    "time_in_state",
    "trend",
    "worst_assets",
    "worst_assets_of_week"
];

/// The named queries of a folder, or without one those that come with the program: what can be
/// planned, and every problem of the others.
pub fn load_queries(folder: Option<&Path>) -> (Vec<NamedQuery>, Vec<Problem>) {
    let (read, mut problems) = match folder {
        Some(folder) => read_folder(folder),
        None => shipped(),
    };
    let (good, found) = check_named(read, &tables());
    problems.extend(found);
    (good, problems)
}

/// Opens the library, tells what is wrong with the files, and watches the folder until shutdown.
pub fn open_queries(folder: Option<PathBuf>, shutdown: &Shutdown) -> anyhow::Result<Library> {
    let library = Library::default();
    let load = {
        let library = library.clone();
        move |folder: Option<&Path>| {
            let (queries, problems) = load_queries(folder);
            for problem in problems {
                tracing::error!(%problem, "named query left out");
            }
            library.replace(queries);
        }
    };
    load(folder.as_deref());
    if let Some(folder) = folder {
        let watched = folder.clone();
        watch::watch("queries-folder", folder, shutdown.clone(), move || load(Some(&watched)))?;
    }
    Ok(library)
}

fn shipped() -> (Vec<NamedQuery>, Vec<Problem>) {
    let (mut queries, mut problems) = (Vec::new(), Vec::new());
    for (name, text) in SHIPPED {
        match read_named(name, &format!("queries/{name}.sql"), text) {
            Ok(query) => queries.push(query),
            Err(found) => problems.extend(found),
        }
    }
    (queries, problems)
}

/// Names and columns of all tables but telemetry, which the query room has itself.
fn tables() -> Vec<(String, SchemaRef)> {
    let views = View::ALL.into_iter().map(|view| (view.name().to_owned(), view.schema()));
    views.chain(system_tables()).collect()
}
