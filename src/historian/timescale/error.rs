//! What can go wrong between the archive and the database.

use std::path::PathBuf;

/// Why the database does not have the points yet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL cannot be read.
    #[error(
        "read the database URL: {0}; give postgres://USER:PASSWORD@HOST[:PORT]/DATABASE, with ?sslmode=require for TLS"
    )]
    Url(String),
    /// The certificate authorities cannot be read.
    #[error("read certificate authorities {path}: {reason}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The database refused, or is not there.
    #[error("{action}: {}", told(.source))]
    Database {
        /// What was tried.
        action: &'static str,
        /// What the database or the connection said.
        source: tokio_postgres::Error,
    },
    /// The tables could not be made or are not those of this version.
    #[error("prepare the tables: {}", chain(.0))]
    Migrate(refinery::Error),
    /// It takes too long.
    #[error("{action}: no answer for {seconds} s")]
    Slow {
        /// What was tried.
        action: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Somebody else writes for the same data directory.
    #[error(
        "write to the database: another process took over for this data directory ({shard}): end one of the two and start the other anew"
    )]
    Fenced {
        /// The id of the data directory.
        shard: String,
    },
    /// The database has other rows than were written.
    #[error("write {table}: {expected} rows were sent, {found} arrived")]
    Rows {
        /// The table.
        table: &'static str,
        /// How many rows were to be there.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// The view `events` is not what it was.
    #[error("read the view events: it has no column {0}")]
    Column(&'static str),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] crate::historian::Error),
    /// A file of the archive cannot be read.
    #[error("read archive file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: parquet::errors::ParquetError,
    },
    /// The log cannot be read.
    #[error("read dead letters from the log: {0}")]
    Log(#[from] crate::log::Error),
    /// The file system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// What the file system said.
        source: std::io::Error,
    },
}

impl Error {
    pub(super) fn database(action: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Database { action, source }
    }
}

/// What the server said, or the whole chain of causes when it said nothing.
fn told(error: &tokio_postgres::Error) -> String {
    let Some(said) = error.as_db_error() else { return chain(error) };
    let mut text = format!("{} (SQLSTATE {})", said.message(), said.code().code());
    for more in [said.detail(), said.hint()].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = match cause.downcast_ref::<tokio_postgres::Error>() {
            Some(error) if error.as_db_error().is_some() => told(error),
            _ => cause.to_string(),
        };
        // Some libraries repeat their cause.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    if text.contains("invalid peer certificate") {
        text.push_str("; give --database-ca with the server's authority, or sslmode=disable");
    }
    text
}
