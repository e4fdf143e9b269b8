//! What goes wrong, as gRPC says it: a code that tells clients what to do, and words.

use crate::query::{Error, Kind};
use crate::serve::held;
use tonic::{Code, Status};

/// The status of a query's error. The hint stands behind the message.
pub(super) fn asked(error: Error) -> Status {
    let message = match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    };
    Status::new(code(&error), message)
}

fn code(error: &Error) -> Code {
    match (error.kind(), error) {
        (Kind::Refused | Kind::Syntax | Kind::Parameter, _) => Code::InvalidArgument,
        (Kind::UnknownTable | Kind::UnknownColumn, _) => Code::NotFound,
        (Kind::Limit, Error::Limit { message, .. }) if message.starts_with("no answer within") => {
            Code::DeadlineExceeded
        }
        (Kind::Limit, _) => Code::ResourceExhausted,
        (Kind::Failed, Error::Failed { message, .. }) if is_of_data(message) => Code::OutOfRange,
        (Kind::Failed, _) => Code::Internal,
    }
}

/// Whether values are such that there is no answer.
fn is_of_data(message: &str) -> bool {
    ["Divide by zero", "Cannot cast", "verflow"].iter().any(|word| message.contains(word))
}

/// What whoever wants to write is told.
pub(super) fn read_only() -> Status {
    Status::failed_precondition("nothing can be written here: only queries are answered")
}

/// What cannot be done here.
pub(super) fn unknown(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not done here: ask in SQL"))
}

/// What a client has sent and nobody can read.
pub(super) fn unreadable(what: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("cannot be read: {what}"))
}

/// A name that nobody can guess.
pub(super) fn new_name() -> Result<String, Status> {
    held::new_name().map_err(|error| Status::internal(error.to_string()))
}
