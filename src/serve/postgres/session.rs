//! What a connection remembers: settings that clients set, most of which change nothing.

use super::error::error;
use pgwire::error::PgWireResult;
use std::collections::HashMap;
use std::time::Duration;

/// Settings and what they are in the beginning. Others are refused, so that a slip of the pen shows.
const KNOWN: [(&str, &str); 38] = [
    ("application_name", ""),
    ("backslash_quote", "safe_encoding"),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("escape_string_warning", "on"),
    ("extra_float_digits", "1"),
    ("force_parallel_mode", "off"),
    ("geqo", "on"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("lc_messages", "C"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("quote_all_identifiers", "off"),
    ("role", "none"),
    ("row_security", "on"),
    ("search_path", "\"$user\", public"),
    ("server_encoding", "UTF8"),
    ("server_version", VERSION),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronize_seqscans", "on"),
    ("timezone", "UTC"),
    ("transaction", ""),
    ("transaction_isolation", "repeatable read"),
    ("transaction_read_only", "on"),
];

/// The version of PostgreSQL that the door is like.
pub(super) const VERSION: &str = "16.6";

/// Names of time zones that are UTC.
const UTC: [&str; 7] = ["utc", "etc/utc", "gmt", "z", "zulu", "+00:00", "0"];

/// The longest value of a setting that is kept, in bytes.
const VALUE_BYTES: usize = 1 << 10;

/// The settings of one connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    set: HashMap<&'static str, String>,
    user: String,
}

/// What the client is told of a setting that it set.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing more.
    Nothing,
    /// That it means something else here.
    Notice(&'static str),
}

impl Session {
    /// Who has come in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Somebody comes in.
    pub fn is_of(&mut self, user: &str) {
        user.clone_into(&mut self.user);
    }

    /// Sets a setting; `None` for its default, and the name `all` for all of them.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> PgWireResult<Told> {
        let name = name.to_ascii_lowercase();
        if name == "all" {
            self.set.clear();
            return Ok(Told::Nothing);
        }
        // Names with a dot belong to extensions, and are anybody's.
        if name.contains('.') {
            return Ok(Told::Nothing);
        }
        let (known, _) = find(&name)?;
        let Some(value) = value else {
            self.set.remove(known);
            return Ok(Told::Nothing);
        };
        if value.len() > VALUE_BYTES {
            return Err(error("54000", format!("a value of more than {VALUE_BYTES} bytes")));
        }
        let plain = value.to_ascii_lowercase().replace(['-', '_'], "");
        match known {
            // Who has no encoding takes the bytes as they are.
            "client_encoding" if !["utf8", "unicode", "sqlascii"].contains(&plain.as_str()) => {
                Err(error("22023", format!("text is UTF8 here, not \"{value}\"")))
            }
            "datestyle" if !plain.starts_with("iso") => {
                Err(error("22023", format!("times are written as in ISO 8601, not \"{value}\"")))
            }
            "timezone" if !UTC.contains(&value.to_ascii_lowercase().as_str()) => {
                Ok(Told::Notice("times are shown in UTC"))
            }
            "statement_timeout" if time(value).is_none() => {
                Err(error("22023", format!("\"{value}\" is no duration")))
            }
            "transaction_read_only" | "default_transaction_read_only"
                if !["on", "true", "yes", "1"].contains(&plain.as_str()) =>
            {
                Ok(Told::Notice("nothing can be written here"))
            }
            "server_version"
            | "server_version_num"
            | "server_encoding"
            | "is_superuser"
            | "integer_datetimes"
            | "max_identifier_length"
            | "in_hot_standby" => {
                Err(error("55P02", format!("parameter \"{known}\" cannot be changed")))
            }
            "timezone" => Ok(Told::Nothing),
            _ => {
                self.set.insert(known, value.to_owned());
                Ok(Told::Nothing)
            }
        }
    }

    /// What a setting is.
    pub fn show(&self, name: &str) -> PgWireResult<&str> {
        let (known, default) = find(&name.to_ascii_lowercase())?;
        Ok(self.set.get(known).map_or(default, String::as_str))
    }

    /// How long a statement may take; `None` when the client wants no limit of its own.
    pub fn statement_timeout(&self) -> Option<Duration> {
        let set = self.set.get("statement_timeout")?;
        time(set).filter(|time| !time.is_zero())
    }

    /// Forgets everything that was set.
    pub fn discard(&mut self) {
        self.set.clear();
    }
}

fn find(name: &str) -> PgWireResult<(&'static str, &'static str)> {
    KNOWN
        .into_iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| error("42704", format!("unrecognized configuration parameter \"{name}\"")))
}

/// A duration in PostgreSQL's words: a number of milliseconds, or a number with a unit.
fn time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "us" => return Some(Duration::from_micros(number)),
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_and_nonsense_is_refused() {
        let mut session = Session::default();
        assert_eq!(session.show("TimeZone").unwrap(), "UTC");
        assert_eq!(session.set("timezone", Some("Etc/UTC")).unwrap(), Told::Nothing);
        let told = session.set("timezone", Some("Europe/Berlin")).unwrap();
        assert!(matches!(told, Told::Notice(_)));
        assert_eq!(session.show("timezone").unwrap(), "UTC");
        session.set("application_name", Some("psql")).unwrap();
        assert_eq!(session.show("application_name").unwrap(), "psql");
        session.set("all", None).unwrap();
        assert_eq!(session.show("application_name").unwrap(), "");
        session.set("myextension.x", Some("1")).unwrap();
        for (name, value) in
            [("client_encoding", "LATIN1"), ("datestyle", "German"), ("serach_path", "public")]
        {
            session.set(name, Some(value)).unwrap_err();
        }
    }

    #[test]
    fn timeouts_are_those_of_postgresql() {
        let mut session = Session::default();
        assert_eq!(session.statement_timeout(), None);
        for (text, expected) in [("1500", 1_500), ("2s", 2_000), (" 1 min", 60_000)] {
            session.set("statement_timeout", Some(text)).unwrap();
            assert_eq!(session.statement_timeout(), Some(Duration::from_millis(expected)));
        }
        session.set("statement_timeout", Some("0")).unwrap();
        assert_eq!(session.statement_timeout(), None);
        session.set("statement_timeout", Some("soon")).unwrap_err();
    }
}
