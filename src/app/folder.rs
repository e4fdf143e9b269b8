//! The catalog's folder: published at start, and again when a file in it changes.
//!
//! What was published from a file is remembered by its contents, so that a restart does not undo
//! a change that came over the wire since. A file that is changed wins again.

use super::runtime::Runtime;
use super::watch;
use crate::catalog::{FileDocument, Problem, read_folder};
use crate::ingest::commit::{CommitError, Refusal};
use crate::model::{Kind, NewDocument};
use anyhow::Context;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the contents of published files are remembered, below the data directory.
const MEMORY: &str = "catalog-files.json";

/// Publishes the documents of a folder that changed since they were published last.
///
/// Files with problems are reported, and so are documents that the catalog refuses; all others
/// take effect. What was refused is tried again the next time.
pub fn publish(runtime: &Runtime, data: &Path, folder: &Path) -> anyhow::Result<Vec<Problem>> {
    let (documents, mut problems) = read_folder(folder);
    let path = data.join(MEMORY);
    let mut memory: BTreeMap<String, String> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => BTreeMap::new(),
    };
    let name = |new: &NewDocument| format!("{}/{}", new.kind, new.key);
    let body = |new: &NewDocument| new.body.as_deref().unwrap_or_default().to_owned();
    let changed: Vec<FileDocument> = documents
        .into_iter()
        .filter(|file| memory.get(&name(&file.document)) != Some(&body(&file.document)))
        .collect();
    let refusals = publish_good(runtime, folder, &changed)?;
    let mut learned = false;
    for file in changed {
        let new = &file.document;
        let refused = refusals.iter().find(|one| one.kind == new.kind && one.key == new.key);
        match refused {
            Some(refusal) => problems.push(file.problem(Problem::at("", refusal.problem.as_str()))),
            None => {
                memory.insert(name(new), body(new));
                learned = true;
            }
        }
    }
    // A start that changes nothing writes nothing: a full disk can still be read.
    if learned {
        let text = serde_json::to_vec(&memory)?;
        remember(&path, &text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(problems)
}

/// Replaces the memory in one step, which a power cut does not undo in part.
fn remember(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// Publishes what the catalog takes; returns what it refuses.
fn publish_good(
    runtime: &Runtime,
    folder: &Path,
    files: &[FileDocument],
) -> anyhow::Result<Vec<Refusal>> {
    match runtime.publish(files.iter().map(|file| file.document.clone()).collect()) {
        Ok(0) => Ok(Vec::new()),
        Ok(changed) => {
            tracing::info!(changed, folder = %folder.display(), "catalog documents published");
            Ok(Vec::new())
        }
        Err(error) => match error.downcast() {
            Ok(CommitError::Refused(refusals)) => {
                runtime.settle()?;
                Ok(refusals)
            }
            Ok(other) => Err(other.into()),
            Err(error) => Err(error),
        },
    }
}

/// Publishes documents that came with the program.
pub fn publish_built_in(runtime: &Runtime, files: &[(Kind, &str, &str)]) -> anyhow::Result<()> {
    let mut documents = Vec::new();
    for (kind, name, text) in files {
        let read = crate::catalog::parse_yaml(*kind, name, text);
        documents.extend(read.map_err(|problems| anyhow::anyhow!("{name}: {problems:?}"))?);
    }
    runtime.publish(documents).map(drop)
}

/// Watches a folder on a thread of its own until shutdown.
pub fn watch(runtime: Arc<Runtime>, data: PathBuf, folder: PathBuf) -> anyhow::Result<()> {
    let (shutdown, watched) = (runtime.shutdown.clone(), folder.clone());
    watch::watch("catalog-folder", watched, shutdown, move || republish(&runtime, &data, &folder))
}

fn republish(runtime: &Runtime, data: &Path, folder: &Path) {
    match publish(runtime, data, folder) {
        Ok(problems) => {
            for problem in problems {
                tracing::error!(%problem, "catalog file not published");
            }
        }
        Err(error) => tracing::error!(error = format!("{error:#}"), "catalog folder not published"),
    }
}
