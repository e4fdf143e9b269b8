//! From text to statements.

use super::command::{self, Command};
use super::copy::{self, CopyForm};
use super::fit::fit;
use super::front::Question;
use super::names::{self, Names};
use super::users;
use crate::query::as_of;
use crate::query::error::Error;
use crate::query::guard::check_text;
use crate::query::limits::Limits;
use crate::query::statement::{Asked, ask, parse};
use datafusion::sql::parser;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_pg_catalog::sql::rules::{
    CurrentUserVariableToSessionUserFunctionCall, RewriteArrayAnyAllOperation,
    RewritePgCatalogOperator, SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};
use std::sync::Arc;

/// Schemas that tell of tables.
const ABOUT: [&str; 2] = ["information_schema", "pg_catalog"];

/// One statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Has rows as an answer.
    Question(Arc<Question>),
    /// Is about the session.
    Command(Command),
    /// `DECLARE name CURSOR FOR` a question, whose rows are fetched some at a time.
    Declare(String, Arc<Question>),
    /// `COPY` a question `TO STDOUT`.
    Copy(Arc<Question>, CopyForm),
}

impl Statement {
    /// The question that it asks, if it does.
    pub fn question(&self) -> Option<&Arc<Question>> {
        match self {
            Self::Question(question) | Self::Declare(_, question) | Self::Copy(question, _) => {
                Some(question)
            }
            Self::Command(_) => None,
        }
    }

    fn question_mut(&mut self) -> Option<&mut Arc<Question>> {
        match self {
            Self::Question(question) | Self::Declare(_, question) | Self::Copy(question, _) => {
                Some(question)
            }
            Self::Command(_) => None,
        }
    }
}

/// Reads statements.
pub(super) struct Parser {
    compatible: PostgresCompatibilityParser,
    rules: Vec<Box<dyn SqlStatementRewriteRule>>,
}

impl Parser {
    pub fn new() -> Self {
        // Other words for the same. The other rules of the compatible parser make questions about
        // the catalog fit, and are not for questions about the plant.
        let rules: Vec<Box<dyn SqlStatementRewriteRule>> = vec![
            Box::new(RewriteArrayAnyAllOperation),
            Box::new(StripCallableQualifier),
            Box::new(CurrentUserVariableToSessionUserFunctionCall),
            Box::new(StripCollate),
            Box::new(RewritePgCatalogOperator),
        ];
        Self { compatible: PostgresCompatibilityParser::new(), rules }
    }

    /// The statements of a text, in order; none when it is empty. `user` is who asks.
    pub fn read(&self, text: &str, user: &str, limits: &Limits) -> Result<Vec<Statement>, Error> {
        let dialect = PostgreSqlDialect {};
        check_text(text, &dialect, limits)?;
        let (text, as_of) = as_of::split(text)?;
        let copied = copy::read(&text, limits)?;
        let asked = copied.as_ref().map_or(text.as_str(), |(query, _)| query);
        let mut read = self.statements(asked, &dialect, limits)?;
        if let Some((_, form)) = copied {
            for statement in &mut read {
                if let Statement::Question(question) = statement {
                    *statement = Statement::Copy(Arc::clone(question), form.clone());
                }
            }
        }
        let several = read.len() > 1;
        for question in read.iter_mut().filter_map(Statement::question_mut) {
            let question = Arc::make_mut(question);
            users::name(&mut question.asked.statement, user);
            question.asked.as_of.clone_from(&as_of);
        }
        if as_of.is_some() && (several || read.iter().any(|read| read.question().is_none())) {
            let hint = "send the query alone";
            return Err(Error::refused("AS OF SYSTEM TIME among several statements", hint));
        }
        Ok(read)
    }

    fn statements(
        &self,
        text: &str,
        dialect: &PostgreSqlDialect,
        limits: &Limits,
    ) -> Result<Vec<Statement>, Error> {
        let written = parse(text, dialect, limits);
        // Columns are called as the text says, whatever becomes of it.
        let names: Vec<Names> = written.iter().flatten().map(names::of).collect();
        let read: Result<Vec<Statement>, Error> = written.and_then(|statements| {
            let renamed = statements.into_iter().map(|statement| self.renamed(statement));
            renamed.enumerate().map(|(at, one)| read(one, names.get(at), limits)).collect()
        });
        let of_plant = |statement: &Statement| {
            statement.question().is_none_or(|question| is_of_plant(&question.asked))
        };
        match read {
            Ok(read) if read.iter().all(of_plant) => Ok(read),
            read => self.compatibly(text, &names, limits).unwrap_or(read),
        }
    }

    /// The same with the catalog's questions made to fit; `None` when it cannot be read like that
    /// either.
    fn compatibly(
        &self,
        text: &str,
        names: &[Names],
        limits: &Limits,
    ) -> Option<Result<Vec<Statement>, Error>> {
        let statements = self.compatible.parse(text).ok()?;
        let names = Some(names).filter(|names| names.len() == statements.len());
        let fitted = statements.into_iter().enumerate().map(|(at, mut statement)| {
            fit(&mut statement);
            let statement = parser::Statement::Statement(Box::new(statement));
            read(statement, names.map(|names| &names[at]), limits)
        });
        Some(fitted.collect())
    }

    fn renamed(&self, statement: parser::Statement) -> parser::Statement {
        match statement {
            parser::Statement::Statement(mut inner) => {
                for rule in &self.rules {
                    *inner = rule.rewrite(*inner);
                }
                parser::Statement::Statement(inner)
            }
            other => other,
        }
    }
}

fn read(
    statement: parser::Statement,
    names: Option<&Names>,
    limits: &Limits,
) -> Result<Statement, Error> {
    if let Some(command) = command::read(&statement) {
        return Ok(Statement::Command(command));
    }
    let (declared, statement) = declared(statement)?;
    let names = names.cloned().unwrap_or_else(|| names::of(&statement));
    let asked = ask(statement, &ABOUT, limits)?;
    let question = Arc::new(Question { asked, names });
    Ok(match declared {
        Some(name) => Statement::Declare(name, question),
        None => Statement::Question(question),
    })
}

/// The name of a cursor and the query that it is for, or no name and the statement.
fn declared(statement: parser::Statement) -> Result<(Option<String>, parser::Statement), Error> {
    let parser::Statement::Statement(inner) = &statement else { return Ok((None, statement)) };
    let ast::Statement::Declare { stmts } = inner.as_ref() else { return Ok((None, statement)) };
    let [declare] = stmts.as_slice() else { return Ok((None, statement)) };
    let (Some(query), [name]) = (&declare.for_query, declare.names.as_slice()) else {
        return Ok((None, statement));
    };
    let wanted = [("BINARY", declare.binary), ("SCROLL", declare.scroll), ("HOLD", declare.hold)];
    if let Some((what, _)) = wanted.into_iter().find(|(_, wanted)| *wanted == Some(true)) {
        let hint = "cursors are read forward, within a transaction";
        return Err(Error::refused(format!("DECLARE ... CURSOR with {what}"), hint));
    }
    let query = ast::Statement::Query(query.clone());
    Ok((Some(command::cursor(name)), parser::Statement::Statement(Box::new(query))))
}

/// Whether it is about tables of the plant and about nothing else.
fn is_of_plant(asked: &Asked) -> bool {
    let own = |name: &String| !name.starts_with("pg_");
    let names_some = !asked.tables.is_empty() || !asked.database.is_empty();
    !asked.about_tables && names_some && asked.tables.iter().all(own)
}
