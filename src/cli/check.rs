//! `check`: validates a folder of documents and runs the tests inside them.

use super::args::{CheckArgs, Common};
use super::run::Outcome;
use crate::app::examples;
use crate::base::clock::{Clock, SystemClock};
use crate::catalog::{Catalog, read_folder};
use crate::model::Timestamp;
use anyhow::{Context, bail};

/// Prints every problem with file, line and column, and every test that fails.
pub fn run(common: &Common, args: &CheckArgs) -> anyhow::Result<Outcome> {
    let folder = match &args.dir {
        Some(dir) => dir.clone(),
        None => common.folder()?.context("name a folder: there is no dataflows/ here")?,
    };
    if !folder.is_dir() {
        bail!("{} is no folder", folder.display());
    }
    let (documents, mut problems) = read_folder(&folder);
    let mut catalog = Catalog::new();
    let now = Timestamp(SystemClock.now_micros());
    for file in &documents {
        let found = match catalog.assign(&file.document, now) {
            Ok(Some(document)) => catalog.apply(&document).err().unwrap_or_default(),
            Ok(None) => Vec::new(),
            Err(found) => found,
        };
        for problem in found {
            // What many documents miss is told once.
            if problems.iter().all(|told| told.message != problem.message) {
                problems.push(file.problem(problem));
            }
        }
    }
    for problem in &problems {
        println!("{problem}");
    }
    let units = |metric: &str| {
        let types = catalog.device_types();
        types.into_iter().find_map(|t| t.document.unit_of(metric).map(str::to_owned))
    };
    let (mut run, mut failed) = (0, 0);
    for asset_type in catalog.asset_types() {
        for test in &asset_type.document.tests {
            run += 1;
            let differs = examples::run(&asset_type.document, test, &units);
            if !differs.is_empty() {
                failed += 1;
                println!("{}: test '{}' fails:", asset_type.key, test.name);
                differs.iter().for_each(|line| println!("  {line}"));
            }
        }
    }
    println!(
        "{} documents, {} problems, {run} tests, {failed} failed",
        documents.len(),
        problems.len()
    );
    Ok(if problems.is_empty() && failed == 0 { Outcome::Done } else { Outcome::Problems })
}
