//! What can go wrong with a query, told by what the asker can do about it.

use super::pool::ALL_TAKEN;
use crate::historian;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a query, or one that uses what is not allowed here.
    #[error("refused: {message}")]
    Refused {
        /// What was refused.
        message: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// The text is no SQL, or cannot be planned.
    #[error("syntax: {message}")]
    Syntax {
        /// What is wrong, with line and column where known.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A parameter of a named query is missing, unknown, or not of its type.
    #[error("parameter: {message}")]
    Parameter {
        /// Which one, and what is wrong with it.
        message: String,
        /// What the query wants.
        hint: Option<String>,
    },
    /// No such table.
    #[error("unknown table '{table}'")]
    UnknownTable {
        /// The name that was asked for.
        table: String,
        /// The tables that there are.
        hint: Option<String>,
    },
    /// No such column.
    #[error("unknown column: {message}")]
    UnknownColumn {
        /// The name that was asked for.
        message: String,
        /// The columns that there are.
        hint: Option<String>,
    },
    /// Larger, deeper, longer or more than a limit allows.
    #[error("limit: {message}")]
    Limit {
        /// Which limit.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It went wrong while it ran.
    #[error("failed: {message}")]
    Failed {
        /// What happened.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

/// The kinds of [`Error`], for status codes and exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// See [`Error::Refused`].
    Refused,
    /// See [`Error::Syntax`].
    Syntax,
    /// See [`Error::Parameter`].
    Parameter,
    /// See [`Error::UnknownTable`].
    UnknownTable,
    /// See [`Error::UnknownColumn`].
    UnknownColumn,
    /// See [`Error::Limit`].
    Limit,
    /// See [`Error::Failed`].
    Failed,
}

impl Error {
    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused { .. } => Kind::Refused,
            Self::Syntax { .. } => Kind::Syntax,
            Self::Parameter { .. } => Kind::Parameter,
            Self::UnknownTable { .. } => Kind::UnknownTable,
            Self::UnknownColumn { .. } => Kind::UnknownColumn,
            Self::Limit { .. } => Kind::Limit,
            Self::Failed { .. } => Kind::Failed,
        }
    }

    /// What the asker can do, where there is something to say.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { hint, .. }
            | Self::Syntax { hint, .. }
            | Self::Parameter { hint, .. }
            | Self::UnknownTable { hint, .. }
            | Self::UnknownColumn { hint, .. }
            | Self::Limit { hint, .. }
            | Self::Failed { hint, .. } => hint.as_deref(),
        }
    }

    pub(super) fn refused(message: impl Into<String>, hint: &str) -> Self {
        Self::Refused { message: message.into(), hint: Some(hint.into()) }
    }

    pub(super) fn limit(message: impl Into<String>, hint: &str) -> Self {
        Self::Limit { message: message.into(), hint: Some(hint.into()) }
    }

    /// Something that the question needs could not be had.
    pub fn failed(message: impl std::fmt::Display) -> Self {
        Self::Failed { message: message.to_string(), hint: None }
    }

    /// No table of this name among these.
    pub(super) fn unknown_table(table: &str, known: &[String]) -> Self {
        let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
        known.sort_unstable();
        let hint = Some(meant(table, &known) + &format!("tables: {}", known.join(", ")));
        Self::UnknownTable { table: table.into(), hint }
    }

    /// Sorts an error of planning or running into its kind.
    pub(super) fn from_datafusion(error: &DataFusionError) -> Self {
        if let Some(away) = of_store(error) {
            return away;
        }
        match error.find_root() {
            DataFusionError::SchemaError(schema, _) => of_schema(schema),
            DataFusionError::SQL(error, _) => {
                Self::Syntax { message: error.to_string(), hint: None }
            }
            DataFusionError::Plan(_) | DataFusionError::NotImplemented(_) => {
                Self::Syntax { message: in_short(&error.strip_backtrace()), hint: None }
            }
            DataFusionError::ResourcesExhausted(message) if message.contains(ALL_TAKEN) => {
                Self::limit(ALL_TAKEN, "try again when the others are done, or ask for less")
            }
            DataFusionError::ResourcesExhausted(_) => {
                let hint = "filter by event_time or asset, group by less, or select fewer columns";
                Self::limit("the query needs more memory than one query may take", hint)
            }
            DataFusionError::External(error) => match error.downcast_ref::<Self>() {
                Some(own) => own.clone(),
                None => Self::failed(error),
            },
            DataFusionError::Diagnostic(_, inner) => Self::from_datafusion(inner),
            DataFusionError::Collection(errors) if !errors.is_empty() => {
                Self::from_datafusion(&errors[0])
            }
            _ => Self::failed(error.strip_backtrace()),
        }
    }
}

/// What the archive's store said, however deep it stands.
fn of_store(error: &DataFusionError) -> Option<Error> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(store @ historian::Error::Store { .. }) = error.downcast_ref() {
            let hint = "points of newer days are here: filter by event_time, or try again".into();
            return Some(Error::Failed { message: store.to_string(), hint: Some(hint) });
        }
        source = error.source();
    }
    None
}

/// What the function itself says of its arguments, where DataFusion says more around it.
fn in_short(message: &str) -> String {
    let said = message.split_once("user-defined coercion failed with: Error during planning: ");
    let said = said.and_then(|(_, said)| said.split(". No function matches").next());
    said.unwrap_or(message).to_owned()
}

/// The name that was probably meant, for the beginning of a hint.
fn meant(name: &str, known: &[&str]) -> String {
    let near = crate::expr::nearest(name, known.iter().copied());
    near.map_or(String::new(), |near| format!("did you mean '{near}'? "))
}

fn of_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let known: Vec<String> = valid_fields.iter().map(|f| f.quoted_flat_name()).collect();
            let message = format!("'{}'", field.flat_name());
            let names: Vec<&str> = valid_fields.iter().map(|field| field.name.as_str()).collect();
            let hint = meant(&field.name, &names) + &format!("columns: {}", known.join(", "));
            let hint = Some(hint);
            Error::UnknownColumn { message, hint }
        }
        other => Error::Syntax { message: other.to_string(), hint: None },
    }
}
