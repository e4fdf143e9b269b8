//! From text to the one statement it may hold: a query, or an explanation of one.

use super::as_of;
use super::database;
use super::error::Error;
use super::guard::{check_text, too_many_joins};
use super::limits::Limits;
use datafusion::common::TableReference;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::ast::{Visit, Visitor};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use std::ops::ControlFlow;

const ONLY: &str = "only SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES and DESCRIBE are answered";
/// Functions that make much out of little, outside of the memory limit.
pub(super) const AMPLIFIERS: [&str; 10] = [
    "generate_series",
    "gen_series",
    "range",
    "repeat",
    "lpad",
    "rpad",
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
];
/// The schema that all tables are in.
pub(super) const SCHEMA: &str = "public";
/// The catalog that the schema is in.
pub(super) const CATALOG: &str = "millstream";

/// A statement that may be planned.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub statement: Statement,
    /// Names of tables in the schema, each once.
    pub tables: Vec<String>,
    /// Names of tables in the schema of the database, each once.
    pub database: Vec<String>,
    /// Whether it asks about tables rather than about their contents.
    pub about_tables: bool,
    /// The time as of which telemetry is asked for.
    pub as_of: Option<String>,
}

/// Parses the text and refuses what is not a query.
pub(super) fn read(text: &str, limits: &Limits) -> Result<Asked, Error> {
    let dialect = GenericDialect {};
    check_text(text, &dialect, limits)?;
    let (text, as_of) = as_of::split(text)?;
    let mut statements = parse(&text, &dialect, limits)?;
    let statement = match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => statement,
        (None, _) => return Err(Error::Syntax { message: "no statement".into(), hint: None }),
        (Some(_), false) => {
            return Err(Error::refused("more than one statement", "send them one by one"));
        }
    };
    let asked = ask(statement, &["information_schema"], limits)?;
    Ok(Asked { as_of, ..asked })
}

/// Refuses what is not a query. `about_tables` are schemas that tell of tables.
pub(super) fn ask(
    statement: Statement,
    about_tables: &[&str],
    limits: &Limits,
) -> Result<Asked, Error> {
    let (statement, described) = translate(statement, limits)?;
    check(&statement, limits)?;
    let (references, _) = resolve_table_references(&statement, true)
        .map_err(|error| Error::from_datafusion(&error))?;
    let tables = described.into_iter().collect();
    let mut asked =
        Asked { statement, tables, database: Vec::new(), about_tables: false, as_of: None };
    for reference in references {
        if reference.catalog().is_none_or(|catalog| catalog == CATALOG)
            && reference.schema() == Some(database::SCHEMA)
        {
            if !asked.database.iter().any(|known| known == reference.table()) {
                asked.database.push(reference.table().into());
            }
            continue;
        }
        match table_of(&reference) {
            Some(name) if !asked.tables.iter().any(|known| known == name) => {
                asked.tables.push(name.into());
            }
            Some(_) => {}
            None if reference.schema().is_some_and(|schema| about_tables.contains(&schema)) => {
                asked.about_tables = true;
            }
            None => return Err(Error::unknown_table(&reference.to_string(), &[])),
        }
    }
    Ok(asked)
}

/// The statements of a text that was checked.
pub(super) fn parse(
    text: &str,
    dialect: &dyn Dialect,
    limits: &Limits,
) -> Result<Vec<Statement>, Error> {
    let failed = |error| Error::from_datafusion(&error);
    // Deeper than the limit on nesting, so that nesting is told by its own message.
    let recursion = limits.depth * 4;
    let mut parser = DFParserBuilder::new(text)
        .with_dialect(dialect)
        .with_recursion_limit(recursion)
        .build()
        .map_err(failed)?;
    Ok(parser.parse_statements().map_err(failed)?.into())
}

fn table_of(reference: &TableReference) -> Option<&str> {
    let catalog = reference.catalog().is_none_or(|catalog| catalog == CATALOG);
    let schema = reference.schema().is_none_or(|schema| schema == SCHEMA);
    (catalog && schema).then(|| reference.table())
}

