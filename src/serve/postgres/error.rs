//! What goes wrong, as PostgreSQL says it: an SQLSTATE, a message, a hint and a place.

use crate::query;
use pgwire::error::{ErrorInfo, PgWireError};

/// An error that ends a statement.
pub(super) fn error(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".into(), code.into(), message.into())))
}

/// An error that ends a connection.
pub(super) fn fatal(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("FATAL".into(), code.into(), message.into())))
}

/// The error of a query, with its place in the text where that can be found.
pub(super) fn asked(error: query::Error, text: &str) -> PgWireError {
    let (code, message) = (code(&error), error.to_string());
    let mut info = ErrorInfo::new("ERROR".into(), code.into(), message);
    info.hint = error.hint().map(str::to_owned);
    info.position = place(&error, text).map(|place| place.to_string());
    PgWireError::UserError(Box::new(info))
}

/// PostgreSQL's code for it: what a client can tell apart.
fn code(error: &query::Error) -> &'static str {
    use query::Error;
    match error {
        Error::UnknownTable { .. } => "42P01",
        Error::UnknownColumn { .. } => "42703",
        Error::Parameter { .. } => "42P02",
        Error::Syntax { message, .. } if message.contains("Invalid function") => "42883",
        Error::Syntax { message, .. } if message.contains("placeholder") => "42P02",
        Error::Syntax { message, .. } if message.contains("not supported") => "0A000",
        Error::Syntax { message, .. } if message.contains("No function matches") => "42883",
        Error::Syntax { .. } => "42601",
        Error::Refused { message, .. } if message.ends_with("is not a query") => "25006",
        Error::Refused { .. } => "0A000",
        Error::Limit { message, .. } if message.contains("memory") => "53200",
        Error::Limit { message, .. } if message.starts_with("no answer within") => "57014",
        Error::Limit { .. } => "54000",
        Error::Failed { message, .. } if message.contains("Divide by zero") => "22012",
        Error::Failed { message, .. } if message.contains("Cannot cast") => "22P02",
        Error::Failed { message, .. } if message.contains("verflow") => "22003",
        Error::Failed { .. } => "XX000",
    }
}

/// Where it is, counted in characters from 1.
fn place(error: &query::Error, text: &str) -> Option<usize> {
    match error {
        query::Error::UnknownTable { table, .. } => word(text, table),
        query::Error::UnknownColumn { message, .. } => {
            let name = message.trim_matches('\'').rsplit('.').next()?;
            word(text, name.trim_matches('"'))
        }
        query::Error::Syntax { message, .. } => line_and_column(message, text),
        _ => None,
    }
}

/// Where a name stands as a word of its own.
fn word(text: &str, name: &str) -> Option<usize> {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    let lower = text.to_ascii_lowercase();
    let name = name.to_ascii_lowercase();
    let whole = |at: &usize| {
        !name.is_empty()
            && !lower[..*at].ends_with(letter)
            && !lower[at + name.len()..].starts_with(letter)
    };
    let at = lower.match_indices(&name).map(|(at, _)| at).find(whole)?;
    Some(lower[..at].chars().count() + 1)
}

/// The place that a parser tells as `Line: 1, Column: 8`.
fn line_and_column(message: &str, text: &str) -> Option<usize> {
    let after = |word: &str| -> Option<usize> {
        let rest = message.rsplit_once(word)?.1;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().ok()
    };
    let (line, column) = (after("Line: ")?, after("Column: ")?);
    let before: usize =
        text.split('\n').take(line.checked_sub(1)?).map(|line| line.chars().count() + 1).sum();
    Some(before + column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_text() {
        let unknown = |table: &str| query::Error::UnknownTable { table: table.into(), hint: None };
        assert_eq!(place(&unknown("pump"), "SELECT ü FROM pumps, PUMP"), Some(22));
        assert_eq!(place(&unknown("pump"), "SELECT 1"), None);
        let syntax = |message: &str| query::Error::Syntax { message: message.into(), hint: None };
        let message = "Expected: an expression, found: EOF at Line: 2, Column: 3";
        assert_eq!(place(&syntax(message), "ab\ncdef"), Some(6));
    }
}
