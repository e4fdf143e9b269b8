//! Whether named queries can be planned against the tables that there are.

use super::bind::{Values, placeholders, plan};
use super::header::NamedQuery;
use crate::catalog::Problem;
use crate::historian;
use crate::model::Timestamp;
use crate::query::error::Error;
use crate::query::limits::{Limits, STACK_BYTES};
use crate::query::session::{self, Environment};
use crate::query::{statement, telemetry};
use arrow::datatypes::SchemaRef;
use datafusion::datasource::empty::EmptyTable;
use std::sync::Arc;

/// The queries that can be planned against these tables (`telemetry` is there anyway), with their
/// examples as values; and what is wrong with the others.
///
/// Plans on a thread of its own with a runtime of its own: may be called from anywhere.
pub fn check(
    queries: Vec<NamedQuery>,
    tables: &[(String, SchemaRef)],
) -> (Vec<NamedQuery>, Vec<Problem>) {
    let planning = || -> Result<_, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(Error::failed)?;
        let (mut good, mut problems) = (Vec::new(), Vec::new());
        for query in queries {
            match runtime.block_on(one(&query, tables)) {
                Ok(()) => good.push(query),
                Err(error) => problems.push(problem(&query, &error)),
            }
        }
        Ok((good, problems))
    };
    let failed = |message: String| (Vec::new(), vec![Problem::at("", message)]);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("check".into()).stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, planning).map(|planning| planning.join()) {
            Ok(Ok(Ok(checked))) => checked,
            Ok(Ok(Err(error))) => failed(error.to_string()),
            Ok(Err(_)) => failed("planning the named queries panicked: please report it".into()),
            Err(error) => failed(format!("no thread to plan the named queries: {error}")),
        }
    })
}

async fn one(query: &NamedQuery, tables: &[(String, SchemaRef)]) -> Result<(), Error> {
    let limits = Limits::default();
    let mut asked = statement::read(&query.text, &limits)?;
    let used = placeholders(&mut asked.statement);
    let unused = query.parameters.iter().find(|parameter| !used.contains(&parameter.name));
    if let Some(unused) = unused {
        let message = format!("parameter '{}' is declared but not used", unused.name);
        let hint = Some(format!("write ${} where its value goes", unused.name));
        return Err(Error::Parameter { message, hint });
    }
    let context = session::empty(&Environment::bare(&limits), &limits)?;
    let telemetry = (telemetry::NAME.to_owned(), historian::schema());
    let known = || tables.iter().chain([&telemetry]);
    if let Some(name) = asked.database.first() {
        let hint = "it asks views and telemetry, which are there with and without a database";
        return Err(Error::refused(format!("table timescale.{name} in a named query"), hint));
    }
    for name in &asked.tables {
        let Some((_, schema)) = known().find(|(known, _)| known == name) else {
            let names: Vec<String> = known().map(|(name, _)| name.clone()).collect();
            return Err(Error::unknown_table(name, &names));
        };
        session::register(&context, name, Arc::new(EmptyTable::new(Arc::clone(schema))))?;
    }
    let example: Vec<(String, String)> = query.example.clone().into_iter().collect();
    let values = Values::of(query, &example, Timestamp(0))?;
    let plan = plan(&context, asked, values).await?;
    let failed = |error| Error::from_datafusion(&error);
    let frame = context.execute_logical_plan(plan).await.map_err(failed)?;
    frame.create_physical_plan().await.map_err(failed)?;
    Ok(())
}

/// An error with the place in the file where it probably is.
fn problem(query: &NamedQuery, error: &Error) -> Problem {
    let message = error.to_string().lines().collect::<Vec<_>>().join(": ");
    let named = match error {
        Error::UnknownTable { table, .. } => Some(table.as_str()),
        _ => message.split('\'').nth(1).and_then(|name| name.rsplit('.').next()),
    };
    let (line, column) = told_place(&message)
        .or_else(|| find(&query.text, named?.trim_matches('"')))
        .unwrap_or_else(|| (first_line(&query.text), 1));
    Problem {
        file: Some(query.file.as_str().into()),
        line: Some(line),
        column: Some(column),
        path: String::new(),
        message,
        hint: error.hint().map(str::to_owned),
    }
}

/// The place that a parser has put into its message.
fn told_place(message: &str) -> Option<(usize, usize)> {
    let number = |after: &str| -> Option<usize> {
        let rest = &message[message.find(after)? + after.len()..];
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some((number("Line: ")?, number("Column: ")?))
}

/// The first place of a word behind the header.
fn find(text: &str, word: &str) -> Option<(usize, usize)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("--"));
    for (at, line) in lines {
        let mut places = line.match_indices(word);
        let place = places.find(|(start, _)| {
            let before = line[..*start].chars().next_back();
            let after = line[start + word.len()..].chars().next();
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        });
        if let Some((start, _)) = place {
            return Some((at + 1, line[..start].chars().count() + 1));
        }
    }
    None
}

fn first_line(text: &str) -> usize {
    text.lines().position(|line| !line.starts_with("--")).map_or(1, |at| at + 1)
}
