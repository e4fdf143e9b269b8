//! `schemas`: JSON Schemas of what users write and devices send.

use super::args::SchemasArgs;
use super::run::Outcome;
use crate::catalog::json_schema;
use crate::ingest::format::json;
use crate::model::Kind;
use anyhow::{Context, bail};
use serde_json::Value;

/// Prints the names, prints one schema, or writes all of them.
pub fn run(args: &SchemasArgs) -> anyhow::Result<Outcome> {
    let schemas = all();
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        for (name, schema) in &schemas {
            let path = folder.join(format!("{name}.schema.json"));
            std::fs::write(&path, text(schema)?)
                .with_context(|| format!("write {}", path.display()))?;
        }
        return Ok(Outcome::Done);
    }
    match &args.name {
        None => schemas.iter().for_each(|(name, _)| say!("{name}")),
        Some(wanted) => match schemas.iter().find(|(name, _)| name == wanted) {
            Some((_, schema)) => say!("{}", text(schema)?.trim_end()),
            None => {
                let names: Vec<&str> = schemas.iter().map(|(name, _)| *name).collect();
                bail!("there is no schema '{wanted}'; schemas: {}", names.join(", "))
            }
        },
    }
    Ok(Outcome::Done)
}

/// All schemas by name: one a kind of document, and telemetry.
fn all() -> Vec<(&'static str, Value)> {
    let documents = Kind::ALL.into_iter().map(|kind| (kind.name(), json_schema(kind)));
    documents.chain([("telemetry", json::schema())]).collect()
}

fn text(schema: &Value) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(schema)?))
}
