//! `check`: validates a folder of documents and runs the tests inside them.

use super::args::{CheckArgs, Common};
use super::run::Outcome;
use crate::app::{examples, load_queries};
use crate::base::clock::{Clock, SystemClock};
use crate::catalog::{Catalog, Problem, read_folder};
use crate::model::{Kind, NewDocument, Timestamp};
use anyhow::{Context, bail};
use std::path::Path;

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
    let queries = queries(common, &folder, &mut problems)?;
    for problem in &problems {
        say!("{problem}");
    }
    for file in &documents {
        if let Some(problem) = warning(&catalog, &file.document) {
            say!("warning: {}", file.problem(problem));
        }
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
                say!("{}: test '{}' fails:", asset_type.key, test.name);
                differs.iter().for_each(|line| say!("  {line}"));
            }
        }
    }
    say!(
        "{} documents, {queries}{} problems, {run} tests, {failed} failed",
        documents.len(),
        problems.len()
    );
    Ok(if problems.is_empty() && failed == 0 { Outcome::Done } else { Outcome::Problems })
}

/// Checks the folder of named queries beside the documents, where there is one, and says how many
/// there are.
fn queries(common: &Common, folder: &Path, problems: &mut Vec<Problem>) -> anyhow::Result<String> {
    let common = Common { catalog: Some(folder.to_owned()), ..common.clone() };
    let Some(folder) = common.queries()? else { return Ok(String::new()) };
    let (good, found) = load_queries(Some(&folder));
    let mut bad: Vec<_> = found.iter().map(|problem| &problem.file).collect();
    bad.dedup();
    let count = good.len() + bad.len();
    problems.extend(found);
    Ok(format!("{count} queries, "))
}

/// What is right, but surely not meant.
fn warning(catalog: &Catalog, document: &NewDocument) -> Option<Problem> {
    let Kind::DeviceTypes = document.kind else { return None };
    let device_type = catalog.device_type_named(&document.key)?;
    let message = "devices of this type send nothing: every metric of theirs is refused";
    let hint = "list the metrics: extraction_rules: [{metric: NAME, type: double, unit: bar}]";
    let none = device_type.document.extraction_rules.is_empty();
    none.then(|| Problem::at("extraction_rules", message).hint(hint))
}
