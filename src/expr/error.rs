//! What can be wrong with an expression.

/// Why an expression cannot be compiled or evaluated. Every variant names the expression, cut to
/// its first 120 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is larger than a limit allows.
    #[error("expression '{expression}': {what} is {found}, the limit is {limit}")]
    Limit {
        /// The expression.
        expression: String,
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// It cannot be parsed.
    #[error("expression '{expression}': {problem}")]
    Syntax {
        /// The expression.
        expression: String,
        /// What the parser says.
        problem: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It reads a metric that is not in the scope.
    #[error("expression '{expression}': unknown metric '{name}'")]
    UnknownMetric {
        /// The expression.
        expression: String,
        /// The name that is not there.
        name: String,
        /// The byte at which the name stands in the expression.
        position: Option<usize>,
        /// What to do.
        hint: Option<String>,
    },
    /// It is right, but more than this version understands.
    #[error("expression '{expression}': not supported yet: {what}")]
    NotSupported {
        /// The expression.
        expression: String,
        /// What is not supported.
        what: String,
    },
    /// A part of it has a type that does not fit.
    #[error("expression '{expression}': {problem}")]
    Type {
        /// The expression.
        expression: String,
        /// What does not fit.
        problem: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It could not be computed for a row, as a SQL cast of a text that is no number.
    #[error("expression '{expression}': {problem}")]
    Evaluate {
        /// The expression.
        expression: String,
        /// What failed.
        problem: String,
    },
}

impl Error {
    /// What to do about it, when that is more than the message says.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Syntax { hint, .. }
            | Self::UnknownMetric { hint, .. }
            | Self::Type { hint, .. } => hint.as_deref(),
            Self::Limit { .. } | Self::NotSupported { .. } | Self::Evaluate { .. } => None,
        }
    }

    /// The byte of the expression at which the problem stands, where that is known.
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::UnknownMetric { position, .. } => *position,
            _ => None,
        }
    }
}

/// The expression as messages show it.
pub(super) fn shown(expression: &str) -> String {
    match expression.char_indices().nth(120) {
        Some((end, _)) => format!("{}...", &expression[..end]),
        None => expression.to_owned(),
    }
}
