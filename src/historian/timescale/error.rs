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
    #[error("prepare the tables: {}", migration(.0))]
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
    /// A view cannot be read.
    #[error("read the view {view}: {reason}")]
    View {
        /// Its name.
        view: &'static str,
        /// What went wrong.
        reason: String,
    },
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
    if let Some(advice) = advice(error.code().map_or("", |code| code.code()), said.message()) {
        text.push_str("; ");
        text.push_str(advice);
    }
    text
}

/// What to do about an error of the server.
fn advice(sqlstate: &str, message: &str) -> Option<&'static str> {
    let of_extension = message.contains("timescaledb");
    Some(match sqlstate {
        "28P01" | "28000" => "give the right USER:PASSWORD in --database-url",
        "3D000" => "create the database, or name another one in --database-url",
        _ if of_extension && message.contains("preloaded") => {
            "add timescaledb to shared_preload_libraries of the server and restart it"
        }
        "0A000" | "58P01" if of_extension => {
            "install TimescaleDB on the server, as in the image timescale/timescaledb"
        }
        "42501" => "grant the user of --database-url what it takes to create tables",
        "42P07" => {
            "the database has a table of that name that is not Millstream's: give one of its own"
        }
        "53100" => "make room on the disk of the database: it goes on by itself",
        "53300" => "allow more connections: it goes on by itself",
        _ => return None,
    })
}

/// Why the tables are not those of this version, and what to do.
fn migration(error: &refinery::Error) -> String {
    let text = chain(error);
    let advice = match error.kind() {
        refinery::error::Kind::MissingVersion(_) => {
            "the tables are those of a newer version of Millstream: start that one, or give another database"
        }
        refinery::error::Kind::DivergentVersion(..) => {
            "the tables are not those of this program: give a database of its own"
        }
        _ => return text,
    };
    format!("{text}; {advice}")
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

#[cfg(test)]
mod tests {
    use super::advice;

    fn check(sqlstate: &str, message: &str, part: &str) {
        let advice = advice(sqlstate, message);
        assert!(advice.is_some_and(|advice| advice.contains(part)), "{sqlstate}: {advice:?}");
    }

    #[test]
    fn what_operators_can_mend_comes_with_advice() {
        check("28P01", "password authentication failed", "USER:PASSWORD");
        check("3D000", "database \"history\" does not exist", "create the database");
        check("0A000", "extension \"timescaledb\" is not available", "install TimescaleDB");
        check("XX000", "extension \"timescaledb\" must be preloaded", "shared_preload");
        check("42501", "permission denied for schema public", "grant");
        check("53100", "could not extend file: No space left on device", "make room");
        assert_eq!(advice("42P01", "relation does not exist"), None);
        assert_eq!(advice("0A000", "not supported"), None);
    }
}
