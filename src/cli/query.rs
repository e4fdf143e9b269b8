//! `query`: runs a named query, or lists them.

use super::args::{Common, QueryArgs};
use super::ask::{Question, ask, get, server};
use super::run::Outcome;
use crate::app::{list_queries, load_queries};
use crate::query::{Library, NamedQuery};
use anyhow::anyhow;
use serde_json::Value;

/// Runs a query and writes its answer, or prints what queries there are.
pub async fn run(common: &Common, args: &QueryArgs) -> anyhow::Result<Outcome> {
    if let Some(name) = &args.name {
        let question = Question::Named(name.clone(), args.param.clone());
        return ask(common, question, &args.answer).await;
    }
    let queries = match server(args.answer.url.as_deref(), &common.data()) {
        Some(url) => {
            let url = format!("{url}/api/v1/queries");
            let asked = tokio::task::spawn_blocking(move || get(&url, "application/json", &[]));
            serde_json::from_slice::<Value>(&asked.await??)?["queries"].take()
        }
        None => serde_json::to_value(list_queries(&library(common)?))?,
    };
    queries.as_array().into_iter().flatten().for_each(print);
    Ok(Outcome::Done)
}

/// The query of this name, when no server has it.
pub fn named(common: &Common, name: &str) -> anyhow::Result<NamedQuery> {
    let library = library(common)?;
    library.get(name).ok_or_else(|| {
        let list = library.list();
        let known: Vec<&str> = list.iter().map(|query| query.name.as_str()).collect();
        anyhow!("there is no query '{name}'; queries: {}", known.join(", "))
    })
}

fn library(common: &Common) -> anyhow::Result<Library> {
    let (queries, problems) = load_queries(common.queries()?.as_deref());
    for problem in problems {
        tell!("{problem}");
    }
    Ok(Library::new(queries))
}

fn print(query: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    say!("{}: {}", text(&query["name"]), text(&query["title"]));
    for parameter in query["parameters"].as_array().into_iter().flatten() {
        let default = match (&parameter["required"], &parameter["default"]) {
            (Value::Bool(true), _) => String::new(),
            (_, Value::String(default)) => format!(" = {default}"),
            _ => " = null".into(),
        };
        let (name, kind) = (text(&parameter["name"]), text(&parameter["type"]));
        say!("    {name} {kind}{default}: {}", text(&parameter["description"]));
    }
    let example = query["example"].as_object().into_iter().flatten();
    let example: Vec<String> =
        example.map(|(name, value)| format!("{name}={}", text(value))).collect();
    if !example.is_empty() {
        say!("    example: {}", example.join(" "));
    }
}
