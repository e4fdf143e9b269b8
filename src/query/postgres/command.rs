//! Commands of a session, which clients send whether or not they need them.

use datafusion::sql::parser::{ResetStatement, Statement};
use datafusion::sql::sqlparser::ast::{
    self, CloseCursor, Expr, FetchDirection, ObjectName, Set, Value,
};

/// What a client wants of its session. Nothing of it changes anything but the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `BEGIN`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
    /// `SAVEPOINT`, `RELEASE` or `ROLLBACK TO`, by the first word.
    Savepoint(&'static str),
    /// `SET name = value`; `None` is the default.
    Set(String, Option<String>),
    /// `SHOW name`.
    Show(String),
    /// `DISCARD`: forget what the session holds.
    Discard,
    /// `DEALLOCATE name`; `None` for all.
    Deallocate(Option<String>),
    /// `FETCH n FROM name`; `None` for all rows that are left.
    Fetch(String, Option<usize>),
    /// `CLOSE name`; `None` for all cursors.
    Close(Option<String>),
}

/// The command that a statement is, if it is one.
pub(super) fn read(statement: &Statement) -> Option<Command> {
    let statement = match statement {
        Statement::Statement(statement) => statement.as_ref(),
        Statement::Reset(ResetStatement::Variable(name)) => {
            return Some(Command::Set(variable(name), None));
        }
        _ => return None,
    };
    Some(match statement {
        ast::Statement::StartTransaction { statements, .. } if statements.is_empty() => {
            Command::Begin
        }
        ast::Statement::Commit { .. } => Command::Commit,
        ast::Statement::Rollback { savepoint: None, .. } => Command::Rollback,
        ast::Statement::Rollback { savepoint: Some(_), .. } => Command::Savepoint("ROLLBACK"),
        ast::Statement::Savepoint { .. } => Command::Savepoint("SAVEPOINT"),
        ast::Statement::ReleaseSavepoint { .. } => Command::Savepoint("RELEASE"),
        ast::Statement::Set(set) => return set_of(set),
        ast::Statement::Reset(reset) => match &reset.reset {
            ast::Reset::ALL => Command::Set("all".into(), None),
            ast::Reset::ConfigurationParameter(name) => Command::Set(variable(name), None),
        },
        ast::Statement::ShowVariable { variable } => {
            let words: Vec<String> =
                variable.iter().map(|word| word.value.to_lowercase()).collect();
            Command::Show(known_as(&words.join(" ")))
        }
        ast::Statement::Discard { .. } => Command::Discard,
        ast::Statement::Deallocate { name, .. } => {
            let all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            Command::Deallocate((!all).then(|| name.value.clone()))
        }
        ast::Statement::Fetch { name, direction, into: None, .. } => {
            Command::Fetch(cursor(name), forward(direction)?)
        }
        ast::Statement::Close { cursor: CloseCursor::All } => Command::Close(None),
        ast::Statement::Close { cursor: CloseCursor::Specific { name } } => {
            Command::Close(Some(cursor(name)))
        }
        _ => return None,
    })
}

/// The name of a cursor.
pub(super) fn cursor(name: &ast::Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// How many rows are wanted, when they are those that come next; `None` for all.
fn forward(direction: &FetchDirection) -> Option<Option<usize>> {
    let count = |limit: &ast::ValueWithSpan| limit.to_string().parse().ok();
    match direction {
        FetchDirection::Next => Some(Some(1)),
        FetchDirection::All | FetchDirection::ForwardAll => Some(None),
        FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => {
            count(limit).map(Some)
        }
        FetchDirection::Forward { limit: None } => Some(Some(1)),
        _ => None,
    }
}

fn set_of(set: &Set) -> Option<Command> {
    Some(match set {
        Set::SingleAssignment { variable: name, values, .. } => {
            let words: Vec<String> = values.iter().map(word).collect();
            let value = words.join(", ");
            let default = value.eq_ignore_ascii_case("default");
            Command::Set(variable(name), (!default).then_some(value))
        }
        Set::SetTimeZone { value, .. } => Command::Set("timezone".into(), Some(word(value))),
        Set::SetNames { charset_name, .. } => {
            Command::Set("client_encoding".into(), Some(charset_name.value.clone()))
        }
        Set::SetNamesDefault {} => Command::Set("client_encoding".into(), None),
        Set::SetTransaction { .. } => Command::Set("transaction".into(), None),
        _ => return None,
    })
}

fn variable(name: &ObjectName) -> String {
    let words = name.0.iter().filter_map(|part| part.as_ident());
    let words: Vec<String> = words.map(|word| word.value.to_lowercase()).collect();
    known_as(&words.join("."))
}

/// The one name of what has several.
fn known_as(name: &str) -> String {
    match name {
        "time zone" => "timezone".into(),
        "transaction isolation level" => "transaction_isolation".into(),
        "session authorization" => "session_authorization".into(),
        other => other.into(),
    }
}

fn word(value: &Expr) -> String {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        Expr::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    }
}