/// `SHOW TABLES`, `SHOW COLUMNS FROM t` and `DESCRIBE t` as queries, with the table that must be
/// there.
fn translate(statement: Statement, limits: &Limits) -> Result<(Statement, Option<String>), Error> {
    let Statement::Statement(inner) = &statement else { return Ok((statement, None)) };
    let table = match inner.as_ref() {
        ast::Statement::ShowTables { .. } => None,
        ast::Statement::ExplainTable { table_name, .. } => Some(last_name(table_name)),
        ast::Statement::ShowColumns { show_options, .. } => {
            let from = show_options.show_in.as_ref().and_then(|from| from.parent_name.as_ref());
            Some(from.map(last_name).unwrap_or_default())
        }
        _ => return Ok((statement, None)),
    };
    let text = match &table {
        None => format!(
            "SELECT table_name, table_type FROM information_schema.tables \
             WHERE table_schema = '{SCHEMA}' ORDER BY table_name"
        ),
        Some(table) => format!(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns \
             WHERE table_schema = '{SCHEMA}' AND table_name = '{}' ORDER BY ordinal_position",
            table.replace('\'', "''")
        ),
    };
    let query = parse(&text, &GenericDialect {}, limits)?
        .pop()
        .ok_or_else(|| Error::failed("a statement got lost"))?;
    Ok((query, table))
}

fn last_name(name: &ast::ObjectName) -> String {
    match name.0.last().and_then(|part| part.as_ident()) {
        Some(ident) if ident.quote_style.is_none() => ident.value.to_lowercase(),
        Some(ident) => ident.value.clone(),
        None => name.to_string(),
    }
}

fn check(statement: &Statement, limits: &Limits) -> Result<(), Error> {
    let inner = match statement {
        Statement::Statement(inner) => inner.as_ref(),
        Statement::Explain(explain) => match explain.statement.as_ref() {
            Statement::Statement(inner) if matches!(**inner, ast::Statement::Query(_)) => inner,
            other => return Err(not_a_query(&format!("EXPLAIN of {}", first_words(other)))),
        },
        other => return Err(not_a_query(&first_words(other))),
    };
    let ast::Statement::Query(query) = inner else {
        return Err(not_a_query(&first_words(statement)));
    };
    match query.visit(&mut Look { tables: 0, limits }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn not_a_query(what: &str) -> Error {
    Error::refused(format!("{what} is not a query"), ONLY)
}

fn first_words(statement: &impl ToString) -> String {
    let text = statement.to_string();
    text.split_whitespace().take(2).collect::<Vec<&str>>().join(" ")
}

/// Walks the tree of a query.
struct Look<'a> {
    tables: usize,
    limits: &'a Limits,
}

impl Visitor for Look<'_> {
    type Break = Error;

    fn pre_visit_statement(&mut self, statement: &ast::Statement) -> ControlFlow<Error> {
        ControlFlow::Break(not_a_query(&first_words(statement)))
    }

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<Error> {
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            let hint = "recursive queries are not supported yet";
            return ControlFlow::Break(Error::refused("WITH RECURSIVE", hint));
        }
        if !query.locks.is_empty() {
            return ControlFlow::Break(Error::refused("FOR UPDATE and FOR SHARE", ONLY));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<Error> {
        match select.into {
            Some(_) => ControlFlow::Break(not_a_query("SELECT INTO")),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<Error> {
        self.tables += 1;
        if self.tables > self.limits.joins + 1 {
            return ControlFlow::Break(too_many_joins(self.limits));
        }
        match factor {
            ast::TableFactor::Table { args: None, .. }
            | ast::TableFactor::Derived { .. }
            | ast::TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            _ => ControlFlow::Break(Error::refused(
                format!("table function or operator {}", cut(&factor.to_string())),
                "only tables, subqueries and joins may stand in FROM",
            )),
        }
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Error> {
        if let ast::Expr::Function(function) = expr {
            let name = function.name.to_string().to_lowercase();
            if AMPLIFIERS.contains(&name.trim_matches('"')) {
                let hint = "functions that make long values out of short ones are not allowed";
                return ControlFlow::Break(Error::refused(format!("function {name}"), hint));
            }
        }
        ControlFlow::Continue(())
    }
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}
